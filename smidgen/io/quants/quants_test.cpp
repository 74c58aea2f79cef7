// Every format against PyPI gguf (and torch for eight-bit floats), by digests of pseudo-random
// blocks: among 256 random scales are some that are zero, subnormal, infinite and NaN.
#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/base/sha256.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/io/hex_test.h"
#include "smidgen/io/quantise.h"
#include "smidgen/io/quants/block_codec.h"
#include "smidgen/io/quants/golden_quants.h"

namespace smidgen {
namespace {

constexpr int64_t kBlocks = 256;

// noise() of scripts/golden/quants.py.
std::vector<uint8_t> noise(int64_t count) {
  uint64_t state = 1;
  std::vector<uint8_t> out;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    out.push_back(static_cast<uint8_t>(state >> 56));
  }
  return out;
}

// numbers() of the same.
std::vector<float> numbers(int64_t count) {
  const std::vector<uint8_t> bytes = noise(count);
  std::vector<float> out;
  for (int64_t i = 0; i < count; ++i) {
    const int block = static_cast<int>(i / 32);
    const int exponent = block % 16 == 15 ? -149 + block % 20 : block * 7 % 40 - 30;
    out.push_back(
        block % 16 == 7
            ? 0
            : std::ldexp(static_cast<float>(static_cast<int8_t>(bytes[static_cast<size_t>(i)])),
                         exponent));
  }
  return out;
}

std::string digest_of(std::span<const float> values) {
  std::vector<uint32_t> bits;
  for (const float value : values)
    bits.push_back(std::isnan(value) ? 0x7fc00000 : std::bit_cast<uint32_t>(value));
  return sha256(std::as_bytes(std::span(bits)));
}

const FormatInfo& named(std::string_view name) {
  for (const FormatInfo& type : formats()) {
    if (type.name == name) return type;
  }
  ADD_FAILURE() << name;
  return formats()[0];
}

std::string error_of_call(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return str(to_string(e.kind()), ": ", e.what(), " | ", e.where(), " | ", e.hint());
  }
  return "no error";
}

TEST(Quants, DecodeEqualsTheReferences) {
  for (const auto& golden : golden::kDecoded) {
    const FormatInfo& type = named(golden.format);
    std::vector<uint8_t> in = noise(kBlocks * type.bytes);
    if (type.bytes == 1) {
      for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint8_t>(i);
    }
    in.insert(in.begin(), 0);  // stored tensors need not be aligned
    std::vector<float> out(static_cast<size_t>(kBlocks * type.elements));
    to_f32({type.format, {kBlocks * type.elements}, std::as_bytes(std::span(in)).subspan(1)}, out);
    EXPECT_EQ(digest_of(out), golden.sha256) << golden.format;
  }
}

TEST(Quants, EncodeEqualsTheReference) {
  const std::vector<float> in = numbers(kBlocks * 32);
  for (const auto& golden : golden::kEncoded) {
    const FormatInfo& type = named(golden.format);
    std::string out(
        in.size() / static_cast<size_t>(type.elements) * static_cast<size_t>(type.bytes), '\0');
    from_f32(type.format, in, std::as_writable_bytes(std::span(out.data(), out.size())), "t");
    EXPECT_EQ(sha256(as_span(out)), golden.sha256) << golden.format;
  }
}

// The published blocks of x_i = (i - 15.5) / 10.
TEST(Quants, EncodeGivesThePublishedBlocks) {
  float x[32];
  for (int i = 0; i < 32; ++i) x[i] = static_cast<float>((static_cast<double>(i) - 15.5) / 10);
  const std::pair<Format, const char*> cases[] = {
      {Format::q4_0, "3332809191a2a2b3b3c4c4d5d5e6e6f7f7f8"},
      {Format::q4_1, "9d3233be80809191a2a2b3b3c4c4d5d5e6e6f7f7"},
      {Format::q8_0, "40228189919aa2aab2bac3cbd3dbe3ecf4fc040c141d252d353d464e565e666f777f"}};
  for (const auto& [format, block] : cases) {
    std::string out(static_cast<size_t>(info(format).bytes), '\0');
    from_f32(format, x, std::as_writable_bytes(std::span(out.data(), out.size())), "t");
    EXPECT_EQ(to_hex(out), block) << info(format).name;
  }
}

// d = 127 / 127 = 1, so the codes are the values, rounded.
TEST(Quants, EightBitTiesRoundAwayFromZero) {
  std::vector<float> x(32, 0);
  x[0] = 127;
  const std::pair<float, int> ties[] = {{0.5f, 1},   {1.5f, 2},   {2.5f, 3},
                                        {-0.5f, -1}, {-2.5f, -3}, {126.5f, 127}};
  for (size_t i = 0; i < std::size(ties); ++i) x[i + 1] = ties[i].first;
  std::string out(34, '\0');
  from_f32(Format::q8_0, x, std::as_writable_bytes(std::span(out.data(), out.size())), "t");
  for (size_t i = 0; i < std::size(ties); ++i)
    EXPECT_EQ(static_cast<int8_t>(out[i + 3]), ties[i].second) << ties[i].first;
}

TEST(Quants, EveryReadableFormatIsInTheTable) {
  std::vector<std::string> written;
  for (const FormatInfo& type : formats()) {
    EXPECT_EQ(find_codec(type.format) != nullptr, type.readable) << type.name;
    if (writable(type.format)) written.emplace_back(type.name);
  }
  EXPECT_EQ(written, (std::vector<std::string>{"f32", "f16", "bf16", "q4_0", "q4_1", "q8_0"}));
}

TEST(Quants, WhatDoesNotFitIsNamed) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  std::vector<float> x(64, 1.0f);
  std::string out(256, '\0');
  const auto encode = [&](Format format, float value) {
    x[40] = value;
    const auto size = x.size() / static_cast<size_t>(info(format).elements) *
                      static_cast<size_t>(info(format).bytes);
    return error_of_call([&] {
      from_f32(format, x, std::as_writable_bytes(std::span(out.data(), size)), "blk.0.x");
    });
  };
  for (const Format format : {Format::q8_0, Format::q4_0, Format::q4_1}) {
    for (const float bad : {inf, -inf, nan, 1e30f, -1e30f}) {
      const std::string error = encode(format, bad);
      EXPECT_NE(error.find("data: the tensor holds "), std::string::npos) << error;
      EXPECT_NE(error.find("blk.0.x"), std::string::npos) << error;
    }
    EXPECT_EQ(encode(format, 65504), "no error");
  }
  EXPECT_EQ(encode(Format::f16, 65519), "no error");
  EXPECT_NE(encode(Format::f16, 65520).find("f16 cannot hold"), std::string::npos);
  for (const float kept : {inf, nan}) {
    EXPECT_EQ(encode(Format::f16, kept), "no error");
    EXPECT_EQ(encode(Format::bf16, kept), "no error");
  }
  EXPECT_NE(encode(Format::q6_k, 1).find("unsupported: values of type q6_k"), std::string::npos);
}

// Values of the format notes, worked out by hand there.
TEST(Quants, KBlocksGiveThePublishedValues) {
  std::string block = from_hex("003c0038");
  for (int i = 0; i < 140; ++i) block += static_cast<char>(37 * i + 11);
  float y[256];
  to_f32(Format::q4_k, as_span(block).data(), 256, y);
  EXPECT_EQ(y[0], 61.5f);
  EXPECT_EQ(y[2], -4.5f);
  EXPECT_EQ(y[32], 574.0f);
  block.clear();
  for (int i = 0; i < 208; ++i) block += static_cast<char>(37 * i + 11);
  block += from_hex("003c");
  to_f32(Format::q6_k, as_span(block).data(), 256, y);
  EXPECT_EQ(y[0], -1431.0f);
  EXPECT_EQ(y[128], -351.0f);
  double sum = 0;
  for (const float v : y) sum += v;
  EXPECT_EQ(sum, 4612);
}

}  // namespace
}  // namespace smidgen
