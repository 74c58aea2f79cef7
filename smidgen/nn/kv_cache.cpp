#include "smidgen/nn/kv_cache.h"

#include <cstring>

#include <torch/torch.h>

#include "smidgen/base/error.h"

namespace smidgen {

KvCache::KvCache(int64_t layers, int64_t sequences, int64_t capacity, int64_t heads,
                 int64_t head_dim, at::ScalarType dtype)
    : capacity_(capacity),
      heads_(heads),
      head_dim_(head_dim),
      dtype_(dtype),
      lengths_(static_cast<size_t>(sequences), 0),
      buffers_(static_cast<size_t>(layers * sequences)) {}

namespace {

// Rows [row, ...) of `to`, whose rows are packed, become x.
void put(const at::Tensor& x, at::Tensor& to, int64_t row) {
  const int64_t width = x.size(2);
  if (x.scalar_type() != to.scalar_type() || x.stride(2) != 1 || x.stride(1) != width) {
    to.narrow(0, row, x.size(0)).copy_(x);
    return;
  }
  // A new token has one row: ATen's copy would take longer to get under way.
  const size_t bytes = static_cast<size_t>(x.size(1) * width) * x.itemsize();
  const auto* from = static_cast<const std::byte*>(x.const_data_ptr());
  auto* out = static_cast<std::byte*>(to.mutable_data_ptr()) + static_cast<size_t>(row) * bytes;
  for (int64_t i = 0; i < x.size(0); ++i)
    std::memcpy(out + static_cast<size_t>(i) * bytes,
                from + static_cast<size_t>(i * x.stride(0)) * x.itemsize(), bytes);
}

}  // namespace

std::pair<at::Tensor, at::Tensor> KvCache::append(int64_t layer, int64_t s, const at::Tensor& k,
                                                  const at::Tensor& v) {
  const int64_t have = length(s), want = have + k.size(0);
  if (want > capacity_) {
    throw Error(ErrorKind::data,
                str("the sequence has ", want, " tokens and its cache holds ", capacity_));
  }
  Buffer& b = buffer(layer, s);
  const int64_t allocated = b.k.defined() ? b.k.size(0) : 0;
  if (want > allocated) {
    // Doubling keeps the copying of a growing cache linear in its final size.
    const int64_t grown = std::min(capacity_, std::max<int64_t>({64, want, 2 * allocated}));
    for (at::Tensor* t : {&b.k, &b.v}) {
      at::Tensor bigger = at::empty({grown, heads_, head_dim_}, dtype_);
      if (have) bigger.narrow(0, 0, have).copy_(t->narrow(0, 0, have));
      *t = bigger;
    }
  }
  put(k, b.k, have);
  put(v, b.v, have);
  return {b.k.narrow(0, 0, want), b.v.narrow(0, 0, want)};
}

void KvCache::advance(int64_t s, int64_t tokens) {
  lengths_[static_cast<size_t>(s)] += tokens;
}

void KvCache::truncate(int64_t s, int64_t tokens) {
  SMIDGEN_ASSERT(tokens >= 0 && tokens <= length(s));
  lengths_[static_cast<size_t>(s)] = tokens;
}

void KvCache::keep(const std::vector<int64_t>& kept) {
  const int64_t layers = sequences() ? static_cast<int64_t>(buffers_.size()) / sequences() : 0;
  std::vector<Buffer> buffers;
  std::vector<int64_t> lengths;
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (const int64_t s : kept) buffers.push_back(std::move(buffer(layer, s)));
  }
  for (const int64_t s : kept) lengths.push_back(length(s));
  buffers_ = std::move(buffers);
  lengths_ = std::move(lengths);
}

}  // namespace smidgen
