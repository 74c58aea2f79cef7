// The loss of a model on a data set: cross-entropy of the answer tokens, in nats.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "smidgen/nn/model.h"
#include "smidgen/text/dataset.h"

namespace smidgen {

struct EvalOptions {
  int slot = 0;
  int64_t micro_tokens = 2048;  // tokens of one forward; a longer sample makes one of its own
  bool per_sample =
      false;  // also the sum of each sample: one loss over the vocabulary for each, a little slower
  std::function<bool()> stop;  // asked between batches; true ends with Error interrupted
  std::function<void(int64_t done, int64_t total)> progress;  // tokens
};

struct SampleLoss {
  double loss_sum = 0;
  int64_t tokens = 0;  // answer tokens
};

struct EvalResult {
  double loss_sum = 0;
  int64_t tokens = 0;  // answer tokens
  int64_t samples = 0;
  std::map<std::string, double> metrics;  // what a loss says beside itself: rewards ...
  std::vector<SampleLoss> per_sample;     // in the order of the data set, when asked for

  double loss() const { return loss_sum / static_cast<double>(tokens); }
  double perplexity() const;  // exp(loss)
};

// Sums over batches are kept in double; samples are taken longest first, so that a batch holds
// samples of like length, and the result does not depend on micro_tokens beyond rounding. Throws
// data when there is no answer token.
EvalResult evaluate(const Model& model, const Dataset& data, const EvalOptions& options = {});

}  // namespace smidgen
