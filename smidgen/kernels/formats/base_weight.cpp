#include "smidgen/kernels/formats/base_weight.h"

#include <algorithm>

#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"
#include "smidgen/kernels/block.h"

namespace smidgen {
namespace {

// Rows of W that the defaults unpack at a time: about 4 MB of fp32, so that a block stays in the
// cache of a core.
int64_t block_rows(int64_t in_features) {
  return std::max<int64_t>(16, (int64_t{1} << 20) / std::max<int64_t>(1, in_features));
}

// Products never record: the host differentiates.
at::Tensor operand(const at::Tensor& x, int64_t width, at::ScalarType dtype, const char* what) {
  if (x.dim() != 2 || x.size(1) != width) {
    throw Error(ErrorKind::mismatch, str("[base weight] ", what, " must be [n, ", width, "], got ",
                                         shape_str(x.sizes())));
  }
  return x.detach().to(dtype);
}

// A finished product in blocks of rows.
void hand_out(const at::Tensor& product, const FinishBlock& finish) {
  const at::Tensor y = product.to(at::kFloat).contiguous();
  const int64_t columns = y.size(1);
  float* values = y.mutable_data_ptr<float>();
  parallel_for(y.size(0), 16, [&](int64_t begin, int64_t end) {
    finish({begin, end - begin, 0, columns, values + begin * columns, columns});
  });
}

}  // namespace

BaseWeight::BaseWeight(int64_t out_features, int64_t in_features, Arithmetic arithmetic)
    : out_features_(out_features), in_features_(in_features), arithmetic_(arithmetic) {
  if (out_features < 1 || in_features < 1) {
    throw Error(ErrorKind::mismatch,
                str("[base weight] cannot hold [", out_features, ", ", in_features, "]"));
  }
}

BaseWeight::~BaseWeight() = default;

void BaseWeight::check_range(int64_t row0, int64_t row1) const {
  if (row0 < 0 || row1 > out_features_ || row0 > row1) {
    throw Error(ErrorKind::usage,
                str("[base weight] rows ", row0, " to ", row1, " of ", out_features_));
  }
}

at::Tensor BaseWeight::matmul(const at::Tensor& x) const {
  return matmul_rows(x, 0, out_features_);
}

at::Tensor BaseWeight::matmul_t(const at::Tensor& dy) const {
  return matmul_t_rows(dy, 0, out_features_);
}

at::Tensor BaseWeight::matmul_rows(const at::Tensor& x, int64_t row0, int64_t row1) const {
  const at::NoGradGuard no_grad;
  check_range(row0, row1);
  return do_matmul(operand(x, in_features_, dtype(), "input"), row0, row1);
}

at::Tensor BaseWeight::matmul_t_rows(const at::Tensor& dy, int64_t row0, int64_t row1) const {
  const at::NoGradGuard no_grad;
  check_range(row0, row1);
  return do_matmul_t(operand(dy, row1 - row0, dtype(), "output gradient"), row0, row1);
}

void BaseWeight::matmul_blocks(const at::Tensor& x, const FinishBlock& finish) const {
  const at::NoGradGuard no_grad;
  do_matmul_blocks(operand(x, in_features_, dtype(), "input"), finish);
}

void BaseWeight::matmul_t_blocks(const at::Tensor& dy, const FinishBlock& finish) const {
  const at::NoGradGuard no_grad;
  do_matmul_t_blocks(operand(dy, out_features_, dtype(), "output gradient"), finish);
}

at::Tensor BaseWeight::tile(int64_t row0, int64_t row1) const {
  const at::NoGradGuard no_grad;
  check_range(row0, row1);
  return do_tile(row0, row1);
}

at::Tensor BaseWeight::rows(const at::Tensor& ids) const {
  const at::NoGradGuard no_grad;
  if (ids.dim() != 1 || ids.scalar_type() != at::kLong) {
    throw Error(ErrorKind::mismatch,
                str("[base weight] ids must be int64 [n], got ", c10::toString(ids.scalar_type()),
                    " ", shape_str(ids.sizes())));
  }
  const at::Tensor packed = ids.contiguous();
  const int64_t* id = packed.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < packed.numel(); ++i) {
    if (id[i] < 0 || id[i] >= out_features_) {
      throw Error(ErrorKind::usage, str("[base weight] id ", id[i], " at row ", i,
                                        " is outside the ", out_features_, " rows"));
    }
  }
  return do_rows(packed);
}

at::Tensor BaseWeight::row_norms() const {
  const at::NoGradGuard no_grad;
  return do_row_norms();
}

at::Tensor BaseWeight::do_matmul(const at::Tensor& x, int64_t row0, int64_t row1) const {
  at::Tensor y = at::empty({x.size(0), row1 - row0}, x.options());
  const int64_t step = block_rows(in_features_);
  for (int64_t row = row0; row < row1; row += step) {
    const int64_t end = std::min(row1, row + step);
    y.narrow(1, row - row0, end - row).copy_(at::linear(x, do_tile(row, end).to(x.scalar_type())));
  }
  return y;
}

at::Tensor BaseWeight::do_matmul_t(const at::Tensor& dy, int64_t row0, int64_t row1) const {
  // Blocks add up in fp32 whatever the arithmetic, in row order.
  at::Tensor dx = at::zeros({dy.size(0), in_features_}, dy.options().dtype(at::kFloat));
  const int64_t step = block_rows(in_features_);
  for (int64_t row = row0; row < row1; row += step) {
    const int64_t end = std::min(row1, row + step);
    dx.add_(
        at::matmul(dy.narrow(1, row - row0, end - row), do_tile(row, end).to(dy.scalar_type())));
  }
  return dx.to(dy.scalar_type());
}

int64_t BaseWeight::product_bytes(int64_t n, bool transposed) const {
  // The product, its fp32 form where it has another, and one unpacked block of W.
  const int64_t bytes = static_cast<int64_t>(c10::elementSize(dtype())),
                width = transposed ? in_features_ : out_features_;
  const int64_t block = std::min(out_features_, block_rows(in_features_)) * in_features_;
  const int64_t sums = transposed || bytes < 4 ? 4 * n * width : 0;
  return n * width * bytes + sums + block * (bytes < 4 ? 4 + bytes : 4);
}

void BaseWeight::do_matmul_blocks(const at::Tensor& x, const FinishBlock& finish) const {
  hand_out(do_matmul(x, 0, out_features_), finish);
}

void BaseWeight::do_matmul_t_blocks(const at::Tensor& dy, const FinishBlock& finish) const {
  hand_out(do_matmul_t(dy, 0, out_features_), finish);
}

at::Tensor BaseWeight::do_rows(const at::Tensor& ids) const {
  at::Tensor out = at::empty({ids.numel(), in_features_}, at::kFloat);
  const int64_t* id = ids.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < ids.numel(); ++i) out.narrow(0, i, 1).copy_(do_tile(id[i], id[i] + 1));
  return out;
}

at::Tensor BaseWeight::do_row_norms() const {
  at::Tensor norms = at::empty({out_features_}, at::kFloat);
  const int64_t step = block_rows(in_features_);
  for (int64_t row = 0; row < out_features_; row += step) {
    const int64_t end = std::min(out_features_, row + step);
    norms.narrow(0, row, end - row).copy_(at::linalg_vector_norm(do_tile(row, end), 2, 1));
  }
  return norms;
}

const Bf16* halves(const at::Tensor& x) {
  return static_cast<const Bf16*>(x.const_data_ptr());
}

FinishBlock rounding_into(at::Tensor& y) {
  return [out = static_cast<Bf16*>(y.mutable_data_ptr()), n = y.size(1)](const ResultBlock& b) {
    store_block(b.rows, b.columns, b.values, b.stride, out + b.row0 * n + b.column0, n);
  };
}

}  // namespace smidgen
