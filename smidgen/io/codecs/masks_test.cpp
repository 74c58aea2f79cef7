#include "smidgen/io/codecs/codec_checks_test.h"

namespace smidgen {
namespace {

TEST(Masks, LawsOfSigns) {
  check_sign_codec("masks");
}

TEST(Masks, AreTheTwoBitsets) {
  Signs signs(10);
  signs.positive[0] = 0b10'0000'0001;
  signs.negative[0] = 0b01'0000'0010;
  EXPECT_EQ(encode_signs(*codecs().find("masks").signs(), signs.view()),
            std::string("\x01\x02\x02\x01", 4));
  EXPECT_NEAR(bits_per_element("masks", 0.2), 2, 1e-3);
}

TEST(Masks, NamesWhatIsWrong) {
  const SignCodec& codec = *codecs().find("masks").signs();
  const auto message = [&](const std::string& bytes) {
    try {
      SignBlocks(codec, bytes_of(bytes), 10, "x").decode();
    } catch (const Error& error) {
      return error.message();
    }
    return std::string();
  };
  EXPECT_EQ(message(std::string("\1\0\1\0", 4)), "an element is in both masks");
  EXPECT_EQ(message(std::string("\1\4\0\0", 4)), "a mask has bits behind the last element");
  EXPECT_EQ(message("abc"), "10 elements take 4 bytes of masks, and there are 3");
}

TEST(SignBlocks, ChecksTheTableBeforeItAllocates) {
  const SignCodec& codec = *codecs().find("masks").signs();
  EXPECT_THROW(SignBlocks(codec, {}, int64_t{1} << 60, "x"), Error);
  EXPECT_THROW(SignBlocks(codec, bytes_of(std::string(8, '\xff')), kSignBlock + 1, "x"), Error);
  EXPECT_THROW(SignBlocks(codec, bytes_of(std::string(9, '\0')), kSignBlock + 1, "x"), Error);
}

TEST(SignSpan, ExpandsToScaleAndZero) {
  Signs signs(67);
  signs.positive = {1, 4};
  signs.negative = {uint64_t{1} << 63, 1};
  std::vector<float> values(67);
  signs.span().expand(2.5f, 1, values);
  for (size_t i = 0; i < values.size(); ++i) {
    const float expected = i == 0 || i == 66 ? 2.5f : i == 63 || i == 64 ? -2.5f : 1;
    EXPECT_EQ(values[i], expected) << i;
  }
  EXPECT_EQ(signs.view().kept(), 4);
}

}  // namespace
}  // namespace smidgen
