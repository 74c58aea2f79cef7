#include "smidgen/nn/tiny_model.h"

#include <cmath>

#include <torch/torch.h>

#include "smidgen/base/rng.h"
#include "smidgen/nn/families/registry.h"

namespace smidgen {

namespace {

// A table that owns what its views point to.
class OwningTable : public TensorTable {
 public:
  explicit OwningTable(std::string where) : TensorTable(std::move(where)) {}

  void add_normal(const std::string& name, const std::vector<int64_t>& shape, double mean,
                  double deviation, Format format, uint64_t seed) {
    SMIDGEN_ASSERT(format == Format::f32 || format == Format::bf16 || format == Format::f16);
    at::Tensor values = at::empty(shape, at::kFloat);
    const Rng rng(seed, "tiny", 0, name);
    float* out = values.mutable_data_ptr<float>();
    for (int64_t i = 0; i < values.numel(); ++i) {
      out[i] = static_cast<float>(mean + deviation * rng.normal(static_cast<uint64_t>(i)));
    }
    if (format == Format::bf16) values = values.to(at::kBFloat16);
    if (format == Format::f16) values = values.to(at::kHalf);
    owned_.push_back(values);
    const auto* bytes = static_cast<const std::byte*>(values.const_data_ptr());
    add(name,
        {.format = format, .shape = shape, .bytes = {bytes, static_cast<size_t>(values.nbytes())}});
  }

 private:
  std::vector<at::Tensor> owned_;
};

Json config_of(const TinySpec& s) {
  Json c;
  c["architectures"] = {"LlamaForCausalLM"};
  c["attention_bias"] = s.attention_bias;
  c["head_dim"] = s.head_dim;
  c["hidden_act"] = "silu";
  c["hidden_size"] = s.width;
  c["intermediate_size"] = s.inner;
  c["max_position_embeddings"] = s.context;
  c["mlp_bias"] = s.mlp_bias;
  c["model_type"] = "llama";
  c["num_attention_heads"] = s.heads;
  c["num_hidden_layers"] = s.layers;
  c["num_key_value_heads"] = s.kv_heads;
  c["rms_norm_eps"] = s.norm_eps;
  c["rope_theta"] = s.rope_theta;
  c["tie_word_embeddings"] = s.tied;
  c["vocab_size"] = s.vocabulary;
  return c;
}

}  // namespace

Json tiny_config(const std::string& family) {
  static const Json values = {{"vocab_size", 67},
                              {"hidden_size", 24},
                              {"intermediate_size", 40},
                              {"n_inner", 40},
                              {"num_hidden_layers", 3},
                              {"num_attention_heads", 4},
                              {"num_key_value_heads", 2},
                              {"head_dim", 8},
                              {"max_position_embeddings", 96},
                              {"rms_norm_eps", 1e-3},
                              {"layer_norm_eps", 1e-3},
                              {"layer_norm_epsilon", 1e-3},
                              {"rope_theta", 500.0},
                              {"rope_local_base_freq", 60.0},
                              {"rotary_pct", 0.67},
                              {"attention_bias", true},
                              {"mlp_bias", true},
                              {"sliding_window", 4},
                              {"sliding_window_pattern", 2},
                              {"use_sliding_window", true},
                              {"max_window_layers", 1},
                              {"no_rope_layer_interval", 2},
                              {"query_pre_attn_scalar", 11},
                              {"attn_logit_softcapping", 3.0},
                              {"final_logit_softcapping", 4.0},
                              {"embedding_multiplier", 1.7},
                              {"residual_multiplier", 0.6},
                              {"attention_multiplier", 0.3},
                              {"logits_scaling", 1.4},
                              {"num_local_experts", 4},
                              {"num_experts_per_tok", 2},
                              {"moe_intermediate_size", 16},
                              {"mlp_only_layers", {1}},
                              {"scale_attn_by_inverse_layer_idx", true}};
  const Family& entry = families().find(family);
  Json c = {{"architectures", {entry.model_class()}}, {"model_type", entry.model_types().front()}};
  for (const ConfigKey& key : entry.keys()) {
    for (const std::string& name : {key.name(), key.config}) {
      if (values.contains(name)) c[key.config] = values[name];
    }
  }
  return c;
}

Json tiny_gguf_config(const std::string& family) {
  Json config = tiny_config(family);
  for (const ConfigKey& key : families().find(family).keys()) {
    if (!key.gguf.empty()) continue;
    config.erase(key.config);
    if (key.implied) config[key.config] = key.implied(config);
  }
  return config;
}

ModelFiles tiny_files(const Json& config, const TinyWeights& w) {
  auto table = std::make_shared<OwningTable>("tiny model in memory");
  const Family& family = family_of(config, "tiny");
  ModelFiles files;
  files.lm_head_absent = true;
  for (const NamedShape& t : family.shapes(config)) {
    const bool bias = t.name.ends_with(".bias"), vector = t.shape.size() == 1 && !bias;
    const auto place = find_place(family.tensors(), t.name.substr(0, t.name.rfind('.')));
    SMIDGEN_ASSERT(place.has_value());
    if (place->row->part == Part::head) files.lm_head_absent = false;
    const bool turned = place->row->layout == Layout::transposed;
    // Norms are drawn around what leaves a vector as it is.
    const double mean = vector ? (place->row->layout == Layout::offset ? 0 : 1) : 0;
    const double in = static_cast<double>(turned ? t.shape.front() : t.shape.back());
    const double deviation = bias || vector ? 0.3 : w.scale / std::sqrt(in);
    table->add_normal(t.name, t.shape, mean, deviation, bias || vector ? Format::f32 : w.storage,
                      w.seed);
  }
  files.kind = ModelFiles::Kind::folder;
  files.path = "tiny";
  files.config = config;
  files.tensors = std::move(table);
  return files;
}

ModelFiles tiny_llama_files(const TinySpec& s) {
  return tiny_files(config_of(s), {s.storage, s.scale, s.seed});
}

std::unique_ptr<Model> make_tiny_llama(const TinySpec& spec, const LoadOptions& options) {
  return load_model(tiny_llama_files(spec), options);
}

}  // namespace smidgen
