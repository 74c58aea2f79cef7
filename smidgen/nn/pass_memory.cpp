#include "smidgen/nn/pass_memory.h"

#include <algorithm>

#include "smidgen/nn/host.h"
#include "smidgen/nn/linear_parts.h"
#include "smidgen/nn/module_host.h"
#include "smidgen/nn/ops.h"

namespace smidgen {
namespace {

constexpr int64_t kFloat = 4;

int64_t element(const BaseWeight& weight) {
  return static_cast<int64_t>(c10::elementSize(weight.dtype()));
}

// Whether an attachment stands in place of the host's weight.
bool replaced(const WeightHost& host, const Rows& rows) {
  for (const Segment& segment : rows.segments) {
    for (const AttachmentPtr& a : host.slots(0).at(segment.slot)) {
      if (a->hooks().weight) return true;
    }
  }
  return false;
}

}  // namespace

PassMemory& PassMemory::then(const PassMemory& next) {
  forward = std::max(forward, kept + next.forward);
  backward = std::max(backward, kept + next.backward);
  kept += next.kept;
  return *this;
}

PassMemory linear_memory(const LinearGroup& host, const Rows& rows, int64_t input_bytes,
                         bool shares_input, bool streams) {
  const BaseWeight& base = host.weight().current();
  const int64_t n = rows.count, in = host.in_features(), out = host.out_features(),
                e = element(base);
  PassMemory m;
  bool whole = true, hooks_read = false, rides = false, edited = false, shared = false;
  int64_t each = 0;     // scratch of the part that needs most, one after the other
  int64_t forward = 0;  // the same forward
  int64_t later = 0;    // what backward collects until it returns
  for (const HostPart& part : parts_of(host, rows)) {
    const auto [col0, col1] = host.weight_rows(part.site);
    const int64_t r = part.segment.end - part.segment.begin, width = col1 - col0;
    whole &= part.finished_with_product();
    rides |= part.rides();
    shared |= !part.own_product();
    edited |= part.own_product() || part.post || part.needs_y0;
    for (const LowRankDelta& factors : part.low_rank) {
      const int64_t inner = kFloat * r * factors.a.size(0);
      m.kept += inner;
      later += inner;  // its gradient rides on the product's
    }
    if (part.needs_y0) m.kept += kFloat * r * width;
    if (part.post) m.kept += kFloat * r * width;
    if (!part.reads_input() || part.rides()) continue;
    hooks_read = true;
    later += kFloat * r * in;  // its share of dx
    const int64_t d = kFloat * r * width;
    if (part.replacement) {
      const int64_t cast = e < kFloat ? e * width * in : 0;
      later += kFloat * width * in;
      forward = std::max(forward, r * width * e + cast);
      each = std::max(each, d + (e < kFloat ? e * (r * (width + in) + 2 * width * in) : 0));
    } else {
      // The input times a mask, the mask, and the attachment's result twice.
      forward = std::max(forward, 2 * kFloat * r * in + 2 * d);
      each = std::max(each, d + 2 * kFloat * r * in);
    }
  }
  if (!whole) streams = false;
  // x as it came for hooks, else as the product reads it.
  const int64_t wide = hooks_read && input_bytes < kFloat ? kFloat * n * in : 0;
  const int64_t cast = input_bytes != e ? n * in * e : 0;
  int64_t input = n * in * input_bytes;
  if (hooks_read) {
    m.kept += shares_input ? 0 : input;
  } else if (rides) {
    m.kept += cast ? cast : shares_input ? 0 : input;
  }
  if (shares_input || hooks_read || (rides && !cast)) input = 0;
  const int64_t result = n * out * (streams ? kFloat : e);
  m.forward = m.kept + input + (rides && !hooks_read ? 0 : cast) + wide + result + forward +
              base.product_bytes(n, false) + (whole || streams ? 0 : kFloat * n * out);
  // A stream's gradient belongs to whoever holds the stream.
  const int64_t dy = streams ? (e < kFloat ? n * out * e : 0) : n * out * e;
  const int64_t dx = hooks_read ? n * in * (kFloat + (input_bytes < kFloat ? input_bytes : 0))
                                : n * in * input_bytes;
  m.backward = m.kept + dy + (edited ? n * out * e : 0) + wide + later + each + dx +
               (shared ? base.product_bytes(n, true) : 0);
  return m;
}

PassMemory norm_memory(const NormHost& host, const Rows& rows, int64_t out_bytes, int64_t heads) {
  const int64_t elements = rows.count * host.sites().front().out * heads;
  const bool copies = heads > 1 || host.attached(rows);
  const int64_t out = elements * out_bytes * (copies ? 2 : 1);
  PassMemory m;
  m.kept = kFloat * elements;
  m.forward = m.kept + out;
  m.backward = m.kept + out + kFloat * elements;
  return m;
}

PassMemory module_memory(const ModuleHost& host, const Rows& rows, int64_t input_bytes,
                         bool shares_input) {
  PassMemory m;
  const int64_t width = host.sites().front().in;
  bool reads_x = false, reads_y = false;
  for (const Segment& segment : rows.segments) {
    const int64_t n = segment.end - segment.begin, stream = kFloat * n * width;
    for (const AttachmentPtr& a : host.slots(0).at(segment.slot)) {
      reads_x |= a->hooks().add;
      reads_y |= a->hooks().post || a->hooks().add_needs_y0;
      // Between its matrices a hook has rows as wide as the largest is beside `width`.
      int64_t inner = 0;
      for (const at::Tensor& p : a->parameters()) inner = std::max(inner, p.numel() / width);
      const int64_t between = kFloat * n * inner;
      m.forward = std::max(m.forward, 2 * stream + 3 * between);
      m.backward = std::max(m.backward, 4 * stream + 6 * between);
    }
  }
  const int64_t rows_of = rows.count * width;
  if (reads_x && !shares_input) m.kept += rows_of * input_bytes;
  if (reads_x && input_bytes < kFloat) {
    m.forward += kFloat * rows_of;
    m.backward += kFloat * rows_of;
  }
  if (reads_y) m.kept += kFloat * rows_of;
  m.forward += m.kept;
  m.backward += m.kept;
  return m;
}

PassMemory embedding_memory(const EmbeddingHost& host, const Rows& rows) {
  const Site& site = host.sites().front();
  const int64_t x = kFloat * rows.count * site.in;
  PassMemory m{.kept = 0, .forward = 2 * x, .backward = x};
  if (host.attached(rows)) m.forward += x;
  if (replaced(host, rows)) m.backward += kFloat * site.out * site.in;
  return m;
}

PassMemory attention_memory(const AttentionShape& s, int64_t n, int64_t bytes) {
  const int64_t q = n * s.heads * s.head_dim * bytes, kv = n * s.kv_heads * s.head_dim * bytes;
  PassMemory m;
  m.kept = (q + 2 * kv)                    // the joint product, of which v is a part
           + (s.rotated ? q + kv : 0) + q  // q and k turned, the result
           + kFloat * n * s.heads;
  m.forward = m.kept;
  m.backward = m.kept + 2 * (q + 2 * kv);  // apart, and joined for the product
  return m;
}

PassMemory activation_memory(int64_t n, int64_t inner, bool gated, bool fused, int64_t bytes) {
  const int64_t y = n * inner * bytes, x = y * (gated ? 2 : 1),
                wide = fused ? 0 : kFloat * n * inner;
  return {.kept = x, .forward = x + y + 3 * wide, .backward = 2 * x + y + 4 * wide};
}

PassMemory loss_memory(const LinearGroup& head, const Rows& rows, int64_t scored,
                       bool plain_logits) {
  const BaseWeight& base = head.weight().current();
  const int64_t n = rows.count, v = head.out_features(), d = head.in_features(), e = element(base);
  const int64_t hidden = kFloat * n * d, block = std::min(scored, loss_block_rows(v));
  const int64_t logits = block * v * (e + (plain_logits ? 0 : 3 * kFloat));
  const bool dense = replaced(head, rows);
  PassMemory m;
  if (head.attached(rows) && !dense) {
    m = linear_memory(head, rows, kFloat, false, false);
    const int64_t whole = n * v * (e + (plain_logits ? 0 : 2 * kFloat));
    return m.then({.kept = whole, .forward = 2 * whole, .backward = 2 * whole});
  }
  const int64_t table = dense ? v * d : 0;
  m.kept = hidden + kFloat * table;
  m.forward = m.kept + hidden + logits + block * d * (2 * e + 2 * kFloat) +
              (dense ? (e < kFloat ? e * table : 0) + e * table : base.product_bytes(block, true));
  m.backward = m.kept + hidden + kFloat * table;
  return m;
}

}  // namespace smidgen
