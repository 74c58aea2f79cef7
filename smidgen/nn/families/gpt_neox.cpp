// GPT-NeoX and Pythia: LayerNorm, attention and MLP side by side on one input, q, k and v of a head
// next to each other in one Linear, a quarter of each head turned (arXiv:2204.06745). Reference:
// transformers 5.23.0, models/gpt_neox.
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = common_spec(c);
  s.norm = NormKind::layer;
  s.norm_eps = c.number("layer_norm_eps");
  s.qkv_bias = s.out_bias = c.boolean("attention_bias");
  s.mlp_bias = true;
  s.parallel = c.boolean("use_parallel_residual");
  s.ropes = {
      read_rope(c, {.theta = c.number("rope_theta"), .partial = 0.25}, s.head_dim, s.context)};
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_gpt_neox_family() {
  ConfigKey share = derived("rotary_pct", "rope.dimension_count", KeyType::of_head);
  share.missing = 0.25;
  share.word = "partial_rotary_factor";
  return decoder_family({
      .summary = "GPT-NeoX, Pythia",
      .model_types = {"gpt_neox"},
      .model_class = "GPTNeoXForCausalLM",
      .gguf_architectures = {"gptneox"},
      .gguf_marker = {},
      .keys = keys(without(common_keys(), {"head_dim", "num_key_value_heads", "rms_norm_eps"}),
                   {number_key("layer_norm_eps", "attention.layer_norm_epsilon", 1e-5),
                    number_key("rotary_emb_base", "rope.freq_base", 10000, "rope_theta"), share,
                    word_key("hidden_act", "gelu"),
                    flag_key("attention_bias", "blk.0.attn_qkv.bias", true, KeyType::present),
                    flag_key("use_parallel_residual", "use_parallel_residual", true)}),
      .tensors = {{Part::embedding, "gpt_neox.embed_in", "token_embd"},
                  {Part::norm, "gpt_neox.final_layer_norm", "output_norm"},
                  {Part::head, "embed_out", "output"},
                  {Part::attention_norm, "gpt_neox.layers.{}.input_layernorm", "blk.{}.attn_norm"},
                  {Part::query_key_value, "gpt_neox.layers.{}.attention.query_key_value",
                   "blk.{}.attn_qkv", Layout::interleaved},
                  {Part::attention_out, "gpt_neox.layers.{}.attention.dense", "blk.{}.attn_output"},
                  {Part::mlp_norm, "gpt_neox.layers.{}.post_attention_layernorm",
                   "blk.{}.ffn_norm"},
                  {Part::up, "gpt_neox.layers.{}.mlp.dense_h_to_4h", "blk.{}.ffn_up"},
                  {Part::down, "gpt_neox.layers.{}.mlp.dense_4h_to_h", "blk.{}.ffn_down"}},
      .ignorable_keys = {"hidden_dropout", "classifier_dropout"},
      .ignorable_tensors = {".*\\.attention\\.(masked_)?bias"},
      .spec = spec_from,
  });
}

}  // namespace smidgen
