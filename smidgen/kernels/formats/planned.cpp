#include "smidgen/kernels/formats/planned.h"

#include <algorithm>

namespace smidgen {
namespace {

// Rows that a format packs to show what a row costs.
constexpr int64_t kSample = 64;

class PlannedWeight final : public BaseWeight {
 public:
  PlannedWeight(const WeightFormat& format, const WeightSource& source, Arithmetic arithmetic)
      : BaseWeight(source.rows, source.columns, arithmetic),
        stored_(find_weight_format("stored").pack(source, arithmetic)) {
    WeightSource head = source;
    head.rows = std::min(kSample, source.rows);
    head.parts.clear();
    sample_ = format.pack(head, arithmetic);
    if (source.release) source.release();
  }

  std::string_view format() const override { return sample_->format(); }
  size_t bytes() const override { return scaled(sample_->bytes()); }
  int64_t product_bytes(int64_t n, bool transposed) const override {
    const int64_t bytes = sample_->product_bytes(n, transposed);
    return transposed ? bytes : static_cast<int64_t>(scaled(static_cast<size_t>(bytes)));
  }

 protected:
  at::Tensor do_tile(int64_t row0, int64_t row1) const override {
    return stored_->tile(row0, row1);
  }

 private:
  size_t scaled(size_t bytes) const {
    return bytes * static_cast<size_t>(out_features()) /
           static_cast<size_t>(sample_->out_features());
  }
  std::shared_ptr<const BaseWeight> stored_, sample_;
};

}  // namespace

std::shared_ptr<const BaseWeight> planned_weight(const WeightFormat& format,
                                                 const WeightSource& source,
                                                 Arithmetic arithmetic) {
  return std::make_shared<PlannedWeight>(format, source, arithmetic);
}

}  // namespace smidgen
