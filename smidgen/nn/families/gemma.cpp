// Gemma: norms that multiply by 1 + w, embeddings times sqrt(width), GeGLU, a head width of its own
// (arXiv:2403.08295). Reference: transformers 5.23.0, models/gemma, which runs hidden_act "gelu" of
// the first releases as the tanh form, and so does this.
#include <cmath>

#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = rotary_spec(c);
  if (s.activation == Activation::gelu) s.activation = Activation::gelu_tanh;
  s.qkv_bias = s.out_bias = c.boolean("attention_bias");
  s.norm_offset = 1;
  s.embedding_scale = std::sqrt(static_cast<double>(s.width));
  c.word("use_bidirectional_attention", {"false"}, "false");
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_gemma_family() {
  return decoder_family({
      .summary = "Gemma 1",
      .model_types = {"gemma"},
      .model_class = "GemmaForCausalLM",
      .gguf_architectures = {"gemma"},
      .gguf_marker = {},
      .keys = keys(common_keys(),
                   {integer_key("max_position_embeddings", "context_length", 8192),
                    integer_key("head_dim", "attention.key_length", 256),
                    integer_key("num_key_value_heads", "attention.head_count_kv", 16),
                    word_key("hidden_act", "gelu_pytorch_tanh"),
                    flag_key("tie_word_embeddings", "output.weight", true, KeyType::absent),
                    flag_key("attention_bias", "blk.0.attn_q.bias", false, KeyType::present)}),
      .tensors = join({ends(Layout::offset), pre_norm_rows(Layout::offset), attention_rows(),
                       gated_mlp_rows()}),
      .ignorable_keys = {"hidden_activation"},
      .ignorable_tensors = {},
      .spec = spec_from,
  });
}

}  // namespace smidgen
