#include "smidgen/io/codecs/codec_checks_test.h"

namespace smidgen {
namespace {

TEST(Int8Codec, RoundsToTheNearestOf255Levels) {
  EXPECT_EQ(codecs().find("int8").values()->row_bytes(7), 11);
  // s = 1: integers come back, halves go to even.
  EXPECT_EQ(round_trip("int8", {127, -127, 3, 2.5f, 3.5f, -0.4f}),
            (std::vector<float>{127, -127, 3, 2, 4, 0}));
  for (const double scale : {1e-30, 1e-3, 1e4}) {
    const std::vector<float> row = random_row(1001, scale);
    float most = 0;
    for (const float x : row) most = std::max(most, std::fabs(x));
    const std::vector<float> back = round_trip("int8", row);
    for (size_t i = 0; i < row.size(); ++i)
      EXPECT_LE(std::fabs(back[i] - row[i]), most / 127 * 0.5001f);
  }
}

TEST(Int8Codec, TakesZerosAndSubnormals) {
  EXPECT_EQ(round_trip("int8", {0, 0}), (std::vector<float>{0, 0}));
  EXPECT_EQ(round_trip("int8", {}), std::vector<float>{});
  // The scale is the smallest float or zero.
  const float tiny = std::numeric_limits<float>::denorm_min();
  for (const float back : round_trip("int8", {100 * tiny, -tiny, 200 * tiny}))
    EXPECT_LE(std::fabs(back), 254 * tiny);
  const float infinite = std::numeric_limits<float>::infinity();
  std::byte bytes[5] = {};
  std::memcpy(bytes, &infinite, 4);
  std::vector<float> out(1);
  EXPECT_THROW(codecs().find("int8").values()->decode(bytes, out, "x"), Error);
}

}  // namespace
}  // namespace smidgen
