// One bit a value: f32 s = mean |x| of the row, then a bit per value, 1 for negative, the first in
// the lowest bit. s is the scale that minimises the squared error. Source: BitDelta
// (arXiv:2402.10193), which has one scale for the matrix and then distils it; here each row has
// its own and nothing is trained.
#include <cmath>
#include <cstring>

#include "smidgen/io/codecs/registry.h"
#include "smidgen/io/little_endian.h"

namespace smidgen {
namespace {

class Sign1 : public Codec, ValueCodec {
 public:
  std::string summary() const override { return "signs, and the mean magnitude of each row"; }
  std::string source() const override { return "arXiv:2402.10193"; }
  const ValueCodec* values() const override { return this; }

  int64_t row_bytes(int64_t columns) const override { return 4 + (columns + 7) / 8; }
  void encode(std::span<const float> row, std::byte* out) const override {
    double sum = 0;
    for (const float value : row) sum += std::fabs(value);
    const auto scale =
        row.empty() ? 0.0f : static_cast<float>(sum / static_cast<double>(row.size()));
    std::memcpy(out, &scale, 4);
    std::memset(out + 4, 0, (row.size() + 7) / 8);
    for (size_t i = 0; i < row.size(); ++i) {
      if (row[i] < 0) out[4 + i / 8] |= std::byte{1} << (i % 8);
    }
  }
  void decode(const std::byte* bytes, std::span<float> row,
              const std::string& where) const override {
    const auto scale = load<float>(bytes);
    if (!std::isfinite(scale)) throw Error(ErrorKind::format, "a row's scale is not finite", where);
    for (size_t i = 0; i < row.size(); ++i)
      row[i] = (bytes[4 + i / 8] >> (i % 8) & std::byte{1}) != std::byte{0} ? -scale : scale;
  }
};

}  // namespace

std::unique_ptr<const Codec> make_sign1_codec() {
  return std::make_unique<Sign1>();
}

}  // namespace smidgen
