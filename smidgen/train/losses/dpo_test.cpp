#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/train/losses/loss_checks_test.h"

namespace smidgen {
namespace {

TEST(Dpo, ValuesAndGradientsAreTheReferences) {
  check_pairs_against_trl("dpo");
}

TEST(Dpo, OnAModel) {
  for (const char* config :
       {R"({})", R"({"beta": 0.5, "variant": "hinge"})", R"({"beta": 0.5, "variant": "ipo"})",
        R"({"variant": "robust", "label_smoothing": 0.2})"})
    check_on_a_model("dpo", config);
}

TEST(Dpo, RefusesALabelSmoothingThatWouldNotAct) {
  EXPECT_THROW(check_on_a_model("dpo", R"({"label_smoothing": 0.1})"), Error);
}

}  // namespace
}  // namespace smidgen
