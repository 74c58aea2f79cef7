// Each row with one scale: f32 s = max |x| / 127, then i8 round(x / s), ties to even. A row of
// zeros has s = 0.
#include <cmath>

#include "smidgen/io/codecs/registry.h"
#include "smidgen/io/little_endian.h"

namespace smidgen {
namespace {

class Int8 : public Codec, ValueCodec {
 public:
  std::string summary() const override { return "8-bit integers, one scale a row"; }
  std::string source() const override { return ""; }
  const ValueCodec* values() const override { return this; }

  int64_t row_bytes(int64_t columns) const override { return 4 + columns; }
  void encode(std::span<const float> row, std::byte* out) const override {
    float most = 0;
    for (const float value : row) most = std::max(most, std::fabs(value));
    const float scale = most / 127;
    std::memcpy(out, &scale, 4);
    // The quotient of a subnormal scale can leave the range of a byte.
    for (size_t i = 0; i < row.size(); ++i) {
      const float level = scale > 0 ? std::nearbyint(row[i] / scale) : 0;
      out[4 + i] =
          static_cast<std::byte>(static_cast<int8_t>(std::fmin(std::fmax(level, -127), 127)));
    }
  }
  void decode(const std::byte* bytes, std::span<float> row,
              const std::string& where) const override {
    const auto scale = load<float>(bytes);
    if (!std::isfinite(scale)) throw Error(ErrorKind::format, "a row's scale is not finite", where);
    for (size_t i = 0; i < row.size(); ++i)
      row[i] = scale * static_cast<float>(static_cast<int8_t>(bytes[4 + i]));
  }
};

}  // namespace

std::unique_ptr<const Codec> make_int8_codec() {
  return std::make_unique<Int8>();
}

}  // namespace smidgen
