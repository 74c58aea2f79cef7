#include "smidgen/io/codecs/codec_checks_test.h"

namespace smidgen {
namespace {

TEST(Rice, LawsOfSigns) {
  check_sign_codec("rice");
}

// The table of the paper's formulas: density, entropy, parameter, bits.
TEST(Rice, ClosedForms) {
  struct Row {
    double p, entropy;
    int b;
    double bits;
  };
  for (const Row& row :
       {Row{0.05, 0.3364, 4, 0.3393}, Row{0.10, 0.5690, 3, 0.5756}, Row{0.20, 0.9219, 2, 0.9388},
        Row{0.30, 1.1813, 1, 1.1882}, Row{0.50, 1.5000, 0, 1.5000}}) {
    EXPECT_NEAR(ternary_entropy(row.p), row.entropy, 5e-5);
    EXPECT_EQ(rice_parameter(row.p), row.b) << row.p;
    EXPECT_NEAR(rice_bits(row.p), row.bits, 5e-5) << row.p;
    EXPECT_LT(rice_bits(row.p), 1.02 * ternary_entropy(row.p)) << row.p;
    // What is written is that long, within three standard deviations of a random vector's.
    const double written = bits_per_element("rice", row.p);
    EXPECT_NEAR(written, row.bits, 0.004) << row.p;
    EXPECT_LT(written, 1.02 * row.bits) << row.p;
    EXPECT_LT(written, 1.025 * row.entropy) << row.p;
  }
  // Where the parameter changes no power of two fits the gaps well, at 0.38 the least.
  double worst = 0;
  for (double p = 0.05; p <= 0.5; p += 1e-3)
    worst = std::max(worst, rice_bits(p) / ternary_entropy(p));
  EXPECT_NEAR(worst, 1.0302, 1e-4);
  EXPECT_EQ(rice_parameter(1), 0);
  EXPECT_EQ(ternary_entropy(0), 0);
  EXPECT_EQ(ternary_entropy(1), 1);
}

// Gaps 0, 2 and 5 with b = 1: what the header of the file says, bit by bit.
TEST(Rice, Bytes) {
  Signs signs(10);
  signs.positive[0] = 1 | 1 << 9;
  signs.negative[0] = 1 << 3;
  ASSERT_EQ(rice_parameter(0.3), 1);
  // 1 0 0 | 01 0 1 | 001 1 0
  const unsigned bits = 0b1 | 0b010 << 3 | 1 << 6 | 0b100 << 7 | 1 << 10;
  const std::string expected{3, 1, static_cast<char>(bits), static_cast<char>(bits >> 8)};
  EXPECT_EQ(encode_signs(*codecs().find("rice").signs(), signs.view()), expected);
}

TEST(Rice, NamesWhatIsWrong) {
  const SignCodec& codec = *codecs().find("rice").signs();
  const auto message = [&](const std::string& bytes) {
    try {
      SignBlocks(codec, bytes_of(bytes), 10, "x").decode();
    } catch (const Error& error) {
      return error.message();
    }
    return std::string();
  };
  EXPECT_EQ(message(""), "the number of kept elements is cut off");
  EXPECT_EQ(message("\x0b"), "11 of 10 elements are said to be kept");
  EXPECT_EQ(message(std::string("\x05\x00\x01", 3)), "2 bytes cannot hold the codes of 5 elements");
  EXPECT_EQ(message("\x01\x11\x01"), "remainders of 17 bits");
  EXPECT_EQ(message(std::string("\x01\x00\x00\x00\x00\x00\x00\x00", 8)), "the codes are cut off");
  EXPECT_EQ(message(std::string("\x01\x00\x00\x04", 4)),
            "element 10 of a block of 10 is said to be kept");
  EXPECT_EQ(message(std::string("\x01\x00\x05", 3)), "there is something behind the last code");
}

}  // namespace
}  // namespace smidgen
