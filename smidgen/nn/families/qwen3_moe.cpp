// Qwen3 with a mixture of experts (arXiv:2505.09388). Experts are Linears of their own under the
// names that checkpoints have; transformers 5 stacks them in memory and reads and writes the same
// names. Reference: transformers 5.23.0, models/qwen3_moe.
#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = rotary_spec(c);
  s.qkv_bias = s.out_bias = c.boolean("attention_bias");
  s.experts = c.integer("num_local_experts");
  s.experts_used = c.integer("num_experts_per_tok");
  s.expert_inner = c.integer("moe_intermediate_size");
  s.normalise_experts = c.boolean("norm_topk_prob");
  const int64_t step = c.integer("decoder_sparse_step");
  if (step < 1)
    throw Error(ErrorKind::format, str("decoder_sparse_step is ", step),
                c.at("decoder_sparse_step"));
  const std::vector<int64_t> dense = c.integers("mlp_only_layers");
  const int64_t window = c.integer_or_none("sliding_window");
  const bool slide = c.boolean("use_sliding_window");
  for (int64_t i = 0; i < s.layers(); ++i) {
    BlockSpec& block = s.blocks[static_cast<size_t>(i)];
    block.experts = s.experts > 0 && (i + 1) % step == 0 &&
                    std::find(dense.begin(), dense.end(), i) == dense.end();
    block.window = slide ? window : 0;
  }
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_qwen3_moe_family() {
  // llama.cpp always divides by the sum of the chosen shares, where config.json must ask for it.
  ConfigKey normalise = flag_key("norm_topk_prob", "expert_weights_norm", false);
  normalise.implied = [](const Json&) { return Json(true); };
  return decoder_family({
      .summary = "Qwen3 with experts",
      .model_types = {"qwen3_moe"},
      .model_class = "Qwen3MoeForCausalLM",
      .gguf_architectures = {"qwen3moe"},
      .gguf_marker = {},
      .keys = keys(
          common_keys(),
          {integer_key("max_position_embeddings", "context_length", 32768),
           integer_key("num_key_value_heads", "attention.head_count_kv", 4),
           flag_key("attention_bias", "blk.0.attn_q.bias", false, KeyType::present),
           integer_key("num_experts", "expert_count", 128, "num_local_experts"),
           integer_key("num_experts_per_tok", "expert_used_count", 8),
           integer_key("moe_intermediate_size", "expert_feed_forward_length", 768), normalise,
           integer_key("decoder_sparse_step", "", 1),
           derived("mlp_only_layers", "", KeyType::integers),
           flag_key("use_sliding_window", "", false), integer_key("sliding_window", "", 4096)}),
      .tensors =
          join({ends(), pre_norm_rows(), attention_rows(), head_norm_rows(), gated_mlp_rows(),
                expert_rows("model.layers.{}.mlp.gate", "model.layers.{}.mlp.experts.{}.",
                            {"gate_proj", "up_proj", "down_proj"})}),
      .ignorable_keys = {"max_window_layers", "output_router_logits", "router_aux_loss_coef"},
      .ignorable_tensors = {},
      .spec = spec_from,
  });
}

}  // namespace smidgen
