// Mistral: Llama with a sliding window over all layers (arXiv:2310.06825). GGUF knows it as llama;
// only a file that says its window is read as this family. Reference: transformers 5.23.0,
// models/mistral.
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = rotary_spec(c);
  const int64_t window = c.integer_or_none("sliding_window");
  for (BlockSpec& block : s.blocks) block.window = window;
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_mistral_family() {
  return decoder_family({
      .summary = "Mistral 7B and what follows its config",
      .model_types = {"mistral"},
      .model_class = "MistralForCausalLM",
      .gguf_architectures = {"llama"},
      .gguf_marker = "attention.sliding_window",
      .keys = keys(common_keys(),
                   {integer_key("max_position_embeddings", "context_length", 4096 * 32),
                    integer_key("num_key_value_heads", "attention.head_count_kv", 8),
                    nullable(integer_key("sliding_window", "attention.sliding_window", 4096))}),
      .tensors = join({ends(), pre_norm_rows(), attention_rows(Layout::rotated), gated_mlp_rows()}),
      .ignorable_keys = {},
      .ignorable_tensors = {},
      .spec = spec_from,
  });
}

}  // namespace smidgen
