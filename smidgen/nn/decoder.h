// Decoder-only transformers: one class for all of them, composed of ops. What differs between
// families is a field of DecoderSpec or a row of the tensor table, never another forward pass.
//   x = scale_e embed(ids) (+ positions(p));  per layer
//     x += scale_r post_norm(o(attention(rope(norm(q)), rope(norm(k)), v)(attention_norm(x))))
//     x += scale_r post_norm(down(f(gate) * up)(mlp_norm(x)))
//   hidden = norm(x);  logits = softcap(scale_l head(hidden))
// A part that the table does not list is left out: post norms, q and k norms, the gate. With
// `parallel` both lines read the x before either. A mixture of experts stands for the MLP where the
// block says so. What hangs on a block, its attention or its MLP as a whole acts on what that
// computes, before post norm and stream (nn/module_host.h). Letters: n rows, d width, h heads, v
// vocabulary.
#pragma once

#include "smidgen/nn/decoder_spec.h"
#include "smidgen/nn/model.h"

namespace smidgen {

class Decoder : public Model {
 public:
  Decoder(const DecoderSpec& spec, Json config, WeightReader& weights, const LoadOptions& options);

  at::Tensor forward(const Stream& stream, KvCache* cache) const override;
  at::Tensor logits(const at::Tensor& hidden, const Rows& rows) const override;
  at::Tensor loss_sum(const at::Tensor& hidden, const Batch& batch) const override;
  PassMemory pass_memory(const Rows& rows, int64_t scored) const override;
  KvCache make_cache(int64_t sequences, int64_t capacity) const override;
  bool starts_anew(int64_t have, int64_t want) const override;
  std::vector<ModelTensor> tensors() const override;
  Json examine(const Stream& stream) const override;

 private:
  struct Mlp {
    LinearGroup* up = nullptr;  // gate and up, or up alone
    LinearGroup* down = nullptr;
  };
  // A null pointer is a part that the family does not have.
  struct Block {
    BlockSpec spec;
    NormHost *attention_norm = nullptr, *query_norm = nullptr, *key_norm = nullptr;
    NormHost *post_attention_norm = nullptr, *mlp_norm = nullptr, *post_mlp_norm = nullptr;
    LinearGroup *qkv = nullptr, *out = nullptr;
    Mlp mlp;
    LinearGroup* router = nullptr;
    std::vector<Mlp> experts;
    size_t first_host = 0, last_host = 0;  // of hosts(), the last one not included
    ModuleHost *attention = nullptr, *whole_mlp = nullptr, *whole = nullptr;
  };
  struct Heads {
    at::Tensor q, k, v;  // [n, h, head_dim]
  };

  // decoder_load.cpp
  LinearGroup* linear(WeightReader& weights, const LoadOptions& options,
                      const std::vector<Part>& parts, int64_t layer = -1, int64_t expert = -1);
  NormHost* norm(WeightReader& weights, Part part, int64_t layer = -1);
  EmbeddingHost* embedding(WeightReader& weights, const LoadOptions& options, Part part);
  Mlp mlp(WeightReader& weights, const LoadOptions& options, int64_t layer, int64_t expert);
  Block block(WeightReader& weights, const LoadOptions& options, int64_t layer);
  void modules(Block& block, int64_t layer);

  // decoder_memory.cpp
  PassMemory block_memory(const Block& block, const Rows& rows) const;
  PassMemory mlp_memory(const Mlp& mlp, const Rows& rows, int64_t inner, bool streams) const;

  // decoder.cpp
  void check_stream(const Stream& stream, const KvCache* cache) const;
  at::Tensor embed(const Stream& stream) const;
  // The stream after a block: run_block, or the same computed again in the backward pass.
  at::Tensor pass(size_t layer, const at::Tensor& x, const Stream& stream, KvCache* cache) const;
  at::Tensor run_block(size_t layer, const at::Tensor& x, const Stream& stream,
                       KvCache* cache) const;
  // Its two halves, where they follow each other.
  at::Tensor run_attention(size_t layer, const at::Tensor& x, const Stream& stream,
                           KvCache* cache) const;
  at::Tensor run_mlp(size_t layer, const at::Tensor& x, const Rows& rows) const;
  // The blocks of this pass for what runs them its own way.
  Stack stack(const Stream& stream, KvCache* cache) const;
  Stretch again(size_t layer, const Stream& stream, KvCache* cache, Stretch stretch) const;
  Tensors parameters(const Block& block, const Rows& rows) const;
  // What stands for x in the backward pass, where that is not x itself.
  at::Tensor kept(const at::Tensor& x) const;
  // True where this pass keeps as little as is cheap.
  bool lean() const;
  // Whether the backward pass runs this block again.
  bool runs_again(size_t layer) const;
  // What a part of a block reads, how it is made again, and the stream that goes on beside it.
  struct Fork {
    at::Tensor read, beside;
    Remake remake;
  };
  Fork fork(const NormHost* norm, const at::Tensor& x, const at::Tensor& kept,
            const Rows& rows) const;
  at::Tensor normed(const NormHost& norm, const at::Tensor& x, const Rows& rows,
                    at::ScalarType out) const;
  Heads heads(const Block& block, const Fork& x, const Rows& rows) const;
  at::Tensor attend(const Block& block, int64_t layer, const Fork& x, const Stream& stream,
                    KvCache* cache) const;
  at::Tensor attend_cached(const Block& block, int64_t layer, const Heads& h, const Stream& stream,
                           KvCache& cache) const;
  // What the last product of an MLP reads.
  struct Inner {
    at::Tensor value;
    Remake remake;
  };
  Inner inner(const Mlp& mlp, const at::Tensor& x, const Rows& rows,
              const Remake& remake = {}) const;
  at::Tensor mix(const Block& block, const Fork& x, const Rows& rows) const;
  // A half of a block as its end sees it: what it reads, what hangs on it, its post norm.
  struct Branch {
    const Fork& input;
    const ModuleHost* module;
    const NormHost* post;
  };
  // The stream that a half of a block goes into, and the half on top of it.
  at::Tensor join_attention(const at::Tensor& onto, const Fork& input, size_t layer,
                            const Stream& stream, KvCache* cache) const;
  at::Tensor join_mlp(const at::Tensor& onto, const Fork& input, const Block& block,
                      const Rows& rows) const;
  // stream + scale_r post(y), y being last(y) in the first form.
  at::Tensor join(const at::Tensor& stream, const LinearGroup& last, const Inner& y,
                  const Branch& branch, const Rows& rows) const;
  at::Tensor join(const at::Tensor& stream, const at::Tensor& y, const Branch& branch,
                  const Rows& rows) const;
  RopeTables* rope_of(const Block& block) const {
    return block.spec.rope < 0 ? nullptr : &ropes_[static_cast<size_t>(block.spec.rope)];
  }

  DecoderSpec spec_;
  EmbeddingHost* embedding_ = nullptr;
  EmbeddingHost* positions_ = nullptr;
  std::vector<Block> blocks_;
  StackHost* stack_ = nullptr;
  NormHost* norm_ = nullptr;
  LinearGroup* head_ = nullptr;
  bool interleaved_ = false;  // q, k and v of one head lie next to each other
  bool gated_ = false;
  LogitShape logit_shape_;
  mutable std::vector<RopeTables> ropes_;
};

}  // namespace smidgen
