// A model: hosts by their HF names, and the forward pass that a family builds from them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/base/json.h"
#include "smidgen/io/model_files.h"
#include "smidgen/kernels/arithmetic.h"
#include "smidgen/nn/batch.h"
#include "smidgen/nn/host.h"
#include "smidgen/nn/kv_cache.h"
#include "smidgen/nn/memory_plan.h"
#include "smidgen/nn/module_host.h"
#include "smidgen/nn/pass_memory.h"
#include "smidgen/nn/stack.h"

namespace smidgen {

struct LoadOptions {
  std::string dtype =
      "auto";  // arithmetic: auto, fp32, bf16 (auto: bf16 where the machine multiplies it)
  std::string base_format = "native";  // storage: a name of the weight formats
  // The model as it would be, without its weights in memory: every weight tells its format and its
  // bytes, and reads rows from the file. For plans.
  bool planned = false;
  int64_t layers = 0;  // only so many first blocks, for timing; 0 is all
};

// A site and the host that it belongs to.
struct HostSite {
  Host* place = nullptr;
  WeightHost* host = nullptr;  // the same where it owns a weight, else null: a whole module
  size_t index = 0;
  const Site& site() const { return place->sites()[index]; }
  SlotTable& slots() const { return place->slots(index); }
};

// One tensor of a model and where its rows are read: fp32 [rows, columns], merged values while an
// adapter is merged.
struct ModelTensor {
  std::string name;  // "model.layers.0.self_attn.q_proj.weight"
  std::vector<int64_t> shape;
  Format stored = Format::f32;  // in the model's files
  std::function<at::Tensor(int64_t row0, int64_t row1)> rows;
};

class Model {
 public:
  virtual ~Model() = default;

  // Hidden states after the last norm, fp32 [n, width]. With a cache, the stream holds the new
  // tokens only: their keys and values are appended, and attention sees the cached ones too.
  virtual at::Tensor forward(const Stream& stream, KvCache* cache = nullptr) const = 0;
  // Scores of the next token for rows of hidden states: fp32 [n, vocabulary].
  virtual at::Tensor logits(const at::Tensor& hidden, const Rows& rows) const = 0;
  // Sum of the cross-entropies of the rows with a target; the logits never exist whole.
  virtual at::Tensor loss_sum(const at::Tensor& hidden, const Batch& batch) const = 0;
  // What forward() and loss_sum() over these rows and the backward pass of both hold in memory
  // beside the weights, `scored` rows having a target.
  virtual PassMemory pass_memory(const Rows& rows, int64_t scored) const = 0;
  virtual KvCache make_cache(int64_t sequences, int64_t capacity) const = 0;
  // True when a cache filled at `have` tokens says nothing of a sequence of `want`, which has to be
  // computed from its start: with some rotary scalings (dynamic, longrope) a longer sequence turns
  // every token by other angles. Whoever lets a cached sequence grow asks first.
  virtual bool starts_anew(int64_t have, int64_t want) const = 0;

  // Every tensor of the model in HF's names and order: what a writer needs. A tied weight comes
  // once.
  virtual std::vector<ModelTensor> tensors() const = 0;
  // What the attachment that runs the blocks its own way says of these rows; null where none does.
  virtual Json examine(const Stream& stream) const = 0;

  const Json& config() const { return config_; }  // HF config.json, also for models from GGUF
  std::string family() const { return family_; }
  int64_t vocabulary() const { return vocabulary_; }
  int64_t context() const { return context_; }  // longest sequence that the model was made for
  int64_t width() const { return width_; }
  Arithmetic arithmetic() const { return arithmetic_; }
  size_t weight_bytes() const;

  // What forward passes that are differentiated keep from now on. Throws usage where the plan says
  // nothing of what it sets.
  void set_memory(const MemoryPlan& plan);

  const std::vector<Site>& sites() const { return sites_; }  // those of weights
  // Those of whole modules: for each block its attention, its MLP and itself, then the stack.
  const std::vector<Site>& module_sites() const { return module_sites_; }
  HostSite find(const std::string& site) const;  // of either; not_found with the nearest names
  // True while the site's weight is its owner's. A merged adapter may have moved them apart.
  bool tied(const Site& site) const;
  const std::vector<std::unique_ptr<WeightHost>>& hosts() const { return hosts_; }
  // Takes away whatever hangs at a slot.
  void detach(int slot);

 protected:
  template <class T, class... Args>
  T* host(Args&&... args) {
    auto made = std::make_unique<T>(std::forward<Args>(args)...);
    T* raw = made.get();
    hosts_.push_back(std::move(made));
    for (const Site& site : raw->sites()) sites_.push_back(site);
    return raw;
  }
  template <class T>
  T* module(Site site) {
    module_sites_.push_back(site);
    auto made = std::make_unique<T>(std::move(site));
    T* raw = made.get();
    modules_.push_back(std::move(made));
    return raw;
  }

  Json config_;
  std::string family_;
  int64_t vocabulary_ = 0, context_ = 0, width_ = 0;
  Arithmetic arithmetic_ = Arithmetic::fp32;
  MemoryPlan memory_;

 private:
  std::vector<std::unique_ptr<WeightHost>> hosts_;
  std::vector<std::unique_ptr<Host>> modules_;
  std::vector<Site> sites_, module_sites_;
};

// Reads the configuration, picks the family, and loads the weights.
std::unique_ptr<Model> load_model(const ModelFiles& files, const LoadOptions& options = {});

}  // namespace smidgen
