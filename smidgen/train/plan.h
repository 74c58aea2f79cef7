// What a tuning run will need, before it starts: memory added up from what model, method and loss
// say of themselves (nn/pass_memory.h), without weights in memory and without running anything; and
// what of it fits.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "smidgen/methods/open_model.h"
#include "smidgen/text/dataset.h"
#include "smidgen/train/tune_config.h"

namespace smidgen {

// The forward passes of a step.
struct StepShape {
  std::vector<int64_t> largest;  // lengths of the sequences of the largest pass, in tokens
  double tokens = 0;             // of a step, on average
  double passes = 1;             // of a step, on average
  int64_t longest = 0;           // of all samples

  int64_t rows() const;
};
// Walks through the loader's first steps.
StepShape step_shape(const TrainConfig& config, const Dataset& data);
// Sequences of one length: "8x512". Throws usage.
StepShape step_shape(const std::string& tokens);

// Bytes. What the phases hold besides is never held together.
struct MemoryForecast {
  int64_t idle = 0;       // the process with its libraries, tokenizer and data
  int64_t base = 0;       // frozen weights, in their format
  int64_t trainable = 0;  // 16 a parameter: value, gradient, two moments
  int64_t pass = 0;       // a forward and backward pass at its fullest
  int64_t holes = 0;      // of the C library's heap while it runs: a measured share of it
  int64_t update = 0;     // clipping
  int64_t saving = 0;     // at the end, where the artefact is a model

  int64_t peak() const {
    return idle + base + trainable + std::max({pass + holes, update, saving});
  }
};

// Memory of this process with everything warmed up that a step warms up: libraries' pages, threads.
int64_t idle_memory(Arithmetic arithmetic);

// A model and a method that take no memory.
class PlannedRun {
 public:
  // Throws what opening the model and planning the method throw.
  PlannedRun(const ModelConfig& model, const TrainConfig& train);

  LoadedModel& loaded() { return loaded_; }
  const LoadedModel& loaded() const { return loaded_; }
  int64_t held_by_loss() const { return held_; }
  const Adapter& adapter() const { return *adapter_; }
  int64_t layers() const;
  // Of a run whose largest pass has `rows` tokens.
  MemoryForecast memory(int64_t rows, int64_t idle) const;
  // The largest such number that stays within `limit` bytes; 0 where not even one row does.
  int64_t most_rows(int64_t limit, int64_t idle) const;

 private:
  LoadedModel loaded_;
  std::unique_ptr<Adapter> adapter_;
  int64_t held_ = 0;  // by the loss
  MemoryMode mode_ = MemoryMode::fast;
  bool own_way_ = false;  // the method runs the blocks its own way
};

// What fits into `limit` bytes, one row for each way to store the base that differs:
//   {base_format, base_bytes, micro_tokens}, most tokens first; 0 tokens where nothing fits
Json what_fits(const TuneConfig& config, int64_t limit, int64_t idle);

// The memory part of a plan: the figures above, room, whether it fits, and where it does not, how
// much is missing and what would.
Json memory_report(const TuneConfig& config, const PlannedRun& run, const StepShape& shape,
                   int64_t idle);

// Throws resource where the report says that the run does not fit: by how much, and what would.
void check_memory(const Json& report);

}  // namespace smidgen
