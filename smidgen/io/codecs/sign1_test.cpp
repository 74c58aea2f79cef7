#include "smidgen/io/codecs/codec_checks_test.h"

namespace smidgen {
namespace {

TEST(Sign1Codec, KeepsSignsAndTheMeanMagnitude) {
  EXPECT_EQ(codecs().find("sign1").values()->row_bytes(9), 6);
  EXPECT_EQ(round_trip("sign1", {1, -2, 3, -0.0f, 4}), (std::vector<float>{2, -2, 2, 2, 2}));
  EXPECT_EQ(round_trip("sign1", {0, 0}), (std::vector<float>{0, 0}));
}

// Of a Gaussian row the mean magnitude is sqrt(2/pi), and 1 - 2/pi of the square is lost.
TEST(Sign1Codec, ErrorOfAGaussianRow) {
  const std::vector<float> row = random_row(100'000, 0.01);
  const std::vector<float> back = round_trip("sign1", row);
  double lost = 0, all = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    lost += std::pow(row[i] - back[i], 2);
    all += std::pow(row[i], 2);
  }
  EXPECT_NEAR(back[0] > 0 ? back[0] : -back[0], 0.01 * std::sqrt(2 / M_PI), 5e-5);
  EXPECT_NEAR(lost / all, 1 - 2 / M_PI, 0.005);
}

}  // namespace
}  // namespace smidgen
