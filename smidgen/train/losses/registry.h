// Losses: what a run minimises. A loss sees units of a data set and a model; it knows neither the
// method nor the family.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/base/registry.h"
#include "smidgen/eval/evaluate.h"
#include "smidgen/nn/model.h"
#include "smidgen/text/dataset.h"

namespace smidgen {

class Tokenizer;

// What is scored: the model with whatever is attached at `slot`. Slot 0 is the bare base, which
// serves as the reference of losses that need one: no second model is in memory.
struct LossScene {
  const Model& model;
  const Dataset& data;
  int slot = 0;
};

// Units of each forward pass of a step.
using MicroBatches = std::vector<std::vector<int64_t>>;

// Sums over a step or an evaluation.
struct Tally {
  int64_t units = 0, answers = 0;                          // answers: tokens with a target
  std::map<std::string, std::pair<double, int64_t>> sums;  // of each metric, and how many
  std::vector<SampleLoss> each;                            // of each unit, as they came

  void add(const std::string& metric, double sum, int64_t count);
  void add(const std::string& metric, const at::Tensor& values);  // a vector
  void add_each(const at::Tensor& losses);                        // fp64, one a unit
  // Means. "rewards/margins" is made of the means of chosen and rejected where nobody adds it.
  std::map<std::string, double> means() const;
};

// One loss at work in one run.
class Objective {
 public:
  virtual ~Objective() = default;
  // Before the micro-batches of a step: what their sums need to know of the whole.
  virtual void begin(const LossScene&, const MicroBatches&) {}
  // Sum of the losses of the units of one micro-batch, a scalar, differentiable where gradients are
  // recorded. Counts into `tally`.
  virtual at::Tensor sum(const LossScene& scene, std::span<const int64_t> units, Tally& tally) = 0;
  // What the sum over a step is divided by.
  virtual double divisor(const Tally& tally) const { return static_cast<double>(tally.units); }
  // The loss over a whole data set, without gradients. Of EvalResult, `tokens` is the divisor.
  virtual EvalResult evaluate(const LossScene& scene, const EvalOptions& options);
  // True where exp(loss) is a perplexity.
  virtual bool per_token() const { return false; }
  // What must be equal for a resumed run beside its configuration.
  virtual Json identity() const { return nullptr; }
};

struct LossStart {
  const Model& model;
  const Tokenizer& tokenizer;
};

class Loss {
 public:
  virtual ~Loss() = default;
  virtual std::string summary() const = 0;
  virtual std::string source() const = 0;
  virtual Json fields() const = 0;
  virtual DataForm form() const { return DataForm::plain; }  // of the data that it learns from
  // Bytes that it holds all the time, for plans.
  virtual int64_t planned_bytes(const Json&) const { return 0; }
  virtual std::unique_ptr<Objective> start(const Json& config, const LossStart& start) const = 0;
};

void register_all(Registry<Loss>& registry);  // written by the build
const Registry<Loss>& losses();

}  // namespace smidgen
