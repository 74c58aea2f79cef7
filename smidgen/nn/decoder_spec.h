// A decoder as data: what a family fills in. See decoder.h for what is computed from it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "smidgen/nn/activations.h"
#include "smidgen/nn/rope_scaling.h"
#include "smidgen/nn/weight_table.h"

namespace smidgen {

enum class NormKind { rms, layer };

struct BlockSpec {
  int64_t window = 0;          // keys that a query sees; 0 is all
  int rope = 0;                // index into DecoderSpec::ropes; -1 is no rotation
  bool experts = false;        // a mixture in place of the one MLP
  double attention_scale = 0;  // of the scores; 0 means 1 / sqrt(head_dim)

  bool operator==(const BlockSpec&) const = default;
};

struct DecoderSpec {
  std::string family;
  int64_t width = 0, heads = 0, kv_heads = 0, head_dim = 0, inner = 0, vocabulary = 0, context = 0;
  std::vector<BlockSpec> blocks;
  std::vector<RopeSpec> ropes;

  NormKind norm = NormKind::rms;
  double norm_eps = 1e-6;
  double norm_offset = 0;  // the norm multiplies by offset + weight
  bool head_norms = true;  // query_norm and key_norm act per head; otherwise on all of them
  Activation activation = Activation::silu;
  bool qkv_bias = false, out_bias = false, mlp_bias = false;
  bool parallel = false;  // attention and MLP both read the block's input
  bool tied = false;      // the output matrix is the embedding
  double embedding_scale = 1, residual_scale = 1, logit_scale = 1;
  double attention_softcap = 0, final_softcap = 0;  // 0 is none

  int64_t experts = 0, experts_used = 0, expert_inner = 0;
  bool normalise_experts = true;  // the shares of the chosen experts sum to 1

  int64_t layers() const { return static_cast<int64_t>(blocks.size()); }
  bool operator==(const DecoderSpec&) const = default;
};

// The weight [out, in] of a part, and whether it has a bias. Norms and vectors have in = 1.
struct PartShape {
  int64_t out, in;
  bool bias;
};
PartShape shape_of(const DecoderSpec& spec, Part part);

// True when a block has the part: experts or one MLP, and what the table lists.
bool block_has(const DecoderSpec& spec, int64_t layer, Part part);
bool in_block(Part part);
bool of_expert(Part part);

// Checks the numbers against each other (heads divide, nothing is zero or absurd) before anything
// is allocated.
void validate(const DecoderSpec& spec, const std::string& where);

}  // namespace smidgen
