#include <gtest/gtest.h>

#include "smidgen/train/losses/loss_checks_test.h"

namespace smidgen {
namespace {

TEST(Orpo, ValuesAndGradientsAreTheReferences) {
  check_pairs_against_trl("orpo");
}

TEST(Orpo, OnAModel) {
  check_on_a_model("orpo", R"({"beta": 0.4})");
}

}  // namespace
}  // namespace smidgen
