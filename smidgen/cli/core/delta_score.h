// How good a compressed delta still is: the loss of its base with it, on data.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "smidgen/delta/compress/compress.h"

namespace smidgen {

struct ScoreData {
  std::string base;  // as open_model takes it
  std::vector<std::string> data;
  int64_t max_length = 0;  // tokens; 0: the model's context
};

// Mean cross-entropy of an answer token, in nats. The base and the data are loaded once.
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

}  // namespace smidgen
