#include "smidgen/io/codecs/codec_checks_test.h"

namespace smidgen {
namespace {

TEST(Bf16Codec, RoundsToNearestEven) {
  EXPECT_EQ(codecs().find("bf16").values()->row_bytes(7), 14);
  EXPECT_EQ(round_trip("bf16", {0.0f, 1.0f, -2.5f, 1.00390625f, 1.01171875f}),
            (std::vector<float>{0.0f, 1.0f, -2.5f, 1.0f, 1.015625f}));
  const std::vector<float> row = random_row(1001, 1e-3);
  const std::vector<float> back = round_trip("bf16", row);
  for (size_t i = 0; i < row.size(); ++i)
    EXPECT_LE(std::fabs(back[i] - row[i]), std::fabs(row[i]) / 256);
}

TEST(Bf16Codec, RefusesWhatIsNoNumber) {
  const unsigned char nan[2] = {0xc0, 0x7f};
  std::vector<float> out(1);
  EXPECT_THROW(
      codecs().find("bf16").values()->decode(reinterpret_cast<const std::byte*>(nan), out, "x"),
      Error);
}

}  // namespace
}  // namespace smidgen
