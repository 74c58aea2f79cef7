// Decoder-only transformers as data: a family fills in a DecoderSpec and a table of tensor names.
//   x = embed(ids);  per layer: x += o(attention(rope(q, k), v));  x += down(silu(gate) * up);
//   hidden = norm(x)
// Letters: n rows, d width, h heads, v vocabulary.
#pragma once

#include "smidgen/nn/model.h"
#include "smidgen/nn/ops.h"
#include "smidgen/nn/weight_table.h"

namespace smidgen {

struct DecoderSpec {
  std::string family;
  int64_t layers = 0, width = 0, heads = 0, kv_heads = 0, head_dim = 0, inner = 0, vocabulary = 0,
          context = 0;
  double norm_eps = 1e-6;
  double rope_theta = 10000;
  bool attention_bias = false;  // on q, k, v and o
  bool mlp_bias = false;        // on gate, up and down
  bool tied = false;            // the output matrix is the embedding
};

// Checks the numbers against each other (heads divide, nothing is zero or absurd) before anything
// is allocated.
void validate(const DecoderSpec& spec, const std::string& where);

class Decoder : public Model {
 public:
  Decoder(const DecoderSpec& spec, Json config, WeightReader& weights, const LoadOptions& options);

  at::Tensor forward(const Stream& stream, KvCache* cache) const override;
  at::Tensor logits(const at::Tensor& hidden, const Rows& rows) const override;
  at::Tensor loss_sum(const at::Tensor& hidden, const Batch& batch) const override;
  KvCache make_cache(int64_t sequences, int64_t capacity) const override;
  std::vector<ModelTensor> tensors() const override;

 private:
  struct Block {
    NormHost* attention_norm;
    LinearGroup* qkv;
    LinearGroup* out;
    NormHost* mlp_norm;
    LinearGroup* gate_up;
    LinearGroup* down;
  };
  at::Tensor attend(const Block& block, int64_t layer, const at::Tensor& h, const Stream& stream,
                    KvCache* cache) const;
  void check_stream(const Stream& stream, const KvCache* cache) const;
  const RopeTable& rope_for(int64_t positions) const;
  LinearGroup* linear(WeightReader& weights, const LoadOptions& options, const std::string& prefix,
                      const std::vector<std::pair<std::string, int64_t>>& parts, int64_t in,
                      bool bias);
  NormHost* norm(WeightReader& weights, const std::string& name);

  DecoderSpec spec_;
  EmbeddingHost* embedding_;
  std::vector<Block> blocks_;
  NormHost* norm_;
  LinearGroup* head_;
  mutable RopeTable rope_;
};

}  // namespace smidgen
