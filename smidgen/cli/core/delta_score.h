// How good a compressed delta still is: the loss of its base with it, on data.
#pragma once

#include <memory>
#include <string>

#include "smidgen/cli/core/data_choice.h"
#include "smidgen/delta/compress/compress.h"

namespace smidgen {

// Mean cross-entropy of an answer token, in nats. The base and the data are loaded once.
class DeltaScore {
 public:
  // `base` as open_model takes it.
  DeltaScore(const std::string& base, const DataChoice& data);
  ~DeltaScore();
  double base() const;  // without the delta
  double operator()(const Compressed& compressed);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace smidgen
