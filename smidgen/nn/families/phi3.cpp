// Phi-3, Phi-3.5 and Phi-4-mini: q, k and v in one Linear, gate and up in another, so each is one
// site; longrope for long contexts, part of a head turned in Phi-4-mini (arXiv:2404.14219).
// Reference: transformers 5.23.0, models/phi3.
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = common_spec(c);
  s.norm_eps = c.number("rms_norm_eps");
  s.ropes = {read_rope(c, {.theta = c.number("rope_theta"), .partial = 1}, s.head_dim, s.context)};
  const int64_t window = c.integer_or_none("sliding_window");
  for (BlockSpec& block : s.blocks) block.window = window;
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_phi3_family() {
  return decoder_family({
      .summary = "Phi-3, Phi-3.5 and Phi-4-mini",
      .model_types = {"phi3"},
      .model_class = "Phi3ForCausalLM",
      .gguf_architectures = {"phi3"},
      .gguf_marker = {},
      .keys =
          keys(common_keys(),
               {integer_key("max_position_embeddings", "context_length", 4096),
                derived("original_max_position_embeddings", "rope.scaling.original_context_length"),
                number_key("rms_norm_eps", "attention.layer_norm_rms_epsilon", 1e-5),
                nullable(derived("sliding_window", "attention.sliding_window"))}),
      .tensors =
          join({ends(),
                pre_norm_rows(),
                {{Part::query_key_value, "model.layers.{}.self_attn.qkv_proj", "blk.{}.attn_qkv"},
                 {Part::attention_out, "model.layers.{}.self_attn.o_proj", "blk.{}.attn_output"},
                 {Part::gate_up, "model.layers.{}.mlp.gate_up_proj", "blk.{}.ffn_up"},
                 {Part::down, "model.layers.{}.mlp.down_proj", "blk.{}.ffn_down"}}}),
      .ignorable_keys = {"embd_pdrop", "resid_pdrop", "attention_bias", "lm_head_bias", "mlp_bias",
                         "interpolate_factor", "full_attn_mod"},
      .ignorable_tensors = {},
      .spec = spec_from,
  });
}

}  // namespace smidgen
