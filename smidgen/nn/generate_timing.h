// Generation measured in place: what a user of generate() waits for, sampling and text excluded.
#pragma once

#include <cstdint>
#include <vector>

#include "smidgen/nn/model.h"

namespace smidgen {

struct GenerateBench {
  std::vector<int32_t> prompt;
  int slot = 0;
  int64_t new_tokens = 64;  // at least 2
  int64_t runs = 3;         // after one that warms up
};

// Tokens a second. The prompt's tokens over the time to the first new token; the other new tokens
// over the time they took. Greedy, so that sampling costs a look at each score.
struct GenerateRates {
  std::vector<double> prefill, decode;  // one of each run
};
GenerateRates time_generation(const Model& model, const GenerateBench& bench);

}  // namespace smidgen
