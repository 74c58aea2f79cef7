// GPT-2: LayerNorm, learned positions, q, k and v in one module whose weight files hold as [in,
// out] (Conv1D). Sites have HF's names, and an adapter's matrices PEFT's orientation, which does
// not turn with the weight (its fan_in_fan_out says how the base lies, nothing else). Reference:
// transformers 5.23.0, models/gpt2.
#include <cmath>

#include "smidgen/base/error.h"
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = common_spec(c);
  s.inner = c.integer("n_inner", 4 * s.width);
  s.norm = NormKind::layer;
  s.norm_eps = c.number("layer_norm_epsilon");
  s.qkv_bias = s.out_bias = s.mlp_bias = true;
  const bool scaled = c.boolean("scale_attn_weights");
  const bool by_layer = c.boolean("scale_attn_by_inverse_layer_idx");
  for (size_t i = 0; i < s.blocks.size() && s.head_dim > 0; ++i) {
    s.blocks[i].rope = -1;
    s.blocks[i].attention_scale = (scaled ? 1 / std::sqrt(static_cast<double>(s.head_dim)) : 1) /
                                  (by_layer ? static_cast<double>(i + 1) : 1);
  }
  c.word("add_cross_attention", {"false"}, "false");
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_gpt2_family() {
  return decoder_family({
      .summary = "GPT-2",
      .model_types = {"gpt2"},
      .model_class = "GPT2LMHeadModel",
      .gguf_architectures = {"gpt2"},
      .gguf_marker = {},
      .keys = {integer_key("vocab_size", "vocab_size", 50257),
               integer_key("n_embd", "embedding_length", 768, "hidden_size"),
               integer_key("n_layer", "block_count", 12, "num_hidden_layers"),
               integer_key("n_head", "attention.head_count", 12, "num_attention_heads"),
               derived("n_inner", "feed_forward_length"),
               integer_key("n_positions", "context_length", 1024, "max_position_embeddings"),
               number_key("layer_norm_epsilon", "attention.layer_norm_epsilon", 1e-5),
               word_key("activation_function", "gelu_new", "hidden_act"),
               flag_key("tie_word_embeddings", "output.weight", true, KeyType::absent),
               flag_key("scale_attn_weights", "", true),
               flag_key("scale_attn_by_inverse_layer_idx", "", false)},
      .tensors = {{Part::embedding, "transformer.wte", "token_embd"},
                  {Part::positions, "transformer.wpe", "position_embd"},
                  {Part::norm, "transformer.ln_f", "output_norm"},
                  {Part::head, "lm_head", "output"},
                  {Part::attention_norm, "transformer.h.{}.ln_1", "blk.{}.attn_norm"},
                  {Part::query_key_value, "transformer.h.{}.attn.c_attn", "blk.{}.attn_qkv",
                   Layout::transposed},
                  {Part::attention_out, "transformer.h.{}.attn.c_proj", "blk.{}.attn_output",
                   Layout::transposed},
                  {Part::mlp_norm, "transformer.h.{}.ln_2", "blk.{}.ffn_norm"},
                  {Part::up, "transformer.h.{}.mlp.c_fc", "blk.{}.ffn_up", Layout::transposed},
                  {Part::down, "transformer.h.{}.mlp.c_proj", "blk.{}.ffn_down",
                   Layout::transposed}},
      .ignorable_keys = {"n_ctx", "attn_pdrop", "embd_pdrop", "resid_pdrop", "summary_type",
                         "summary_use_proj", "summary_activation", "summary_proj_to_labels",
                         "summary_first_dropout", "reorder_and_upcast_attn"},
      .ignorable_tensors = {".*\\.attn\\.(masked_)?bias"},
      .spec = spec_from,
  });
}

}  // namespace smidgen
