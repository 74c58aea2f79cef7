// How good a compressed delta still is: the loss of its base with it, on data; and the alpha that
// this is lowest for.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/delta/compress/compress.h"

namespace smidgen {

struct ScoreData {
  std::string base;  // as open_model takes it
  std::vector<std::string> data;
  int64_t max_length = 0;  // tokens; 0: the model's context
};

// Mean cross-entropy of an answer token, in nats. The base is loaded once for adapters; of a model
// each call writes and opens the whole.
class DeltaScore {
 public:
  explicit DeltaScore(const ScoreData& data);
  ~DeltaScore();
  double base() const;  // without the delta
  double operator()(const Compressed& compressed);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct AlphaScore {
  double alpha = 0, score = 0;
};

// Tries each alpha on the same codes, sets the one with the lowest score (of equal ones the first)
// and returns all of them.
std::vector<AlphaScore> tune_alpha(Compressed& compressed, const std::vector<double>& grid,
                                   const std::function<double(const Compressed&)>& score);
// ComPEFT's: 0.5, 1, 2, 3, 4, 5, 6, 8, 10.
const std::vector<double>& alpha_grid();

}  // namespace smidgen
