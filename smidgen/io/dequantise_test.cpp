#include "smidgen/io/dequantise.h"

#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "smidgen/base/rng.h"
#include "smidgen/base/sha256.h"
#include "smidgen/base/temporary_folder.h"
#include "smidgen/io/golden_data.h"
#include "smidgen/io/hex_test.h"

namespace smidgen {
namespace {

// NaN has no sign and no payload here: processors disagree on both.
std::vector<uint32_t> canonical(std::span<const float> values) {
  std::vector<uint32_t> bits;
  for (const float value : values)
    bits.push_back(std::isnan(value) ? 0x7fc00000 : std::bit_cast<uint32_t>(value));
  return bits;
}

template <class T>
std::string digest(const std::vector<T>& values) {
  return sha256(std::as_bytes(std::span(values)));
}

std::string raw(const std::vector<uint32_t>& bits) {
  return as_text(std::as_bytes(std::span(bits)));
}

Format format_named(std::string_view name) {
  for (const FormatInfo& type : formats()) {
    if (type.name == name) return type.format;
  }
  ADD_FAILURE() << name;
  return Format::f32;
}

TEST(Dequantise, EqualsPythonGgufBitForBit) {
  for (const auto& blocks : golden::kBlocks) {
    const Format format = format_named(blocks.format);
    const std::string in = from_hex(blocks.in);
    const int64_t count =
        static_cast<int64_t>(in.size()) / info(format).bytes * info(format).elements;
    // Shifted by one byte: stored tensors need not be aligned.
    const std::string shifted = "x" + in;
    std::vector<float> out(static_cast<size_t>(count));
    to_f32({format, {count}, as_span(shifted).subspan(1)}, out);
    EXPECT_EQ(to_hex(raw(canonical(out))), blocks.out) << blocks.format;
  }
}

// Published example blocks of the format notes: x_i = (i - 15.5) / 10.
TEST(Dequantise, ExampleBlocks) {
  const struct {
    Format format;
    const char* block;
    double tolerance;
  } cases[] = {{Format::q4_0, "3332809191a2a2b3b3c4c4d5d5e6e6f7f7f8", 0.2},
               {Format::q4_1, "9d3233be80809191a2a2b3b3c4c4d5d5e6e6f7f7", 0.11},
               {Format::q8_0,
                "40228189919aa2aab2bac3cbd3dbe3ecf4fc040c141d252d353d464e565e666f777f", 0.007}};
  for (const auto& test : cases) {
    const std::string block = from_hex(test.block);
    float out[32];
    to_f32(test.format, as_span(block).data(), 32, out);
    for (int i = 0; i < 32; ++i) EXPECT_NEAR(out[i], (i - 15.5) / 10, test.tolerance) << i;
  }
}

TEST(Dequantise, RowsAreSlicesOfTheWhole) {
  const Rng rng(1, "rows");
  for (const Format format :
       {Format::f32, Format::f64, Format::bf16, Format::q8_0, Format::q4_0, Format::q4_1}) {
    const int64_t rows = 5, width = 64;
    std::string bytes(static_cast<size_t>(*packed_bytes(format, std::vector{rows, width})), '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(rng.bits(i));
    const TensorView view{format, {rows, width}, as_span(bytes)};
    std::vector<float> whole(rows * width), part(2 * width);
    to_f32(view, whole);
    to_f32_rows(view, 2, 4, part);
    EXPECT_EQ(canonical(part), canonical(std::span(whole).subspan(2 * width, 2 * width)))
        << info(format).name;
    to_f32_rows(view, 3, 3, {});
  }
}

TEST(Dequantise, NamesWhatItCannotRead) {
  const std::string bytes(144, '\0');
  std::vector<float> out(144);
  const std::string error = error_of([&] { to_f32({Format::u8, {144}, as_span(bytes)}, out); });
  EXPECT_EQ(error.rfind("unsupported: ", 0), 0u) << error;
  EXPECT_NE(error.find("u8"), std::string::npos) << error;
}

TEST(Halves, AllValuesEqualNumpyAndTorch) {
  std::vector<float> half, bfloat;
  for (uint32_t i = 0; i < 65536; ++i) {
    half.push_back(f16_to_f32(static_cast<uint16_t>(i)));
    bfloat.push_back(bf16_to_f32(static_cast<uint16_t>(i)));
  }
  EXPECT_EQ(digest(canonical(half)), golden::kHalfTable);
  EXPECT_EQ(digest(canonical(bfloat)), golden::kBfloatTable);
}

TEST(Halves, RoundingEqualsNumpyAndTorch) {
  std::vector<uint32_t> bits;
  for (uint64_t i = 0; i < 1 << 22; ++i) bits.push_back(static_cast<uint32_t>(i * 1024 + i % 1024));
  for (uint32_t i = 0; i < 65536; ++i) {
    for (const uint32_t add : {0xfffu, 0x1000u, 0x1001u}) {
      bits.push_back(std::bit_cast<uint32_t>(f16_to_f32(static_cast<uint16_t>(i))) + add);
    }
  }
  for (uint32_t i = 0; i < 65536; ++i) {
    for (const uint32_t add : {0x7fffu, 0x8000u, 0x8001u}) bits.push_back((i << 16) + add);
  }
  std::vector<uint16_t> half, bfloat;
  for (const uint32_t value : bits) {
    const auto number = std::bit_cast<float>(value);
    if (std::isnan(number)) continue;
    half.push_back(f32_to_f16(number));
    bfloat.push_back(f32_to_bf16(number));
  }
  EXPECT_EQ(digest(half), golden::kToHalf);
  EXPECT_EQ(digest(bfloat), golden::kToBfloat);
}

TEST(Halves, NanStaysNan) {
  for (const uint32_t bits : {0x7f800001u, 0x7fffffffu, 0xff800001u, 0xffffffffu, 0x7fc00000u}) {
    const auto value = std::bit_cast<float>(bits);
    EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value))));
    EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(value))));
  }
}

}  // namespace
}  // namespace smidgen
