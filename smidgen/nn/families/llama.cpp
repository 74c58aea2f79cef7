// Llama: RMSNorm, rotary embedding in halves, grouped-query attention, SwiGLU (arXiv:2302.13971,
// 2307.09288, 2407.21783). SmolLM2 and most models that call themselves llama are this. Differs
// from the reference (transformers 5.23.0, models/llama): products in bf16 round once where the
// reference rounds after each operation; the residual stream is fp32.
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = rotary_spec(c);
  s.qkv_bias = s.out_bias = c.boolean("attention_bias");
  s.mlp_bias = c.boolean("mlp_bias");
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_llama_family() {
  return decoder_family({
      .summary = "Llama 1 to 3, SmolLM and SmolLM2",
      .model_types = {"llama"},
      .model_class = "LlamaForCausalLM",
      .gguf_architectures = {"llama"},
      .gguf_marker = {},
      .keys = keys(common_keys(),
                   {flag_key("attention_bias", "blk.0.attn_q.bias", false, KeyType::present),
                    flag_key("mlp_bias", "blk.0.ffn_gate.bias", false, KeyType::present)}),
      .tensors = join({ends(), pre_norm_rows(), attention_rows(Layout::rotated), gated_mlp_rows()}),
      .ignorable_keys = {"pretraining_tp", "rope_interleaved", "is_llama_config"},
      .ignorable_tensors = {},
      .spec = spec_from,
  });
}

}  // namespace smidgen
