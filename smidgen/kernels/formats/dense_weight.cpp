#include "smidgen/kernels/formats/dense_weight.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"
#include "smidgen/kernels/bf16.h"
#include "smidgen/kernels/row_product.h"
#include "smidgen/kernels/target.h"

namespace smidgen {

DenseWeight::DenseWeight(at::Tensor weights, std::string format, Arithmetic arithmetic)
    : BaseWeight(weights.size(0), weights.size(1), arithmetic),
      weights_(std::move(weights)),
      format_(std::move(format)) {}

bool DenseWeight::packs() const {
  return weights_.scalar_type() == at::kBFloat16 && arithmetic() == Arithmetic::bf16 &&
         uses_bf16_products();
}

void DenseWeight::multiply(const at::Tensor& x, int64_t row0, int64_t row1,
                           const FinishBlock& finish) const {
  const int64_t n = x.size(0), in = in_features();
  if (n <= kFewRows)
    return multiply_few_rows(n, in, row1 - row0, halves(x), in, row(row0), in, finish);
  multiply_packed(n, in, row1 - row0, halves(x), in, panels_of_transposed(row(row0), in), finish);
}

at::Tensor DenseWeight::do_matmul(const at::Tensor& x, int64_t row0, int64_t row1) const {
  if (packs()) {
    at::Tensor y = at::empty({x.size(0), row1 - row0}, x.options());
    multiply(x.contiguous(), row0, row1, rounding_into(y));
    return y;
  }
  if (weights_.scalar_type() != dtype()) return BaseWeight::do_matmul(x, row0, row1);
  return at::linear(x, weights_.narrow(0, row0, row1 - row0));
}

at::Tensor DenseWeight::do_matmul_t(const at::Tensor& dy, int64_t row0, int64_t row1) const {
  // For a few rows reading the weights is what takes the time, and packing reads them twice.
  if (packs() && dy.size(0) > kFewRows) {
    const at::Tensor rows = dy.contiguous();
    at::Tensor dx = at::empty({rows.size(0), in_features()}, rows.options());
    multiply_packed(rows.size(0), row1 - row0, in_features(), halves(rows), row1 - row0,
                    panels_of(row(row0), in_features()), rounding_into(dx));
    return dx;
  }
  if (weights_.scalar_type() != dtype()) return BaseWeight::do_matmul_t(dy, row0, row1);
  return at::matmul(dy, weights_.narrow(0, row0, row1 - row0));
}

int64_t DenseWeight::product_bytes(int64_t n, bool transposed) const {
  if (packs() && (!transposed || n > kFewRows)) return 0;
  if (weights_.scalar_type() != dtype()) return BaseWeight::product_bytes(n, transposed);
  const int64_t width = transposed ? in_features() : out_features();
  return n * width * (dtype() == at::kFloat ? 4 : 4 + 2);
}

void DenseWeight::do_matmul_blocks(const at::Tensor& x, const FinishBlock& finish) const {
  if (!packs()) return BaseWeight::do_matmul_blocks(x, finish);
  multiply(x.contiguous(), 0, out_features(), finish);
}

void DenseWeight::do_matmul_t_blocks(const at::Tensor& dy, const FinishBlock& finish) const {
  if (!packs() || dy.size(0) <= kFewRows) return BaseWeight::do_matmul_t_blocks(dy, finish);
  const at::Tensor rows = dy.contiguous();
  multiply_packed(rows.size(0), out_features(), in_features(), halves(rows), out_features(),
                  panels_of(row(0), in_features()), finish);
}

at::Tensor DenseWeight::do_tile(int64_t row0, int64_t row1) const {
  return weights_.narrow(0, row0, row1 - row0)
      .to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

at::Tensor DenseWeight::do_rows(const at::Tensor& ids) const {
  return at::index_select(weights_, 0, ids).to(at::kFloat);
}

std::shared_ptr<const BaseWeight> pack_dense(const WeightSource& source, at::ScalarType storage,
                                             std::string format, Arithmetic arithmetic) {
  SMIDGEN_ASSERT(storage == at::kFloat || storage == at::kBFloat16);
  SMIDGEN_ASSERT(source.read);
  if (source.rows < 1 || source.columns < 1) {
    throw Error(ErrorKind::mismatch,
                str("[", format, "] cannot hold [", source.rows, ", ", source.columns, "]"),
                source.name);
  }
  const int64_t columns = source.columns;
  const int64_t step = std::max<int64_t>(1, (int64_t{1} << 16) / columns);
  at::Tensor weights = at::empty({source.rows, columns}, storage);
  void* const data = weights.data_ptr();
  const Format same = storage == at::kFloat ? Format::f32 : Format::bf16;
  const bool as_it_lies = source.stored && source.formats == std::vector{same};
  parallel_for(source.rows, step, [&](int64_t begin, int64_t end) {
    if (as_it_lies) {
      const size_t bytes = static_cast<size_t>(columns) * weights.itemsize();
      for (int64_t row = begin; row < end; ++row)
        std::memcpy(static_cast<std::byte*>(data) + static_cast<size_t>(row) * bytes,
                    source.stored(row).bytes, bytes);
      return;
    }
    if (storage == at::kFloat) {
      source.read(begin, end, static_cast<float*>(data) + begin * columns);
      return;
    }
    std::vector<float> block(static_cast<size_t>(std::min(step, end - begin) * columns));
    for (int64_t row = begin; row < end; row += step) {
      const int64_t stop = std::min(end, row + step);
      source.read(row, stop, block.data());
      Bf16* out = static_cast<Bf16*>(data) + row * columns;
      for (int64_t i = 0; i < (stop - row) * columns; ++i)
        out[i] = to_bf16(block[static_cast<size_t>(i)]);
    }
  });
  if (source.release) source.release();
  return std::make_shared<DenseWeight>(std::move(weights), std::move(format), arithmetic);
}

}  // namespace smidgen
