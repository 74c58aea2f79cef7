// Qwen2 and Qwen2.5: Llama with biases on q, k and v, and a window over the upper layers where
// use_sliding_window is set (arXiv:2407.10671). Reference: transformers 5.23.0, models/qwen2.
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = rotary_spec(c);
  s.qkv_bias = true;
  set_upper_windows(s, c);
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_qwen2_family() {
  return decoder_family({
      .summary = "Qwen2, Qwen2.5 and the distilled models on them",
      .model_types = {"qwen2"},
      .model_class = "Qwen2ForCausalLM",
      .gguf_architectures = {"qwen2"},
      .gguf_marker = {},
      .keys = keys(common_keys(),
                   keys(upper_window_keys(),
                        {integer_key("max_position_embeddings", "context_length", 32768)})),
      .tensors = join({ends(), pre_norm_rows(), attention_rows(), gated_mlp_rows()}),
      .ignorable_keys = {},
      .ignorable_tensors = {},
      .spec = spec_from,
  });
}

}  // namespace smidgen
