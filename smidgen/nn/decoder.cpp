#include "smidgen/nn/decoder.h"

#include <algorithm>
#include <tuple>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/nn/attention.h"
#include "smidgen/nn/nan_trace.h"
#include "smidgen/nn/unrounded_forward.h"

namespace smidgen {

void Decoder::check_stream(const Stream& stream, const KvCache* cache) const {
  for (int64_t s = 0; s < stream.sequences(); ++s) {
    const int64_t length = stream.starts[static_cast<size_t>(s) + 1] -
                           stream.starts[static_cast<size_t>(s)] + (cache ? cache->length(s) : 0);
    if (length > spec_.context) {
      throw Error(ErrorKind::data,
                  str("a sequence of ", length, " tokens is longer than the model's context of ",
                      spec_.context));
    }
  }
  const auto [low, high] = stream.ids.aminmax();
  if (low.item<int64_t>() < 0 || high.item<int64_t>() >= spec_.vocabulary) {
    throw Error(
        ErrorKind::data,
        str("token id ", low.item<int64_t>() < 0 ? low.item<int64_t>() : high.item<int64_t>(),
            " is outside the vocabulary of ", spec_.vocabulary));
  }
}

at::Tensor Decoder::embed(const Stream& stream) const {
  at::Tensor x = embedding_->forward(stream.ids, *stream.rows);
  if (spec_.embedding_scale != 1) x = x * spec_.embedding_scale;
  if (positions_) x = x + positions_->forward(stream.positions, *stream.rows);
  return x;
}

namespace {

// Rows of q and k turned to where they stand in sequences of one length.
std::pair<at::Tensor, at::Tensor> turn(RopeTables& tables, const at::Tensor& q, const at::Tensor& k,
                                       const at::Tensor& positions, int64_t reach, int64_t length) {
  return rope(q, k, tables.table(reach, length), positions);
}

AttentionOptions options_of(const BlockSpec& block, double softcap) {
  AttentionOptions options;
  options.scale = block.attention_scale;
  options.softcap = softcap;
  if (block.window > 0) {
    options.mask = MaskKind::window;
    options.window = block.window;
  }
  return options;
}

int64_t longest(const Stream& stream) {
  int64_t most = 0;
  for (size_t s = 0; s + 1 < stream.starts.size(); ++s)
    most = std::max(most, stream.starts[s + 1] - stream.starts[s]);
  return most;
}

}  // namespace

bool Decoder::lean() const {
  return memory_.mode == MemoryMode::lean && at::GradMode::is_enabled();
}

at::Tensor Decoder::normed(const NormHost& norm, const at::Tensor& x, const Rows& rows,
                           at::ScalarType out) const {
  if (!lean()) return norm.forward(x, rows, out);
  return recompute([&norm, rows, out](const at::Tensor& y) { return norm.forward(y, rows, out); },
                   x, norm.parameters(rows));
}

Decoder::Fork Decoder::fork(const NormHost* norm, const at::Tensor& x, const at::Tensor& kept,
                            const Rows& rows) const {
  const at::ScalarType dtype = scalar_type(arithmetic_);
  if (!norm) return {x.to(dtype), x, {}};
  Fork made;
  std::tie(made.read, made.beside) = norm->fork(x, rows, dtype, kept);
  if (kept.defined()) {
    made.remake = {{kept}, [norm, rows, dtype](const Tensors& from) {
                     return norm->forward(from[0].to(at::kFloat), rows, dtype);
                   }};
  }
  return made;
}

Decoder::Heads Decoder::heads(const Block& block, const Fork& x, const Rows& rows) const {
  const int64_t n = x.read.size(0), hd = spec_.head_dim, q = spec_.heads * hd,
                kv = spec_.kv_heads * hd;
  const at::Tensor qkv = block.qkv->forward(x.read, rows, x.remake);
  if (interleaved_) {
    const at::Tensor parts = qkv.view({n, spec_.heads, 3, hd});
    return {parts.select(2, 0), parts.select(2, 1), parts.select(2, 2)};
  }
  const auto split = qkv.split_with_sizes({q, kv, kv}, 1);
  const auto by = [&](const NormHost* norm, const at::Tensor& part) {
    return norm ? normed(*norm, part, rows, qkv.scalar_type()) : part;
  };
  return {by(block.query_norm, split[0]).reshape({n, spec_.heads, hd}),
          by(block.key_norm, split[1]).reshape({n, spec_.kv_heads, hd}),
          split[2].reshape({n, spec_.kv_heads, hd})};
}

at::Tensor Decoder::attend(const Block& block, int64_t layer, const Fork& x, const Stream& stream,
                           KvCache* cache) const {
  const int64_t n = stream.size(), wide = spec_.heads * spec_.head_dim;
  Heads h = heads(block, x, *stream.rows);
  if (cache) return attend_cached(block, layer, h, stream, *cache).reshape({n, wide});
  RopeTables* tables = rope_of(block);
  if (tables && !tables->spec().by_length()) {
    const int64_t reach = longest(stream);
    std::tie(h.q, h.k) = turn(*tables, h.q, h.k, stream.positions, reach, reach);
  } else if (tables) {
    Tensors queries, keys;
    for (size_t s = 0; s + 1 < stream.starts.size(); ++s) {
      const int64_t begin = stream.starts[s], m = stream.starts[s + 1] - begin;
      const auto [q, k] = turn(*tables, h.q.narrow(0, begin, m), h.k.narrow(0, begin, m),
                               stream.positions.narrow(0, begin, m), m, m);
      queries.push_back(q);
      keys.push_back(k);
    }
    h.q = at::cat(queries), h.k = at::cat(keys);
  }
  const at::Tensor mixed = attention(h.q, h.k, h.v, stream.starts, stream.starts,
                                     options_of(block.spec, spec_.attention_softcap))
                               .reshape({n, wide});
  return NanTrace::on() ? traced(mixed, h.q, str("the attention of layer ", layer)) : mixed;
}

// The cache holds keys as they were turned. Where the angles depend on the length, whoever lets the
// sequence grow asks starts_anew().
at::Tensor Decoder::attend_cached(const Block& block, int64_t layer, const Heads& h,
                                  const Stream& stream, KvCache& cache) const {
  RopeTables* tables = rope_of(block);
  const AttentionOptions options = options_of(block.spec, spec_.attention_softcap);
  at::Tensor q = h.q, k = h.k;
  if (tables && !tables->spec().by_length()) {
    int64_t reach = 0;
    for (int64_t s = 0; s < stream.sequences(); ++s) {
      const auto at = static_cast<size_t>(s);
      reach = std::max(reach, cache.length(s) + stream.starts[at + 1] - stream.starts[at]);
    }
    std::tie(q, k) = turn(*tables, q, k, stream.positions, reach, reach);
  }
  Tensors outputs;
  for (int64_t s = 0; s < stream.sequences(); ++s) {
    const int64_t begin = stream.starts[static_cast<size_t>(s)],
                  m = stream.starts[static_cast<size_t>(s) + 1] - begin,
                  length = cache.length(s) + m;
    at::Tensor queries = q.narrow(0, begin, m), fresh = k.narrow(0, begin, m);
    if (tables && tables->spec().by_length()) {
      std::tie(queries, fresh) =
          turn(*tables, queries, fresh, stream.positions.narrow(0, begin, m), length, length);
    }
    const auto [keys, values] = cache.append(layer, s, fresh, h.v.narrow(0, begin, m));
    const int64_t query_starts[] = {0, m}, key_starts[] = {0, length};
    outputs.push_back(attention(queries, keys, values, query_starts, key_starts, options));
  }
  return outputs.size() == 1 ? outputs.front() : at::cat(outputs, 0);
}

bool Decoder::starts_anew(int64_t have, int64_t want) const {
  if (have == 0) return false;
  for (const RopeTables& tables : ropes_) {
    const RopeSpec& rope = tables.spec();
    if (!rope.by_length() || want <= rope.original) continue;
    if (rope.type == "dynamic" || have <= rope.original) return true;
  }
  return false;
}

Decoder::Inner Decoder::inner(const Mlp& mlp, const at::Tensor& x, const Rows& rows,
                              const Remake& remake) const {
  const auto act = [gated = gated_, f = spec_.activation](const at::Tensor& up) {
    return gated ? smidgen::gated(f, up) : activate(f, up);
  };
  const at::Tensor up = mlp.up->forward(x, rows, remake);
  at::Tensor y = act(up);
  if (NanTrace::on()) y = traced(y, up, str("the activation after ", mlp.up->sites().front().name));
  if (!lean()) return {y, {}};
  return {y, {{up.detach()}, [act](const Tensors& from) { return act(from[0]); }}};
}

// y = sum over the k likeliest experts e of p_e expert_e(x), p = softmax(router(x)) in fp32,
// divided by the sum of the k where the family says so (Shazeer et al. 2017, arXiv 1701.06538).
at::Tensor Decoder::mix(const Block& block, const Fork& input, const Rows& rows) const {
  const at::Tensor& x = input.read;
  const at::Tensor shares =
      at::softmax(block.router->forward(x, rows, input.remake).to(at::kFloat), -1);
  auto [top, chosen] = shares.topk(spec_.experts_used, -1);
  if (spec_.normalise_experts) top = top / top.sum(-1, true);
  at::Tensor y = at::zeros(x.sizes(), x.options().dtype(at::kFloat));
  for (int64_t e = 0; e < spec_.experts; ++e) {
    const at::Tensor hits = (chosen == e).nonzero();  // rows ascending
    if (hits.size(0) == 0) continue;
    const at::Tensor row = hits.select(1, 0).contiguous();
    const at::Tensor share = top.index({row, hits.select(1, 1)}).unsqueeze(1);
    const Mlp& expert = block.experts[static_cast<size_t>(e)];
    const Rows some = select(rows, row);
    const Inner in = inner(expert, x.index_select(0, row), some);
    const at::Tensor part = expert.down->forward(in.value, some, in.remake);
    y = y.index_add(0, row, part.to(at::kFloat) * share);
  }
  return y;
}

at::Tensor Decoder::join(const at::Tensor& stream, const LinearGroup& last, const Inner& y,
                         const Branch& branch, const Rows& rows) const {
  const bool more = branch.module->attached(rows);
  if (branch.post || (more && !branch.module->only_adds(rows)))
    return join(stream, last.forward(y.value, rows, y.remake), branch, rows);
  const double scale = spec_.residual_scale;
  const at::Tensor z = last.add_to(stream, y.value, rows, scale, y.remake);
  if (!more) return z;
  return branch.module->add_to(z, branch.input.read, rows, scale);
}

at::Tensor Decoder::join(const at::Tensor& stream, const at::Tensor& y, const Branch& branch,
                         const Rows& rows) const {
  at::Tensor z = y;
  if (branch.module->attached(rows)) z = branch.module->forward(branch.input.read, y, rows);
  if (branch.post) z = normed(*branch.post, z, rows, at::kFloat);
  return stream + (spec_.residual_scale == 1 ? z : z * spec_.residual_scale);
}

at::Tensor Decoder::join_attention(const at::Tensor& onto, const Fork& input, size_t layer,
                                   const Stream& stream, KvCache* cache) const {
  const Block& block = blocks_[layer];
  const Inner mixed{attend(block, static_cast<int64_t>(layer), input, stream, cache), {}};
  return join(onto, *block.out, mixed, {input, block.attention, block.post_attention_norm},
              *stream.rows);
}

at::Tensor Decoder::join_mlp(const at::Tensor& onto, const Fork& input, const Block& block,
                             const Rows& rows) const {
  const Branch branch{input, block.whole_mlp, block.post_mlp_norm};
  if (block.router) return join(onto, mix(block, input, rows), branch, rows);
  return join(onto, *block.mlp.down, inner(block.mlp, input.read, rows, input.remake), branch,
              rows);
}

at::Tensor Decoder::kept(const at::Tensor& x) const {
  return lean() ? x.detach().to(scalar_type(arithmetic_)) : at::Tensor();
}

at::Tensor Decoder::run_attention(size_t layer, const at::Tensor& x, const Stream& stream,
                                  KvCache* cache) const {
  const Fork before = fork(blocks_[layer].attention_norm, x, kept(x), *stream.rows);
  return join_attention(before.beside, before, layer, stream, cache);
}

at::Tensor Decoder::run_mlp(size_t layer, const at::Tensor& x, const Rows& rows) const {
  const Block& block = blocks_[layer];
  const Fork before = fork(block.mlp_norm, x, kept(x), rows);
  return join_mlp(before.beside, before, block, rows);
}

at::Tensor Decoder::run_block(size_t layer, const at::Tensor& x, const Stream& stream,
                              KvCache* cache) const {
  const Block& block = blocks_[layer];
  const Rows& rows = *stream.rows;
  at::Tensor y;
  if (spec_.parallel) {
    const at::Tensor kept_x = kept(x);
    const Fork before = fork(block.attention_norm, x, kept_x, rows);
    const at::Tensor attended = join_attention(before.beside, before, layer, stream, cache);
    y = join_mlp(attended, fork(block.mlp_norm, before.beside, kept_x, rows), block, rows);
  } else {
    y = run_mlp(layer, run_attention(layer, x, stream, cache), rows);
  }
  return block.whole->attached(rows) ? block.whole->forward(x, y, rows) : y;
}

Tensors Decoder::parameters(const Block& block, const Rows& rows) const {
  Tensors all;
  for (size_t i = block.first_host; i < block.last_host; ++i) {
    for (const at::Tensor& p : hosts()[i]->parameters(rows)) {
      if (std::none_of(all.begin(), all.end(), [&](const at::Tensor& q) { return q.is_same(p); }))
        all.push_back(p);
    }
  }
  for (const ModuleHost* module : {block.attention, block.whole_mlp, block.whole}) {
    const Tensors own = module->parameters(rows);
    all.insert(all.end(), own.begin(), own.end());
  }
  return all;
}

bool Decoder::runs_again(size_t layer) const {
  return memory_.mode == MemoryMode::checkpoint &&
         static_cast<int64_t>(layer) % memory_.checkpoint_every == 0;
}

// A stretch of a block, or the same computed again in the backward pass.
Stretch Decoder::again(size_t layer, const Stream& stream, KvCache* cache, Stretch stretch) const {
  if (cache || !runs_again(layer)) return stretch;
  return [stretch = std::move(stretch), leaves = parameters(blocks_[layer], *stream.rows)](
             const at::Tensor& x) { return recompute(stretch, x, leaves); };
}

at::Tensor Decoder::pass(size_t layer, const at::Tensor& x, const Stream& stream,
                         KvCache* cache) const {
  if (cache || !runs_again(layer)) return run_block(layer, x, stream, cache);
  // The stream by value: the backward pass may outlive the caller's batch.
  return again(layer, stream, nullptr, [this, layer, stream](const at::Tensor& y) {
    return run_block(layer, y, stream, nullptr);
  })(x);
}

Stack Decoder::stack(const Stream& stream, KvCache* cache) const {
  Stack all{.blocks = {}, .family = family_, .has_halves = !spec_.parallel};
  const auto shared = std::make_shared<const Stream>(stream);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const auto made = [&](Stretch stretch) { return again(i, stream, cache, std::move(stretch)); };
    all.blocks.push_back(
        {made([this, i, shared, cache](const at::Tensor& x) {
           return run_block(i, x, *shared, cache);
         }),
         made([this, i, shared, cache](const at::Tensor& x) {
           return run_attention(i, x, *shared, cache);
         }),
         made([this, i, shared](const at::Tensor& x) { return run_mlp(i, x, *shared->rows); }),
         parameters(blocks_[i], *stream.rows)});
  }
  return all;
}

Json Decoder::examine(const Stream& stream) const {
  const StackAttachment* way = stack_->way(*stream.rows);
  if (!way) return nullptr;
  check_stream(stream, nullptr);
  const torch::NoGradGuard no_grad;
  Json facts = way->examine(stack(stream, nullptr), embed(stream));
  Stream bare = stream;
  Rows rows = *stream.rows;
  for (Segment& segment : rows.segments) segment.slot = 0;
  bare.slots.assign(stream.slots.size(), 0);
  bare.rows = std::make_shared<const Rows>(std::move(rows));
  const at::Tensor before = forward(bare, nullptr), after = forward(stream, nullptr);
  facts["starting_distance"] = ((after - before).norm() / before.norm()).item<double>();
  return facts;
}

at::Tensor Decoder::forward(const Stream& stream, KvCache* cache) const {
  SMIDGEN_ASSERT(!cache || cache->sequences() == stream.sequences());
  check_stream(stream, cache);
  at::Tensor x = embed(stream);
  if (const StackAttachment* way = stack_->way(*stream.rows)) {
    x = way->run(stack(stream, cache), x, memory_);
  } else {
    for (size_t i = 0; i < blocks_.size(); ++i) x = pass(i, x, stream, cache);
  }
  if (cache) {
    for (int64_t s = 0; s < stream.sequences(); ++s) {
      cache->advance(
          s, stream.starts[static_cast<size_t>(s) + 1] - stream.starts[static_cast<size_t>(s)]);
    }
  }
  return norm_->forward(x, *stream.rows);
}

at::Tensor Decoder::logits(const at::Tensor& hidden, const Rows& rows) const {
  return shape_logits(unrounded_forward(*head_, hidden, rows), logit_shape_);
}

at::Tensor Decoder::loss_sum(const at::Tensor& hidden, const Batch& batch) const {
  // Without attachments on the head the product and the loss are one op. A single segment whose
  // head is replaced outright (full tuning) goes the same way with the dense weight.
  const Rows& rows = *batch.main.rows;
  bool plain = true;
  at::Tensor dense;
  for (const Segment& segment : rows.segments) {
    const auto& attachments = head_->slots(0).at(segment.slot);
    if (attachments.empty()) continue;
    plain = false;
    if (rows.segments.size() == 1 && attachments.size() == 1 && attachments[0]->hooks().weight) {
      dense = attachments[0]->weight(attachments[0]->parameters());
    }
  }
  if (plain)
    return linear_cross_entropy(hidden, head_->weight().current(), batch.targets, {}, logit_shape_);
  if (dense.defined())
    return linear_cross_entropy(hidden, dense, batch.targets, {}, arithmetic_, logit_shape_);
  return cross_entropy(shape_logits(head_->forward(hidden, rows), logit_shape_), batch.targets);
}

KvCache Decoder::make_cache(int64_t sequences, int64_t capacity) const {
  return KvCache(spec_.layers(), sequences, std::min(capacity, spec_.context), spec_.kv_heads,
                 spec_.head_dim, scalar_type(arithmetic_));
}

}  // namespace smidgen
