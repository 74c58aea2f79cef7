// Gemma 2: Gemma with norms before and after both halves of a block, soft caps on scores and
// logits, a scale of attention of its own, and a window over every other layer (arXiv:2408.00118).
// Reference: transformers 5.23.0, models/gemma2.
#include <cmath>

#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = rotary_spec(c);
  gemma_spec(s, c);
  s.attention_softcap = c.number_or_none("attn_logit_softcapping");
  const int64_t window = c.integer_or_none("sliding_window");
  set_windows(s, c, window, [](int64_t i) { return i % 2 == 0; });
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_gemma2_family() {
  return decoder_family({
      .summary = "Gemma 2",
      .model_types = {"gemma2"},
      .model_class = "Gemma2ForCausalLM",
      .gguf_architectures = {"gemma2"},
      .gguf_marker = {},
      .keys = keys(
          common_keys(),
          keys(gemma_keys(/*largest_layers=*/46),
               {integer_key("max_position_embeddings", "context_length", 8192),
                nullable(number_key("attn_logit_softcapping", "attn_logit_softcapping", 50)),
                nullable(number_key("final_logit_softcapping", "final_logit_softcapping", 30))})),
      .tensors =
          join({ends(Layout::offset), gemma_norm_rows(), attention_rows(), gated_mlp_rows()}),
      .ignorable_keys = {"hidden_act", "cache_implementation"},
      .ignorable_tensors = {},
      .spec = spec_from,
  });
}

}  // namespace smidgen
