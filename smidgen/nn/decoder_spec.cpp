#include "smidgen/nn/decoder_spec.h"

#include <cmath>

#include "smidgen/base/error.h"

namespace smidgen {

PartShape shape_of(const DecoderSpec& s, Part part) {
  const int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  const bool beta = s.norm == NormKind::layer;
  switch (part) {
    case Part::embedding:
    case Part::head:
      return {s.vocabulary, s.width, false};
    case Part::positions:
      return {s.context, s.width, false};
    case Part::norm:
    case Part::attention_norm:
    case Part::post_attention_norm:
    case Part::mlp_norm:
    case Part::post_mlp_norm:
      return {s.width, 1, beta};
    case Part::query_norm:
      return {s.head_norms ? s.head_dim : q, 1, beta};
    case Part::key_norm:
      return {s.head_norms ? s.head_dim : kv, 1, beta};
    case Part::query:
      return {q, s.width, s.qkv_bias};
    case Part::key:
    case Part::value:
      return {kv, s.width, s.qkv_bias};
    case Part::query_key_value:
      return {q + 2 * kv, s.width, s.qkv_bias};
    case Part::attention_out:
      return {s.width, q, s.out_bias};
    case Part::gate:
    case Part::up:
      return {s.inner, s.width, s.mlp_bias};
    case Part::gate_up:
      return {2 * s.inner, s.width, s.mlp_bias};
    case Part::down:
      return {s.width, s.inner, s.mlp_bias};
    case Part::router:
      return {s.experts, s.width, false};
    case Part::expert_gate:
    case Part::expert_up:
      return {s.expert_inner, s.width, false};
    case Part::expert_down:
      return {s.width, s.expert_inner, false};
  }
  SMIDGEN_ASSERT(!"unknown part");
}

bool of_expert(Part part) {
  return part == Part::expert_gate || part == Part::expert_up || part == Part::expert_down;
}

bool in_block(Part part) {
  return part != Part::embedding && part != Part::positions && part != Part::norm &&
         part != Part::head;
}

bool block_has(const DecoderSpec& s, int64_t layer, Part part) {
  const bool mixed = s.blocks[static_cast<size_t>(layer)].experts;
  if (part == Part::router || of_expert(part)) return mixed;
  if (part == Part::gate || part == Part::up || part == Part::gate_up || part == Part::down)
    return !mixed;
  return true;
}

void validate(const DecoderSpec& s, const std::string& where) {
  const auto demand = [&](bool fine, const std::string& what) {
    if (!fine) throw Error(ErrorKind::format, what, where);
  };
  std::vector<std::pair<const char*, int64_t>> sizes = {
      {"num_hidden_layers", s.layers()}, {"hidden_size", s.width},
      {"num_attention_heads", s.heads},  {"num_key_value_heads", s.kv_heads},
      {"head_dim", s.head_dim},          {"intermediate_size", s.inner},
      {"vocab_size", s.vocabulary},      {"max_position_embeddings", s.context}};
  if (s.experts) {
    sizes.insert(sizes.end(), {{"num_local_experts", s.experts},
                               {"num_experts_per_tok", s.experts_used},
                               {"moe_intermediate_size", s.expert_inner}});
  }
  for (const auto& [name, value] : sizes) {
    demand(value > 0 && value <= (int64_t{1} << 30),
           str(name, " is ", value, ", which no model has"));
  }
  demand(s.heads % s.kv_heads == 0, str("num_attention_heads ", s.heads,
                                        " is not a multiple of num_key_value_heads ", s.kv_heads));
  demand(s.norm_eps > 0 && s.norm_eps < 1, str("the norm's eps is ", s.norm_eps));
  demand(s.experts <= 4096 && s.experts_used <= s.experts,
         str("num_experts_per_tok is ", s.experts_used, " of ", s.experts, " experts"));
  for (const double scale : {s.embedding_scale, s.residual_scale, s.logit_scale})
    demand(std::isfinite(scale) && scale != 0, str("a multiplier is ", scale));
  for (const double cap : {s.attention_softcap, s.final_softcap})
    demand(std::isfinite(cap) && cap >= 0, str("a soft cap is ", cap));
  for (const BlockSpec& b : s.blocks) {
    demand(b.window >= 0, str("a sliding window is ", b.window));
    demand(std::isfinite(b.attention_scale) && b.attention_scale >= 0,
           str("the scale of attention is ", b.attention_scale));
    SMIDGEN_ASSERT(b.rope < static_cast<int>(s.ropes.size()));
  }
}

}  // namespace smidgen
