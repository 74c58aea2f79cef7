// What the forward and backward pass of a decoder hold, in the order of decoder.cpp.
#include <algorithm>

#include "smidgen/nn/decoder.h"

namespace smidgen {

namespace {

constexpr int64_t kStream = 4;  // bytes of an element of the residual stream

}  // namespace

PassMemory Decoder::mlp_memory(const Mlp& mlp, const Rows& rows, int64_t inner,
                               bool streams) const {
  const int64_t e = static_cast<int64_t>(c10::elementSize(scalar_type(arithmetic_)));
  // In `lean` the backward pass makes the inputs of both products again (docs/memory.md).
  const bool lean = memory_.mode == MemoryMode::lean;
  PassMemory m = linear_memory(*mlp.up, rows, e, lean, false);
  if (lean) m.backward += e * rows.count * spec_.width;
  const bool fused = gated_ && spec_.activation == Activation::silu;
  m.then(activation_memory(rows.count, inner, gated_, fused, e));
  PassMemory down = linear_memory(*mlp.down, rows, e, lean, streams);
  if (lean) down.backward += e * rows.count * inner;
  return m.then(down);
}

PassMemory Decoder::block_memory(const Block& block, const Rows& rows) const {
  const int64_t n = rows.count, stream = kStream * n * spec_.width;
  const int64_t e = static_cast<int64_t>(c10::elementSize(scalar_type(arithmetic_)));
  const bool lean = memory_.mode == MemoryMode::lean;
  // What a norm keeps of the stream: in `lean` as the arithmetic reads it.
  const auto norm_of_stream = [&](const NormHost& norm) {
    PassMemory m = norm_memory(norm, rows, e);
    if (lean) m.kept -= (kStream - e) * n * spec_.width;
    return m;
  };
  PassMemory m;
  if (block.attention_norm) m.then(norm_of_stream(*block.attention_norm));
  PassMemory qkv = linear_memory(*block.qkv, rows, e, lean, false);
  if (lean) qkv.backward += e * n * spec_.width;
  m.then(qkv);
  for (const auto& [norm, heads] :
       {std::pair(block.query_norm, spec_.heads), std::pair(block.key_norm, spec_.kv_heads)}) {
    if (norm) m.then(norm_memory(*norm, rows, e, spec_.head_norms ? heads : 1));
  }
  m.then(
      attention_memory({spec_.heads, spec_.kv_heads, spec_.head_dim, block.spec.rope >= 0}, n, e));
  const auto module = [&](const ModuleHost& host) {
    if (host.attached(rows)) m.then(module_memory(host, rows, e, false));
  };
  m.then(linear_memory(*block.out, rows, e, true, !block.post_attention_norm));
  module(*block.attention);
  if (block.post_attention_norm) m.then(norm_memory(*block.post_attention_norm, rows, kStream));
  if (block.mlp_norm) m.then(norm_of_stream(*block.mlp_norm));
  if (block.router) {
    // Each expert sees its share of the rows, and adds to a new copy of the sum.
    Rows some = rows;
    some.count = n * spec_.experts_used / spec_.experts;
    for (Segment& s : some.segments) s = {s.slot, s.begin, std::min(s.end, some.count)};
    m.then(linear_memory(*block.router, rows, e, true, false));
    for (const Mlp& expert : block.experts) {
      m.then(mlp_memory(expert, some, spec_.expert_inner, false).beside(2 * stream));
      m.kept += kStream * some.count * (spec_.width + 2);
    }
  } else {
    m.then(mlp_memory(block.mlp, rows, spec_.inner, !block.post_mlp_norm));
  }
  module(*block.whole_mlp);
  if (block.post_mlp_norm) m.then(norm_memory(*block.post_mlp_norm, rows, kStream));
  if (block.whole->attached(rows)) m.then(module_memory(*block.whole, rows, kStream, true));
  // The gradient of the stream waits beside the branch that is differentiated.
  m.backward += stream;
  return m;
}

PassMemory Decoder::pass_memory(const Rows& rows, int64_t scored) const {
  // Nothing is kept before the first part that is trained.
  bool recording = embedding_->attached(rows);
  PassMemory m = embedding_memory(*embedding_, rows);
  size_t next = 0;
  const auto& all = hosts();
  const auto trains = [&](const LinearGroup* last) {
    bool any = false;
    for (; next < all.size(); ++next) {
      any |= all[next]->attached(rows);
      if (all[next].get() == last) return any;
    }
    return any;
  };
  const StackAttachment* way = stack_->way(rows);
  StackMemory all_blocks{{}, rows.count, spec_.width, !spec_.parallel, family_};
  for (size_t layer = 0; layer < blocks_.size(); ++layer) {
    const Block& block = blocks_[layer];
    const LinearGroup* last = block.router ? block.experts.back().down : block.mlp.down;
    recording |= trains(last);
    for (const ModuleHost* module : {block.attention, block.whole_mlp, block.whole})
      recording |= module->attached(rows);
    PassMemory part = block_memory(block, rows);
    if (way) {
      all_blocks.blocks.push_back(part);
      continue;
    }
    if (!recording) {
      part = {.kept = 0, .forward = part.forward, .backward = 0};
    } else if (runs_again(layer)) {
      part = {.kept = kStream * rows.count * spec_.width,
              .forward = part.forward,
              .backward = std::max(part.forward, part.backward)};
    }
    m.then(part);
  }
  if (way) m.then(way->memory(all_blocks, memory_));
  m.then(norm_memory(*norm_, rows, kStream));
  const PassMemory loss = loss_memory(*head_, rows, scored, logit_shape_.plain());
  // The loss's node holds its gradients until the whole graph goes, and that of a tied table waits
  // besides for what the embedding adds to it.
  m.backward += loss.kept;
  if (spec_.tied && embedding_->attached(rows) && head_->attached(rows))
    m.backward += kStream * spec_.vocabulary * spec_.width;
  return m.then(loss);
}

}  // namespace smidgen
