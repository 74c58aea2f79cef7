// Llama: RMSNorm, rotary embedding in halves, grouped-query attention, SwiGLU (arXiv:2302.13971,
// 2307.09288). SmolLM2 and most models that call themselves llama are this. Differs from the
// reference (transformers 5.23.0, models/llama): products in bf16 round once where the reference
// rounds after each operation; the residual stream is fp32.
#include "smidgen/base/log.h"
#include "smidgen/nn/config_reader.h"
#include "smidgen/nn/decoder.h"
#include "smidgen/nn/families/registry.h"

namespace smidgen {

namespace {

using Layout = TensorRow::Layout;

const std::vector<TensorRow>& table() {
  static const std::vector<TensorRow> rows = {
      {"model.embed_tokens.weight", "token_embd.weight"},
      {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
      {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", Layout::rotated},
      {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", Layout::rotated},
      {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"},
      {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
      {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", Layout::rotated},
      {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", Layout::rotated},
      {"model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"},
      {"model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias"},
      {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"},
      {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
      {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
      {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
      {"model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias"},
      {"model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias"},
      {"model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias"},
      {"model.norm.weight", "output_norm.weight"},
      {"lm_head.weight", "output.weight"},
  };
  return rows;
}

DecoderSpec spec_from(ConfigReader& c) {
  DecoderSpec s;
  s.family = "llama";
  s.vocabulary = c.integer("vocab_size");
  s.width = c.integer("hidden_size");
  s.inner = c.integer("intermediate_size");
  s.layers = c.integer("num_hidden_layers");
  s.heads = c.integer("num_attention_heads");
  s.kv_heads = c.integer("num_key_value_heads", s.heads);
  s.head_dim = c.integer("head_dim", s.heads > 0 ? s.width / s.heads : 0);
  s.context = c.integer("max_position_embeddings", 2048);
  s.norm_eps = c.number("rms_norm_eps", 1e-6);
  s.attention_bias = c.boolean("attention_bias", false);
  s.mlp_bias = c.boolean("mlp_bias", false);
  s.tied = c.boolean("tie_word_embeddings", false);
  s.rope_theta = c.rope_theta(10000.0, {"default"});
  c.word("hidden_act", {"silu", "swish"}, "silu");
  c.finish({"pretraining_tp", "rope_interleaved", "is_llama_config"});
  return s;
}

// The metadata of a GGUF file in config.json's words.
Json config_of(const ModelFiles& files) {
  if (files.kind == ModelFiles::Kind::folder) return files.config;
  const GgufFile& g = *files.gguf;
  const std::string p = "llama.";
  const int64_t heads = g.get_int(p + "attention.head_count"),
                width = g.get_int(p + "embedding_length");
  const std::string scaling = g.get_string(p + "rope.scaling.type", "none");
  if (scaling != "none" || g.contains("rope_freqs.weight")) {
    throw Error(ErrorKind::unsupported, str("rope scaling '", scaling, "' cannot be run yet"),
                g.where());
  }
  if (heads <= 0)
    throw Error(ErrorKind::format, str("llama.attention.head_count is ", heads), g.where());
  Json c;
  c["architectures"] = {"LlamaForCausalLM"};
  c["model_type"] = "llama";
  c["hidden_act"] = "silu";
  c["vocab_size"] = g.view("token_embd.weight").shape.at(0);
  c["hidden_size"] = width;
  c["intermediate_size"] = g.get_int(p + "feed_forward_length");
  c["num_hidden_layers"] = g.get_int(p + "block_count");
  c["num_attention_heads"] = heads;
  c["num_key_value_heads"] = g.get_int(p + "attention.head_count_kv", heads);
  c["head_dim"] =
      g.get_int(p + "attention.key_length", g.get_int(p + "rope.dimension_count", width / heads));
  c["max_position_embeddings"] = g.get_int(p + "context_length");
  c["rms_norm_eps"] = g.get_float(p + "attention.layer_norm_rms_epsilon");
  c["rope_theta"] = g.get_float(p + "rope.freq_base", 10000.0);
  c["attention_bias"] = g.contains("blk.0.attn_q.bias");
  c["mlp_bias"] = g.contains("blk.0.ffn_gate.bias");
  c["tie_word_embeddings"] = files.lm_head_absent;
  for (const char* token : {"bos", "eos", "padding"}) {
    const std::string key = str("tokenizer.ggml.", token, "_token_id");
    if (g.find(key))
      c[std::string(token) == "padding" ? "pad_token_id" : str(token, "_token_id")] =
          g.get_int(key);
  }
  return c;
}

class Llama : public Family {
 public:
  std::string summary() const override { return "Llama 1 and 2, SmolLM and SmolLM2"; }
  std::vector<std::string> model_types() const override { return {"llama"}; }
  std::vector<std::string> gguf_architectures() const override { return {"llama"}; }

  std::unique_ptr<Model> load(const ModelFiles& files, const LoadOptions& options) const override {
    const Json config = config_of(files);
    const std::string where = files.kind == ModelFiles::Kind::folder
                                  ? (files.path / "config.json").string()
                                  : files.path.string();
    ConfigReader reader(config, where);
    DecoderSpec spec = spec_from(reader);
    validate(spec, where);
    // A tied checkpoint may still store the output matrix. Usually it is the embedding again and
    // need not be read; where it is another matrix, it is used, as transformers 5 does.
    std::vector<std::string> ignorable = {".*rotary_emb\\.inv_freq"};
    if (spec.tied && files.kind == ModelFiles::Kind::folder &&
        files.tensors->contains("lm_head.weight")) {
      const TensorView head = files.tensors->view("lm_head.weight");
      const TensorView table = files.tensors->view("model.embed_tokens.weight");
      spec.tied = head.format == table.format && std::equal(head.bytes.begin(), head.bytes.end(),
                                                            table.bytes.begin(), table.bytes.end());
      if (spec.tied) {
        ignorable.push_back("lm_head\\.weight");
      } else {
        log_note(
            "config.json ties the output matrix to the embedding, but the file holds another one, "
            "which is used (",
            where, ")");
      }
    }
    WeightReader weights(files, table(), ignorable);
    return std::make_unique<Decoder>(spec, config, weights, options);
  }
};

}  // namespace

std::unique_ptr<const Family> make_llama_family() {
  return std::make_unique<Llama>();
}

}  // namespace smidgen
