#include "smidgen/io/codecs/codec_checks_test.h"

namespace smidgen {
namespace {

TEST(Int4Codec, RoundsToTheNearestOf15Levels) {
  const ValueCodec& codec = *codecs().find("int4").values();
  EXPECT_EQ(codec.row_bytes(64), 36);
  EXPECT_EQ(codec.row_bytes(33), 18 + 3);
  EXPECT_EQ(codec.row_bytes(0), 0);
  EXPECT_EQ(round_trip("int4", {7, -7, 3, 2.5f, 0.4f}), (std::vector<float>{7, -7, 3, 2, 0}));
  for (const double scale : {1e-30, 1e-3, 1e4}) {
    const std::vector<float> row = random_row(1001, scale);
    const std::vector<float> back = round_trip("int4", row);
    for (size_t i = 0; i < row.size(); ++i) {
      float most = 0;
      for (size_t j = i / 32 * 32; j < std::min(row.size(), i / 32 * 32 + 32); ++j)
        most = std::max(most, std::fabs(row[j]));
      // Half a level; the scale is up to 1/128 above max / 7.
      EXPECT_LE(std::fabs(back[i] - row[i]), most / 7 * 0.5f * (1 + 1.0f / 120)) << i;
    }
  }
}

TEST(Int4Codec, TakesExtremes) {
  EXPECT_EQ(round_trip("int4", {0, 0, 0}), (std::vector<float>{0, 0, 0}));
  const float big = std::numeric_limits<float>::max();
  const std::vector<float> back = round_trip("int4", {big, -big});
  EXPECT_TRUE(std::isfinite(back[0]) && back[0] > 0.99f * big) << back[0];
  const unsigned char nan[3] = {0xc0, 0x7f, 0};
  std::vector<float> out(1);
  EXPECT_THROW(
      codecs().find("int4").values()->decode(reinterpret_cast<const std::byte*>(nan), out, "x"),
      Error);
}

}  // namespace
}  // namespace smidgen
