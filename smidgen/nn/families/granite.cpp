// Granite 3: Llama with four multipliers, of embeddings, residuals, scores and (dividing) logits.
// Reference: transformers 5.23.0, models/granite.
#include "smidgen/base/error.h"
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = rotary_spec(c);
  s.qkv_bias = s.out_bias = c.boolean("attention_bias");
  s.mlp_bias = c.boolean("mlp_bias");
  s.embedding_scale = c.number("embedding_multiplier");
  s.residual_scale = c.number("residual_multiplier");
  s.logit_scale = 1 / c.number("logits_scaling");
  for (BlockSpec& block : s.blocks)
    block.attention_scale = c.number_or_none("attention_multiplier");
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_granite_family() {
  return decoder_family({
      .summary = "Granite 3 without experts",
      .model_types = {"granite"},
      .model_class = "GraniteForCausalLM",
      .gguf_architectures = {"granite"},
      .gguf_marker = {},
      .keys = keys(common_keys(),
                   {flag_key("attention_bias", "blk.0.attn_q.bias", false, KeyType::present),
                    flag_key("mlp_bias", "blk.0.ffn_gate.bias", false, KeyType::present),
                    number_key("embedding_multiplier", "embedding_scale", 1),
                    number_key("residual_multiplier", "residual_scale", 1),
                    number_key("attention_multiplier", "attention.scale", 1),
                    number_key("logits_scaling", "logit_scale", 1)}),
      .tensors = join({ends(), pre_norm_rows(), attention_rows(Layout::rotated), gated_mlp_rows()}),
      .ignorable_keys = {},
      .ignorable_tensors = {},
      .spec = spec_from,
  });
}

}  // namespace smidgen
