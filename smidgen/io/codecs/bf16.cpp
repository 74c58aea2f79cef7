// Each value as bfloat16, rounded to nearest even.
#include "smidgen/io/codecs/registry.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/little_endian.h"

namespace smidgen {
namespace {

class Bf16Codec : public Codec, ValueCodec {
 public:
  std::string summary() const override { return "bfloat16: 16 bits a value"; }
  std::string source() const override { return ""; }
  const ValueCodec* values() const override { return this; }

  int64_t row_bytes(int64_t columns) const override { return 2 * columns; }
  void encode(std::span<const float> row, std::byte* out) const override {
    for (const float value : row) {
      const uint16_t bits = f32_to_bf16(value);
      std::memcpy(out, &bits, 2);
      out += 2;
    }
  }
  void decode(const std::byte* bytes, std::span<float> row,
              const std::string& where) const override {
    float most = 0;
    for (float& value : row) {
      value = bf16_to_f32(load<uint16_t>(bytes));
      bytes += 2;
      most = value - value == 0 ? most : value;
    }
    if (most != 0) throw Error(ErrorKind::format, "a value is no finite number", where);
  }
};

}  // namespace

std::unique_ptr<const Codec> make_bf16_codec() {
  return std::make_unique<Bf16Codec>();
}

}  // namespace smidgen
