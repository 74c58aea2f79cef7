// SmolLM3: Llama in which every fourth layer does not rotate (NoPE, arXiv:2501.18795). Reference:
// transformers 5.23.0, models/smollm3.
#include "smidgen/base/error.h"
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

namespace {

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s = rotary_spec(c);
  s.qkv_bias = s.out_bias = c.boolean("attention_bias");
  s.mlp_bias = c.boolean("mlp_bias");
  const int64_t interval = c.integer("no_rope_layer_interval");
  // The list has a 1 for every layer that does rotate.
  const std::vector<int64_t> turns = c.integers("no_rope_layers");
  if (interval < 1) {
    throw Error(ErrorKind::format, str("no_rope_layer_interval is ", interval),
                c.at("no_rope_layer_interval"));
  }
  if (!turns.empty() && turns.size() != s.blocks.size()) {
    throw Error(ErrorKind::format,
                str("no_rope_layers names ", turns.size(), " layers of ", s.blocks.size()),
                c.at("no_rope_layers"));
  }
  for (size_t i = 0; i < s.blocks.size(); ++i) {
    const bool turned =
        turns.empty() ? (static_cast<int64_t>(i) + 1) % interval != 0 : turns[i] != 0;
    s.blocks[i].rope = turned ? 0 : -1;
  }
  const int64_t window = c.integer_or_none("sliding_window");
  const bool slide = c.boolean("use_sliding_window") && window > 0;
  set_windows(s, c, slide ? window : 0,
              [&](int64_t i) { return s.blocks[static_cast<size_t>(i)].rope < 0; });
  return s;
}

}  // namespace

std::unique_ptr<const Family> make_smollm3_family() {
  return decoder_family({
      .summary = "SmolLM3",
      .model_types = {"smollm3"},
      .model_class = "SmolLM3ForCausalLM",
      .gguf_architectures = {"smollm3"},
      .gguf_marker = {},
      .keys = keys(common_keys(),
                   {integer_key("max_position_embeddings", "context_length", 32768),
                    integer_key("num_key_value_heads", "attention.head_count_kv", 4),
                    number_key("rope_theta", "rope.freq_base", 2000000),
                    flag_key("tie_word_embeddings", "output.weight", true, KeyType::absent),
                    flag_key("attention_bias", "blk.0.attn_q.bias", false, KeyType::present),
                    flag_key("mlp_bias", "blk.0.ffn_gate.bias", false, KeyType::present),
                    integer_key("no_rope_layer_interval", "", 4),
                    derived("no_rope_layers", "", KeyType::integers),
                    flag_key("use_sliding_window", "", false), derived("sliding_window", ""),
                    derived("layer_types", "", KeyType::integers)}),
      .tensors = join({ends(), pre_norm_rows(), attention_rows(Layout::rotated), gated_mlp_rows()}),
      .ignorable_keys = {"pretraining_tp", "max_window_layers"},
      .ignorable_tensors = {},
      .spec = spec_from,
  });
}

}  // namespace smidgen
