#include "smidgen/nn/tiny_model.h"

#include <cmath>

#include <torch/torch.h>

#include "smidgen/base/rng.h"

namespace smidgen {

namespace {

// A table that owns what its views point to.
class OwningTable : public TensorTable {
 public:
  explicit OwningTable(std::string where) : TensorTable(std::move(where)) {}

  void add_normal(const std::string& name, const std::vector<int64_t>& shape, double mean,
                  double deviation, Format format, uint64_t seed) {
    SMIDGEN_ASSERT(format == Format::f32 || format == Format::bf16);
    at::Tensor values = at::empty(shape, at::kFloat);
    const Rng rng(seed, "tiny", 0, name);
    float* out = values.mutable_data_ptr<float>();
    for (int64_t i = 0; i < values.numel(); ++i) {
      out[i] = static_cast<float>(mean + deviation * rng.normal(static_cast<uint64_t>(i)));
    }
    if (format == Format::bf16) values = values.to(at::kBFloat16);
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

ModelFiles tiny_llama_files(const TinySpec& s) {
  auto table = std::make_shared<OwningTable>("tiny model in memory");
  const auto matrix = [&](const std::string& name, int64_t out, int64_t in, double deviation) {
    table->add_normal(name + ".weight", {out, in}, 0, deviation, s.storage, s.seed);
  };
  const auto linear = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
    matrix(name, out, in, s.scale / std::sqrt(static_cast<double>(in)));
    if (bias) table->add_normal(name + ".bias", {out}, 0, 0.3, Format::f32, s.seed);
  };
  const auto norm = [&](const std::string& name) {
    table->add_normal(name + ".weight", {s.width}, 1, 0.3, Format::f32, s.seed);
  };
  const double spread = s.scale / std::sqrt(static_cast<double>(s.width));
  matrix("model.embed_tokens", s.vocabulary, s.width, spread);
  for (int64_t i = 0; i < s.layers; ++i) {
    const std::string layer = str("model.layers.", i, ".");
    norm(layer + "input_layernorm");
    linear(layer + "self_attn.q_proj", s.heads * s.head_dim, s.width, s.attention_bias);
    linear(layer + "self_attn.k_proj", s.kv_heads * s.head_dim, s.width, s.attention_bias);
    linear(layer + "self_attn.v_proj", s.kv_heads * s.head_dim, s.width, s.attention_bias);
    linear(layer + "self_attn.o_proj", s.width, s.heads * s.head_dim, s.attention_bias);
    norm(layer + "post_attention_layernorm");
    linear(layer + "mlp.gate_proj", s.inner, s.width, s.mlp_bias);
    linear(layer + "mlp.up_proj", s.inner, s.width, s.mlp_bias);
    linear(layer + "mlp.down_proj", s.width, s.inner, s.mlp_bias);
  }
  norm("model.norm");
  if (!s.tied) matrix("lm_head", s.vocabulary, s.width, spread);

  ModelFiles files;
  files.kind = ModelFiles::Kind::folder;
  files.path = "tiny";
  files.config = config_of(s);
  files.tensors = std::move(table);
  files.lm_head_absent = s.tied;
  return files;
}

std::unique_ptr<Model> make_tiny_llama(const TinySpec& spec, const LoadOptions& options) {
  return load_model(tiny_llama_files(spec), options);
}

}  // namespace smidgen
