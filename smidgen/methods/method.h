// The interface that every method implements. Target matching, what is trained beside the method
// (biases, whole modules, token rows), attaching, merging, files, combining, help and the law
// matrix are generic over it: see adapter.h, placement.h, copies.h.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/base/json.h"
#include "smidgen/base/rng.h"
#include "smidgen/nn/attachment.h"
#include "smidgen/nn/delta.h"
#include "smidgen/nn/dropout.h"
#include "smidgen/nn/model.h"
#include "smidgen/nn/param_store.h"

namespace smidgen {

enum class Artefact {
  adapter,  // a folder with adapter_config.json and adapter_model.safetensors
  model,    // a whole model folder
};

struct Capabilities {
  bool additive =
      false;  // y = base(x) + g(x): can be served beside other adapters on one base product
  bool mergeable = false;  // delta() exists
  bool linear = false;  // the function is linear in the delta: adapters may be combined by weight
  bool batchable = false;       // rows of one batch may use different adapters
  bool starts_as_base = false;  // freshly initialised it changes nothing, to the bit
  bool modules = false;         // hangs on whole modules: plan() is given their sites
  Artefact artefact = Artefact::adapter;
};

class SitePart;

// A second name under which a parameter stands in the file: PEFT writes what two tied modules share
// once for each.
struct Alias {
  std::string path;  // "lm_head.weight"
  size_t parameter;  // index into the plan's parameters
  bool transposed = false;
};

// What is put at one site: its parameters' names and shapes, and the numbers that its hooks need (a
// scale, a block size), resolved from the configuration and its patterns. A site may have several.
struct SitePlan {
  Site site;
  std::vector<ParamSpec> parameters;
  Json settings = Json::object();
  const SitePart* part = nullptr;  // what acts there; null: the method
  std::vector<Alias> aliases = {};
  Tensors constants = {};  // values that come with the adapter and are not trained
};

struct Plan {
  std::vector<SitePlan> sites;
};

// The frozen weight of one site: rows [0, out) of it, whatever host and group it lives in.
struct BaseView {
  const WeightHost* host = nullptr;  // null: a whole module, which has no weight
  size_t site = 0;
  at::Tensor tile(int64_t row0,
                  int64_t row1) const {  // fp32 [row1 - row0, in], never a merged value
    const int64_t first = host->weight_rows(site).first;
    return host->weight().original().tile(first + row0, first + row1);
  }
  at::Tensor bias() const { return host->original_bias(site); }  // fp32 [out], or undefined
};

struct AttachOptions {
  double scale = 1;  // of the whole update; other than 1 only for what is linear in its delta
  std::shared_ptr<const DropoutClock> clock = {};  // null: nothing is ever dropped
};

// Something that is put at a site: how its parameters start, what they do, and what they amount to.
class SitePart {
 public:
  virtual ~SitePart() = default;

  // Starting values of one site's parameters, in the order of the plan.
  virtual void init(const SitePlan& site, const std::vector<Parameter*>& parameters,
                    const BaseView& base, const Json& config, uint64_t seed) const = 0;

  virtual AttachmentPtr attach(const SitePlan& site, const Tensors& parameters,
                               const BaseView& base, const AttachOptions& options) const = 0;

  // The difference from the base that the site stands for, as a matrix over its weight; nothing
  // when there is none.
  virtual std::optional<Delta> delta(const SitePlan& site, const Tensors& parameters,
                                     const BaseView& base) const = 0;
  // The same for its bias: fp32 [out], or undefined.
  virtual at::Tensor bias_delta(const SitePlan&, const Tensors&, const BaseView&) const {
    return {};
  }
  // Whether scaling its delta by a number means something.
  virtual bool scalable() const { return false; }
};

// Keys of adapter_config.json that belong to the folder, not to the method.
const std::vector<std::string>& adapter_keys();

class Method : public SitePart {
 public:
  virtual std::string summary() const = 0;  // one line, for `list` and --help
  virtual std::string source() const = 0;   // paper, arXiv id
  // The type in adapter_config.json: HF PEFT's name, or one of ours that PEFT refuses to read;
  // empty where there is no adapter.
  virtual std::string peft_type() const = 0;
  virtual Capabilities capabilities() const = 0;
  virtual Json fields() const = 0;  // describe<Config>()

  // Which sites get what. `config` has been checked against fields(). With `loading`, targets that
  // match nothing are no error: the tensors of the file decide.
  virtual Plan plan(const std::vector<Site>& sites, const Json& config, bool loading) const = 0;

  bool scalable() const override { return capabilities().linear; }
  // Why it cannot be merged into the base; empty where it can.
  virtual std::string why_not_merged() const { return {}; }

  // Configuration in HF PEFT's words and back. Unknown keys with a value are errors unless they are
  // in `allow`.
  virtual Json to_peft(const Json& config, const Plan& plan) const = 0;
  virtual Json from_peft(const Json& peft, const std::vector<Site>& sites,
                         const std::vector<std::string>& allow, const std::string& where) const = 0;
};

}  // namespace smidgen
