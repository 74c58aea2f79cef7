#include "smidgen/io/codecs/codec_checks_test.h"

namespace smidgen {
namespace {

TEST(Rans, LawsOfSigns) {
  check_sign_codec("rans");
}

TEST(Rans, IsWithinAPercentOfTheEntropy) {
  for (const double p : {0.05, 0.1, 0.2, 0.3, 0.5}) {
    // The entropy of the signs at hand, not of the process that drew them.
    const Signs signs = random_signs(1 << 20, p, 3);
    const double density = static_cast<double>(signs.view().kept()) / (1 << 20);
    const double written = bits_per_element("rans", p);
    EXPECT_LT(written, 1.01 * ternary_entropy(density)) << p;
    EXPECT_GT(written, 0.999 * ternary_entropy(density)) << p;
  }
  // One sign only: the sign bit costs nothing.
  const Signs positive = random_signs(1 << 20, 0.2, 3, 0);
  const std::string coded = encode_signs(*codecs().find("rans").signs(), positive.view());
  EXPECT_LT(static_cast<double>(coded.size()) * 8 / (1 << 20), 0.7219 * 1.01);
  // Nothing kept: of each block the weights, four states, and its size.
  EXPECT_EQ(bits_per_element("rans", 0), 8.0 * (4 + 4 * 5 + 4) / kSignBlock);
}

}  // namespace
}  // namespace smidgen
