#include <gtest/gtest.h>

#include "smidgen/train/losses/loss_checks_test.h"

namespace smidgen {
namespace {

TEST(Simpo, ValuesAndGradientsAreTheReferences) {
  check_pairs_against_trl("simpo");
}

TEST(Simpo, OnAModel) {
  check_on_a_model("simpo", R"({})");
  check_on_a_model("simpo", R"({"nll_weight": 0.5, "label_smoothing": 0.1})");
}

}  // namespace
}  // namespace smidgen
