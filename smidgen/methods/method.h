// The interface that every method implements. Target matching, attaching, merging, files,
// combining, help and the law matrix are generic over it: see adapter.h.
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
  Artefact artefact = Artefact::adapter;
};

// What the method puts at one site: its parameters' names and shapes, and the numbers that its
// hooks need (a scale, a block size), resolved from the configuration and its patterns.
struct SitePlan {
  Site site;
  std::vector<ParamSpec> parameters;
  Json settings = Json::object();
};

struct Plan {
  std::vector<SitePlan> sites;
};

// The frozen weight of one site: rows [0, out) of it, whatever host and group it lives in.
struct BaseView {
  const Host* host = nullptr;
  size_t site = 0;
  at::Tensor tile(int64_t row0,
                  int64_t row1) const {  // fp32 [row1 - row0, in], never a merged value
    const int64_t first = host->weight_rows(site).first;
    return host->weight().original().tile(first + row0, first + row1);
  }
};

// Keys of adapter_config.json that belong to the folder, not to the method.
const std::vector<std::string>& adapter_keys();

class Method {
 public:
  virtual ~Method() = default;
  virtual std::string summary() const = 0;    // one line, for `list` and --help
  virtual std::string source() const = 0;     // paper, arXiv id
  virtual std::string peft_type() const = 0;  // HF PEFT's name; empty when it has none
  virtual Capabilities capabilities() const = 0;
  virtual Json fields() const = 0;  // describe<Config>()

  // Which sites get what. `config` has been checked against fields(). With `loading`, targets that
  // match nothing are no error: the tensors of the file decide.
  virtual Plan plan(const std::vector<Site>& sites, const Json& config, bool loading) const = 0;

  // Starting values of one site's parameters, in the order of the plan.
  virtual void init(const SitePlan& site, const std::vector<Parameter*>& parameters,
                    const BaseView& base, const Json& config, uint64_t seed) const = 0;

  virtual AttachmentPtr attach(const SitePlan& site, const Tensors& parameters) const = 0;

  // The difference from the base that the site stands for, as a matrix over its weight; nothing
  // when there is none.
  virtual std::optional<Delta> delta(const SitePlan& site, const Tensors& parameters,
                                     const BaseView& base) const = 0;

  // Configuration in HF PEFT's words and back. Keys that are unknown and empty go to `kept`, so
  // that rewriting keeps them.
  virtual Json to_peft(const Json& config, const Plan& plan) const = 0;
  virtual Json from_peft(const Json& peft, const std::vector<std::string>& allow,
                         const std::string& where, Json* kept) const = 0;
};

}  // namespace smidgen
