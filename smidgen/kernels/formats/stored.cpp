// Nothing in memory: every use reads its rows from the model's file again. For models that do not
// fit, where each row is wanted once or seldom: export, merging, a check of a few tokens. The
// values are the file's, whatever its format.
#include <algorithm>

#include <ATen/ops/empty.h>

#include "smidgen/base/error.h"
#include "smidgen/base/threads.h"
#include "smidgen/kernels/formats/registry.h"

namespace smidgen {
namespace {

constexpr int64_t kRead = int64_t{1} << 16;     // elements that a thread reads at least
constexpr int64_t kRelease = int64_t{1} << 18;  // smaller reads, of single rows, leave the pages

class StoredWeight final : public BaseWeight {
 public:
  StoredWeight(WeightSource source, Arithmetic arithmetic)
      : BaseWeight(source.rows, source.columns, arithmetic), source_(std::move(source)) {}

  std::string_view format() const override { return "stored"; }
  size_t bytes() const override { return 0; }

 protected:
  at::Tensor do_tile(int64_t row0, int64_t row1) const override {
    const int64_t width = in_features();
    at::Tensor rows = at::empty({row1 - row0, width}, at::kFloat);
    float* const out = rows.mutable_data_ptr<float>();
    parallel_for(row1 - row0, std::max<int64_t>(1, kRead / width), [&](int64_t begin, int64_t end) {
      source_.read(row0 + begin, row0 + end, out + begin * width);
    });
    // Pages of a mapped file count as the process's memory until they are let go.
    const bool last = row1 == out_features();
    if (source_.release && (last || rows.numel() >= kRelease)) source_.release();
    return rows;
  }

 private:
  WeightSource source_;
};

class StoredFormat final : public WeightFormat {
 public:
  std::string_view name() const override { return "stored"; }
  std::string_view summary() const override {
    return "in the model's file, read again for every use: no memory, slow products";
  }
  std::shared_ptr<const BaseWeight> pack(const WeightSource& source,
                                         Arithmetic arithmetic) const override {
    SMIDGEN_ASSERT(source.read);
    return std::make_shared<StoredWeight>(source, arithmetic);
  }
};

}  // namespace

std::unique_ptr<const WeightFormat> make_stored_weight_format() {
  return std::make_unique<StoredFormat>();
}

}  // namespace smidgen
