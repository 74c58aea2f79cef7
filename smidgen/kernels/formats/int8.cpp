// 8-bit integers, a scale for each row: half the memory of bf16 and, with AVX512_VNNI, products at
// twice its rate.
//
//   W ~ diag(s) Q,  s_o = max |W_o| / 127,  Q in [-127, 127] rounded to nearest even
//   x W^T   ~ diag(t) (P Q^T) diag(s)         rows of x rounded to t_r P_r
//   dy W    ~ diag(t) (P Q),   rows of dy diag(s) rounded to t_r P_r
//
// as in LLM.int8()'s vector-wise products (arXiv 2208.07339) without its outlier columns; there the
// backward product runs on the unpacked weights, as int8_forward's does here. Under fp32
// arithmetic, and where the machine has no such instruction, products read diag(s) Q unpacked.
#include <atomic>
#include <cmath>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"
#include "smidgen/base/threads.h"
#include "smidgen/kernels/formats/int8_format.h"
#include "smidgen/kernels/int8_product.h"
#include "smidgen/kernels/target.h"

namespace smidgen {
namespace {

class Int8Weight final : public BaseWeight {
 public:
  Int8Weight(int64_t out, int64_t in, Arithmetic arithmetic, Rounded products)
      : BaseWeight(out, in, arithmetic),
        products_(products),
        values_(static_cast<size_t>(out * in)),
        scales_(static_cast<size_t>(out)) {}

  std::string_view format() const override {
    return products_ == Rounded::both ? "int8" : "int8_forward";
  }
  // An adapter would not survive the rounding.
  std::string_view changed_format() const override {
    return arithmetic() == Arithmetic::bf16 ? "bf16" : "fp32";
  }
  size_t bytes() const override { return values_.size() + scales_.size() * sizeof(float); }
  int64_t product_bytes(int64_t n, bool transposed) const override {
    const int64_t inner = transposed ? out_features() : in_features();
    const bool integers = transposed ? multiplies_t(inner) : multiplies(inner);
    return integers ? n * (inner + 8) : BaseWeight::product_bytes(n, transposed);
  }

  void put_row(int64_t row, const float* w, const std::string& name) {
    float most = 0;
    for (int64_t i = 0; i < in_features(); ++i) {
      if (!std::isfinite(w[i])) {
        throw Error(ErrorKind::data,
                    str("the tensor holds ", w[i], " at row ", row, ", column ", i,
                        ", which int8 cannot hold"),
                    name, "native keeps any value");
      }
      most = std::max(most, std::fabs(w[i]));
    }
    // Below, the inverse overflows: such a row is as good as zero.
    float& scale = scales_[static_cast<size_t>(row)] = most < 1e-30f ? 0 : most / 127;
    const float inverse = scale > 0 ? 1 / scale : 0;
    for (int64_t i = 0; i < in_features(); ++i)
      values_[static_cast<size_t>(row * in_features() + i)] =
          static_cast<int8_t>(std::lrintf(w[i] * inverse));
  }

 protected:
  at::Tensor do_matmul(const at::Tensor& x, int64_t row0, int64_t row1) const override {
    if (!multiplies(in_features())) return BaseWeight::do_matmul(x, row0, row1);
    at::Tensor y = at::empty({x.size(0), row1 - row0}, x.options());
    forward(x, row0, row1, rounding_into(y));
    return y;
  }
  at::Tensor do_matmul_t(const at::Tensor& dy, int64_t row0, int64_t row1) const override {
    if (!multiplies_t(row1 - row0)) return BaseWeight::do_matmul_t(dy, row0, row1);
    at::Tensor dx = at::empty({dy.size(0), in_features()}, dy.options());
    backward(dy, row0, rounding_into(dx));
    tell_error(dy, row0, row1);
    return dx;
  }
  void do_matmul_blocks(const at::Tensor& x, const FinishBlock& finish) const override {
    if (!multiplies(in_features())) return BaseWeight::do_matmul_blocks(x, finish);
    forward(x, 0, out_features(), finish);
  }
  void do_matmul_t_blocks(const at::Tensor& dy, const FinishBlock& finish) const override {
    if (!multiplies_t(out_features())) return BaseWeight::do_matmul_t_blocks(dy, finish);
    backward(dy, 0, finish);
    tell_error(dy, 0, out_features());
  }
  at::Tensor do_tile(int64_t row0, int64_t row1) const override {
    at::Tensor tile = at::empty({row1 - row0, in_features()}, at::kFloat);
    float* out = tile.data_ptr<float>();
    for (int64_t row = row0; row < row1; ++row) {
      for (int64_t i = 0; i < in_features(); ++i)
        *out++ = scales_[static_cast<size_t>(row)] * row_of(row)[i];
    }
    return tile;
  }

 private:
  bool multiplies(int64_t inner) const {
    return arithmetic() == Arithmetic::bf16 && uses_int8_products() && inner <= kMostInt8Terms;
  }
  bool multiplies_t(int64_t inner) const { return products_ == Rounded::both && multiplies(inner); }
  const int8_t* row_of(int64_t row) const { return values_.data() + row * in_features(); }

  static Int8Rows rounded(const at::Tensor& x, const float* factors) {
    const at::Tensor rows = x.contiguous();
    return to_int8_rows(rows.size(0), rows.size(1), halves(rows), rows.size(1), factors);
  }
  void forward(const at::Tensor& x, int64_t row0, int64_t row1, const FinishBlock& finish) const {
    multiply_int8(rounded(x, nullptr), row1 - row0,
                  int8_panels_of_transposed(row_of(row0), in_features()), scales_.data() + row0,
                  finish);
  }
  void backward(const at::Tensor& dy, int64_t row0, const FinishBlock& finish) const {
    multiply_int8(rounded(dy, scales_.data() + row0), in_features(),
                  int8_panels_of(row_of(row0), in_features()), nullptr, finish);
  }

  // What rounding costs the first gradient of a run, said once: the product over some of its rows
  // beside that of the unpacked weights.
  void tell_error(const at::Tensor& dy, int64_t row0, int64_t row1) const {
    static std::atomic<bool> told{false};
    if (told.exchange(true)) return;
    const at::Tensor some = dy.narrow(0, 0, std::min<int64_t>(dy.size(0), 256));
    at::Tensor found = at::empty({some.size(0), in_features()}, some.options());
    backward(some, row0, rounding_into(found));
    const at::Tensor exact = BaseWeight::do_matmul_t(some, row0, row1).to(at::kFloat);
    const double size = at::linalg_vector_norm(exact).item<double>();
    if (!(size > 0)) {
      told = false;
      return;
    }
    const double off = at::linalg_vector_norm(found.to(at::kFloat) - exact).item<double>();
    log_note("base_format int8: the first input gradient differs from bf16's by ",
             std::round(1e4 * off / size) / 100, " % of its norm; int8_forward takes it in bf16");
  }

  Rounded products_;
  std::vector<int8_t> values_;  // [o, i]
  std::vector<float> scales_;   // [o]
};

class Int8Format final : public WeightFormat {
 public:
  explicit Int8Format(Rounded products) : products_(products) {}
  std::string_view name() const override {
    return products_ == Rounded::both ? "int8" : "int8_forward";
  }
  std::string_view summary() const override {
    return products_ == Rounded::both
               ? "8-bit integers with a scale for each row; rounds activations too"
               : "int8, but gradients are multiplied with unpacked weights";
  }
  // The loss by a row's logits is one large number among tens of thousands of small ones: 8 bits
  // would keep the one.
  std::string_view vocabulary_format() const override { return "native"; }
  std::shared_ptr<const BaseWeight> pack(const WeightSource& source,
                                         Arithmetic arithmetic) const override {
    if (source.rows < 1 || source.columns < 1)
      throw Error(ErrorKind::mismatch,
                  str("[int8] cannot hold [", source.rows, ", ", source.columns, "]"), source.name);
    static const bool told = [this] {
      if (!uses_int8_products())
        log_note("base_format ", name(), ": ", kernel_target(),
                 " has no products of 8-bit integers, so weights are unpacked for each");
      return true;
    }();
    static_cast<void>(told);
    auto weight = std::make_shared<Int8Weight>(source.rows, source.columns, arithmetic, products_);
    const int64_t step = std::max<int64_t>(1, (int64_t{1} << 16) / source.columns);
    parallel_for(source.rows, step, [&](int64_t begin, int64_t end) {
      std::vector<float> block(static_cast<size_t>(std::min(step, end - begin) * source.columns));
      for (int64_t row = begin; row < end; row += step) {
        const int64_t stop = std::min(end, row + step);
        source.read(row, stop, block.data());
        for (int64_t r = row; r < stop; ++r)
          weight->put_row(r, block.data() + (r - row) * source.columns, source.name);
      }
    });
    if (source.release) source.release();
    return weight;
  }

 private:
  Rounded products_;
};

}  // namespace

std::unique_ptr<const WeightFormat> make_int8_format(Rounded products) {
  return std::make_unique<Int8Format>(products);
}
std::unique_ptr<const WeightFormat> make_int8_weight_format() {
  return make_int8_format(Rounded::both);
}

}  // namespace smidgen
