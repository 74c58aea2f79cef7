// Which samples an optimiser step sees. Shuffling is a keyed permutation per (seed, epoch), so the
// whole state is where in it the next step begins.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "smidgen/base/rng.h"

namespace smidgen {

struct LoaderConfig {
  int64_t batch_tokens = 1024;  // tokens an optimiser step aims at
  int64_t micro_tokens = 0;     // tokens of one forward at most; 0: batch_tokens
  uint64_t seed = 0;
  bool shuffle = true;
};

// The first sample that the next step takes: position `position` of epoch `epoch`. There is no
// carry-over beside it, since samples are never split.
struct LoaderState {
  uint64_t epoch = 0, position = 0;
  bool operator==(const LoaderState&) const = default;
};

struct Step {
  std::vector<std::vector<int64_t>> micro;  // sample indices of each forward
  int64_t tokens = 0;
  LoaderState begin;  // where this step began
};

// A step takes samples in order while they fit into batch_tokens, always at least one, and goes on
// into the next epoch (a small set can so appear several times in a step). Inside a step, samples
// are packed into micro-batches by first-fit over decreasing length; a sample longer than
// micro_tokens makes one of its own. Every epoch visits every sample once.
class Loader {
 public:
  // Throws data when there are no samples or one has no tokens; usage for a limit under 1.
  Loader(std::vector<int32_t> lengths, LoaderConfig config);

  Step next();
  LoaderState state() const { return state_; }
  // Throws mismatch when the position lies outside the data set.
  void restore(LoaderState state);

  int64_t samples() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t tokens_per_epoch() const { return tokens_per_epoch_; }
  // Epochs as a fraction, for schedules and the progress bar.
  double epochs_done() const;

 private:
  int64_t peek();
  void advance();
  std::vector<int32_t> lengths_;
  LoaderConfig config_;
  LoaderState state_;
  int64_t tokens_per_epoch_ = 0;
  std::optional<Permutation> order_;
  uint64_t order_epoch_ = 0;
};

}  // namespace smidgen
