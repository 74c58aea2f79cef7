// Qwen3: Llama with RMSNorm on every head of q and k, and a head width of its own
// (arXiv:2505.09388). Reference: transformers 5.23.0, models/qwen3.
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = rotary_spec(c);
  s.qkv_bias = s.out_bias = c.boolean("attention_bias");
  set_upper_windows(s, c);
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_qwen3_family() {
  return decoder_family({
      .summary = "Qwen3",
      .model_types = {"qwen3"},
      .model_class = "Qwen3ForCausalLM",
      .gguf_architectures = {"qwen3"},
      .gguf_marker = {},
      .keys =
          keys(common_keys(),
               keys(upper_window_keys(),
                    {integer_key("max_position_embeddings", "context_length", 32768),
                     integer_key("head_dim", "attention.key_length", 128),
                     flag_key("attention_bias", "blk.0.attn_q.bias", false, KeyType::present)})),
      .tensors =
          join({ends(), pre_norm_rows(), attention_rows(), head_norm_rows(), gated_mlp_rows()}),
      .ignorable_keys = {},
      .ignorable_tensors = {},
      .spec = spec_from,
  });
}

}  // namespace smidgen
