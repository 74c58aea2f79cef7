#include "smidgen/nn/host.h"

#include <algorithm>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/nn/nan_trace.h"
#include "smidgen/nn/ops.h"

namespace smidgen {

void SlotTable::attach(int slot, AttachmentPtr attachment) {
  SMIDGEN_ASSERT(slot > 0);
  slots_[slot].push_back(std::move(attachment));
}

void SlotTable::detach(int slot) {
  slots_.erase(slot);
}

const std::vector<AttachmentPtr>& SlotTable::at(int slot) const {
  static const std::vector<AttachmentPtr> kNone;
  const auto found = slots_.find(slot);
  return found == slots_.end() ? kNone : found->second;
}

std::pair<int64_t, int64_t> WeightHost::weight_rows(size_t) const {
  return {0, sites_.front().out};
}

at::Tensor WeightHost::original_bias(size_t site) const {
  if (!bias_.defined()) return {};
  const auto [row0, row1] = weight_rows(site);
  return bias_.narrow(0, row0, row1 - row0);
}

bool Host::attached(const Rows& rows) const {
  for (const SlotTable& table : tables_) {
    for (const Segment& segment : rows.segments) {
      if (!table.at(segment.slot).empty()) return true;
    }
  }
  return false;
}

Tensors Host::parameters(const Rows& rows) const {
  Tensors all;
  for (const SlotTable& table : tables_) {
    for (const Segment& segment : rows.segments) {
      for (const AttachmentPtr& a : table.at(segment.slot)) {
        for (const at::Tensor& p : a->parameters()) {
          if (std::none_of(all.begin(), all.end(),
                           [&](const at::Tensor& q) { return q.is_same(p); }))
            all.push_back(p);
        }
      }
    }
  }
  return all;
}

namespace {

// The dense tensors that a slot's attachments put in place of the base's, or nothing.
at::Tensor replacement(const SlotTable& table, int slot) {
  at::Tensor dense;
  for (const AttachmentPtr& a : table.at(slot)) {
    if (a->hooks().weight) dense = a->weight(a->parameters());
  }
  return dense;
}
at::Tensor own_bias(const SlotTable& table, int slot) {
  at::Tensor bias;
  for (const AttachmentPtr& a : table.at(slot)) {
    if (a->hooks().bias) bias = a->bias(a->parameters());
  }
  return bias;
}

}  // namespace

at::Tensor EmbeddingHost::forward(const at::Tensor& ids, const Rows& rows) const {
  if (!attached(rows)) return traced(smidgen::embedding(weight().current(), ids), {}, sites_);
  Tensors blocks;
  for (const Segment& segment : rows.segments) {
    const at::Tensor part = ids.narrow(0, segment.begin, segment.end - segment.begin);
    const at::Tensor dense = replacement(tables_[0], segment.slot);
    at::Tensor y = dense.defined() ? smidgen::embedding(dense, part)
                                   : smidgen::embedding(weight().current(), part);
    for (const AttachmentPtr& a : tables_[0].at(segment.slot)) {
      if (a->hooks().embed) y = a->embed(part, y, a->parameters());
    }
    blocks.push_back(y);
  }
  return traced(at::cat(blocks, 0), {}, sites_);
}

at::Tensor NormHost::apply(const at::Tensor& x, const at::Tensor& weight, const at::Tensor&,
                           at::ScalarType out) const {
  return rms_norm(x, offset_ == 0 ? weight : weight + offset_, eps_, out);
}

std::pair<at::Tensor, at::Tensor> NormHost::apply_fork(const at::Tensor& x,
                                                       const at::Tensor& weight, const at::Tensor&,
                                                       at::ScalarType out,
                                                       const at::Tensor& kept) const {
  return rms_norm_fork(x, offset_ == 0 ? weight : weight + offset_, eps_, out, kept);
}

std::pair<at::Tensor, at::Tensor> NormHost::fork(const at::Tensor& x, const Rows& rows,
                                                 at::ScalarType out, const at::Tensor& kept) const {
  const int64_t width = sites_.front().out;
  if (attached(rows) || x.size(1) != width) {
    if (!kept.defined()) return {forward(x, rows, out), x};
    return {recompute([this, rows, out](const at::Tensor& y) { return forward(y, rows, out); }, x,
                      parameters(rows), kept),
            x};
  }
  auto both = apply_fork(x, weight().current().tile(0, width).view({width}),
                         bias() ? *bias() : at::Tensor(), out, kept);
  both.first = traced(std::move(both.first), x, sites_);
  return both;
}

at::Tensor NormHost::forward(const at::Tensor& x, const Rows& rows, at::ScalarType out) const {
  const int64_t width = sites_.front().out;
  const at::Tensor base = weight().current().tile(0, width).view({width});
  const at::Tensor base_bias = bias() ? *bias() : at::Tensor();
  const auto normed = [&](const at::Tensor& part, const at::Tensor& w, const at::Tensor& b) {
    return apply(part.reshape({-1, width}), w, b, out).view(part.sizes());
  };
  if (!attached(rows)) return traced(normed(x, base, base_bias), x, sites_);
  Tensors blocks;
  for (const Segment& segment : rows.segments) {
    const at::Tensor dense = replacement(tables_[0], segment.slot);
    const at::Tensor b = own_bias(tables_[0], segment.slot);
    blocks.push_back(normed(x.narrow(0, segment.begin, segment.end - segment.begin),
                            dense.defined() ? dense.view({width}) : base,
                            b.defined() ? b : base_bias));
  }
  return traced(at::cat(blocks, 0), x, sites_);
}

}  // namespace smidgen
