// Mixtral: Mistral with a mixture of experts in every layer (arXiv:2401.04088). GGUF knows it as
// llama with an expert_count. Experts are Linears of their own under the names that checkpoints
// have (block_sparse_moe.experts.0.w1). Reference: transformers 5.23.0, models/mixtral.
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = rotary_spec(c);
  s.experts = c.integer("num_local_experts");
  s.experts_used = c.integer("num_experts_per_tok");
  s.expert_inner = s.inner;
  const int64_t window = c.integer_or_none("sliding_window");
  for (BlockSpec& block : s.blocks) {
    block.experts = true;
    block.window = window;
  }
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_mixtral_family() {
  return decoder_family({
      .summary = "Mixtral 8x7B and 8x22B",
      .model_types = {"mixtral"},
      .model_class = "MixtralForCausalLM",
      .gguf_architectures = {"llama"},
      .gguf_marker = "expert_count",
      .keys =
          keys(common_keys(), {integer_key("max_position_embeddings", "context_length", 4096 * 32),
                               integer_key("num_key_value_heads", "attention.head_count_kv", 8),
                               number_key("rms_norm_eps", "attention.layer_norm_rms_epsilon", 1e-5),
                               number_key("rope_theta", "rope.freq_base", 1000000),
                               derived("sliding_window", "attention.sliding_window"),
                               integer_key("num_local_experts", "expert_count", 8),
                               integer_key("num_experts_per_tok", "expert_used_count", 2)}),
      .tensors =
          join({ends(), pre_norm_rows(), attention_rows(Layout::rotated),
                expert_rows("model.layers.{}.block_sparse_moe.gate",
                            "model.layers.{}.block_sparse_moe.experts.{}.", {"w1", "w3", "w2"})}),
      .ignorable_keys = {"output_router_logits", "router_aux_loss_coef", "router_jitter_noise"},
      .ignorable_tensors = {},
      .spec = spec_from,
  });
}

}  // namespace smidgen
