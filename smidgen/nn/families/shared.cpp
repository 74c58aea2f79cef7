// What families share: fields, rows and settings that several of them have under the same names.
#include <cmath>

#include "smidgen/base/error.h"
#include "smidgen/nn/families/decoder_family.h"

namespace smidgen {

DecoderSpec common_spec(ConfigReader& c) {
  DecoderSpec s;
  s.vocabulary = c.integer("vocab_size");
  s.width = c.integer("hidden_size");
  if (c.knows("intermediate_size")) s.inner = c.integer("intermediate_size");
  s.heads = c.integer("num_attention_heads");
  s.kv_heads = c.integer("num_key_value_heads", s.heads);
  s.head_dim = c.integer("head_dim", s.heads > 0 ? s.width / s.heads : 0);
  s.context = c.integer("max_position_embeddings");
  s.tied = c.boolean("tie_word_embeddings");
  s.activation = activation_of(c.word("hidden_act", activation_words()));
  const int64_t layers = c.integer("num_hidden_layers");
  if (layers < 1 || layers > 10000) {
    throw Error(ErrorKind::format, str("num_hidden_layers is ", layers, ", which no model has"),
                c.at("num_hidden_layers"));
  }
  s.blocks.resize(static_cast<size_t>(layers));
  return s;
}

DecoderSpec rotary_spec(ConfigReader& c) {
  DecoderSpec s = common_spec(c);
  s.norm_eps = c.number("rms_norm_eps");
  s.ropes = {read_rope(c, {.theta = c.number("rope_theta")}, s.head_dim, s.context)};
  // The one scheme that does nothing within max_position_embeddings: its context is what it
  // reaches.
  if (s.ropes[0].type == "dynamic" && s.context < (int64_t{1} << 30) && s.ropes[0].factor < 1024)
    s.context = static_cast<int64_t>(static_cast<double>(s.context) * s.ropes[0].factor);
  return s;
}

void set_windows(DecoderSpec& spec, ConfigReader& config, int64_t window,
                 const std::function<bool(int64_t)>& slides) {
  const std::vector<std::string> types = config.words("layer_types");
  if (!types.empty() && types.size() != spec.blocks.size()) {
    throw Error(ErrorKind::format,
                str("layer_types names ", types.size(), " layers of ", spec.blocks.size()),
                config.at("layer_types"));
  }
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    bool sliding = slides(static_cast<int64_t>(i));
    if (!types.empty()) {
      sliding = types[i] == "sliding_attention";
      if (!sliding && types[i] != "full_attention") {
        throw Error(ErrorKind::unsupported, str("a layer of type '", types[i], "' cannot be run"),
                    config.at("layer_types"), "known: full_attention, sliding_attention");
      }
    }
    spec.blocks[i].window = sliding ? window : 0;
  }
}

KeyTable upper_window_keys() {
  return {flag_key("use_sliding_window", "", false), integer_key("sliding_window", "", 4096),
          integer_key("max_window_layers", "", 28), derived("layer_types", "", KeyType::integers)};
}

void set_upper_windows(DecoderSpec& spec, ConfigReader& c) {
  const int64_t window = c.integer_or_none("sliding_window"),
                first = c.integer("max_window_layers");
  const bool slide = c.boolean("use_sliding_window");
  set_windows(spec, c, slide ? window : 0, [&](int64_t i) { return i >= first; });
}

KeyTable gemma_keys(int64_t largest_layers) {
  ConfigKey scalar = number_key("query_pre_attn_scalar", "", 256);
  scalar.implied = [largest_layers](const Json& c) -> Json {
    const int64_t width = c.at("hidden_size"), heads = c.at("num_attention_heads");
    const bool largest = c.at("num_hidden_layers") == largest_layers && heads > 0;
    return largest ? Json(width / heads) : c.at("head_dim");
  };
  return {integer_key("head_dim", "attention.key_length", 256),
          integer_key("num_key_value_heads", "attention.head_count_kv", 4),
          word_key("hidden_activation", "gelu_pytorch_tanh", "hidden_act"),
          flag_key("tie_word_embeddings", "output.weight", true, KeyType::absent),
          flag_key("attention_bias", "blk.0.attn_q.bias", false, KeyType::present),
          nullable(integer_key("sliding_window", "attention.sliding_window", 4096)),
          derived("layer_types", "", KeyType::integers),
          std::move(scalar)};
}

void gemma_spec(DecoderSpec& s, ConfigReader& c) {
  s.qkv_bias = s.out_bias = c.boolean("attention_bias");
  s.norm_offset = 1;
  s.embedding_scale = std::sqrt(static_cast<double>(s.width));
  s.final_softcap = c.number_or_none("final_logit_softcapping");
  const double scalar = c.number_or_none("query_pre_attn_scalar");
  for (BlockSpec& block : s.blocks) block.attention_scale = scalar > 0 ? 1 / std::sqrt(scalar) : 0;
  c.word("use_bidirectional_attention", {"false"}, "false");
}

TensorRows gemma_norm_rows() {
  const auto row = [](Part part, const char* hf, const char* gguf) {
    return TensorRow{part, str("model.layers.{}.", hf), str("blk.{}.", gguf), Layout::offset};
  };
  return {row(Part::attention_norm, "input_layernorm", "attn_norm"),
          row(Part::post_attention_norm, "post_attention_layernorm", "post_attention_norm"),
          row(Part::mlp_norm, "pre_feedforward_layernorm", "ffn_norm"),
          row(Part::post_mlp_norm, "post_feedforward_layernorm", "post_ffw_norm")};
}

TensorRows expert_rows(const std::string& router, const std::string& experts,
                       const std::vector<std::string>& leaves) {
  return {{Part::router, router, "blk.{}.ffn_gate_inp"},
          {Part::expert_gate, experts + leaves.at(0), "blk.{}.ffn_gate_exps"},
          {Part::expert_up, experts + leaves.at(1), "blk.{}.ffn_up_exps"},
          {Part::expert_down, experts + leaves.at(2), "blk.{}.ffn_down_exps"}};
}

TensorRows join(std::initializer_list<TensorRows> parts) {
  TensorRows all;
  for (const TensorRows& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

TensorRows ends(Layout norms) {
  return {{Part::embedding, "model.embed_tokens", "token_embd"},
          {Part::norm, "model.norm", "output_norm", norms},
          {Part::head, "lm_head", "output"}};
}

TensorRows attention_rows(Layout qk) {
  return {{Part::query, "model.layers.{}.self_attn.q_proj", "blk.{}.attn_q", qk},
          {Part::key, "model.layers.{}.self_attn.k_proj", "blk.{}.attn_k", qk},
          {Part::value, "model.layers.{}.self_attn.v_proj", "blk.{}.attn_v"},
          {Part::attention_out, "model.layers.{}.self_attn.o_proj", "blk.{}.attn_output"}};
}

TensorRows pre_norm_rows(Layout norms) {
  return {{Part::attention_norm, "model.layers.{}.input_layernorm", "blk.{}.attn_norm", norms},
          {Part::mlp_norm, "model.layers.{}.post_attention_layernorm", "blk.{}.ffn_norm", norms}};
}

TensorRows gated_mlp_rows() {
  return {{Part::gate, "model.layers.{}.mlp.gate_proj", "blk.{}.ffn_gate"},
          {Part::up, "model.layers.{}.mlp.up_proj", "blk.{}.ffn_up"},
          {Part::down, "model.layers.{}.mlp.down_proj", "blk.{}.ffn_down"}};
}

TensorRows head_norm_rows(Layout norms) {
  return {{Part::query_norm, "model.layers.{}.self_attn.q_norm", "blk.{}.attn_q_norm", norms},
          {Part::key_norm, "model.layers.{}.self_attn.k_norm", "blk.{}.attn_k_norm", norms}};
}

}  // namespace smidgen
