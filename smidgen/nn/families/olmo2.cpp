// OLMo 2: norms after attention and MLP and none before, RMSNorm over the whole width of q and k
// (arXiv:2501.00656). Reference: transformers 5.23.0, models/olmo2.
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = rotary_spec(c);
  s.qkv_bias = s.out_bias = c.boolean("attention_bias");
  s.head_norms = false;
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_olmo2_family() {
  return decoder_family({
      .summary = "OLMo 2",
      .model_types = {"olmo2"},
      .model_class = "Olmo2ForCausalLM",
      .gguf_architectures = {"olmo2"},
      .gguf_marker = {},
      .keys = keys(common_keys(),
                   {number_key("rms_norm_eps", "attention.layer_norm_rms_epsilon", 1e-5),
                    flag_key("attention_bias", "blk.0.attn_q.bias", false, KeyType::present)}),
      .tensors = join({ends(),
                       attention_rows(),
                       head_norm_rows(),
                       {{Part::post_attention_norm, "model.layers.{}.post_attention_layernorm",
                         "blk.{}.post_attention_norm"},
                        {Part::post_mlp_norm, "model.layers.{}.post_feedforward_layernorm",
                         "blk.{}.post_ffw_norm"}},
                       gated_mlp_rows()}),
      .ignorable_keys = {},
      .ignorable_tensors = {},
      .spec = spec_from,
  });
}

}  // namespace smidgen
