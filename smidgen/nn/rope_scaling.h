// Rotary frequencies of every scheme that transformers has for decoders, and the tables made of
// them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/nn/config_reader.h"
#include "smidgen/nn/ops.h"

namespace smidgen {

struct RopeSpec;
// True when both turn every position alike, whatever they are called.
bool same_rotation(const RopeSpec& a, const RopeSpec& b);

// f_j = theta^(-2j / rotary) for j < rotary / 2, changed by `type`:
//   linear    f / factor
//   dynamic   beyond `original` tokens theta grows with the length l of the sequence:
//             theta (factor l / original - (factor - 1))^(rotary / (rotary - 2))
//   llama3    long waves f / factor, short ones f, between them a blend
//   yarn      a ramp from f to f / factor over the pairs (arXiv 2309.00071); angles times a factor
//   longrope  f / short_factor_j, and f / long_factor_j for sequences longer than `original`
//             (arXiv 2402.13753); angles times a factor
// Source: huggingface/transformers 5.23.0, modeling_rope_utils.py. Differs: transformers takes the
// longest sequence of a batch for all of it; here each sequence has its own length.
struct RopeSpec {
  std::string type = "default";
  double theta = 10000;
  int64_t rotary = 0;  // leading dimensions of a head that turn
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;
  double beta_fast = 32, beta_slow = 1;
  bool truncate = true;
  double attention_factor = 1;  // of the cosines and sines
  int64_t original = 0;         // context before scaling, tokens
  std::vector<double> short_factor, long_factor;

  // Frequencies differ with the length of the sequence: keys cannot be kept turned.
  bool by_length() const { return type == "dynamic" || type == "longrope"; }
  bool operator==(const RopeSpec& other) const { return same_rotation(*this, other); }
};

// What a configuration in flat words (with_flat_rope) says: `theta` and the group `scaling`. Errors
// name the field. `context` is max_position_embeddings.
struct RopeWords {
  double theta;
  std::string scaling = "rope_scaling";
  // What a missing partial_rotary_factor means. 0: the family turns whole heads, and a
  // configuration that says otherwise is refused.
  double partial = 0;
};
RopeSpec read_rope(ConfigReader& config, const RopeWords& words, int64_t head_dim, int64_t context);

// fp32 [rotary / 2], for a sequence of `length` tokens.
at::Tensor inverse_frequencies(const RopeSpec& spec, int64_t length);

// Tables by length, made when asked for and kept.
class RopeTables {
 public:
  explicit RopeTables(RopeSpec spec) : spec_(std::move(spec)) {}
  const RopeSpec& spec() const { return spec_; }
  // Angles of positions 0 .. positions - 1 in a sequence of `length` tokens.
  const RopeTable& table(int64_t positions, int64_t length);

 private:
  RopeSpec spec_;
  struct Kept {
    int64_t key = -1;
    RopeTable table;
  } kept_[2];
};

}  // namespace smidgen
