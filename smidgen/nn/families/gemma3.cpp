// Gemma 3, the text model: Gemma 2 with norms on the heads of q and k in place of soft caps, five
// layers with a window for one without, and a rotary base for either kind (arXiv:2503.19786).
// Reference: transformers 5.23.0, models/gemma3 (Gemma3ForCausalLM).
#include "smidgen/base/error.h"
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = rotary_spec(c);
  gemma_spec(s, c);
  s.ropes.push_back(
      read_rope(c, {.theta = c.number("rope_local_base_freq"), .scaling = "rope_local_scaling"},
                s.head_dim, s.context));
  const int64_t pattern = c.integer("sliding_window_pattern");
  if (pattern < 1)
    throw Error(ErrorKind::format, str("sliding_window_pattern is ", pattern),
                c.at("sliding_window_pattern"));
  set_windows(s, c, c.integer_or_none("sliding_window"),
              [&](int64_t i) { return (i + 1) % pattern != 0; });
  // The window decides which of the two rotations a layer has.
  for (BlockSpec& block : s.blocks) block.rope = block.window > 0 ? 1 : 0;
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_gemma3_family() {
  return decoder_family({
      .summary = "Gemma 3, text",
      .model_types = {"gemma3_text"},
      .model_class = "Gemma3ForCausalLM",
      .gguf_architectures = {"gemma3"},
      .gguf_marker = {},
      .keys = keys(
          common_keys(),
          keys(gemma_keys(/*largest_layers=*/62),
               {integer_key("max_position_embeddings", "context_length", 131072),
                number_key("rope_theta", "rope.freq_base", 1000000),
                number_key("rope_local_base_freq", "rope.freq_base_swa", 10000),
                integer_key("sliding_window_pattern", "", 6),
                derived("final_logit_softcapping", "final_logit_softcapping", KeyType::number)})),
      .tensors = join({ends(Layout::offset), gemma_norm_rows(), attention_rows(),
                       head_norm_rows(Layout::offset), gated_mlp_rows()}),
      // The reference reads no attn_logit_softcapping here either.
      .ignorable_keys = {"hidden_act", "cache_implementation", "attn_logit_softcapping"},
      .ignorable_tensors = {},
      .spec = spec_from,
  });
}

}  // namespace smidgen
