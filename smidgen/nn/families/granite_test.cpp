#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(Granite, EveryFieldOfItsOwnActs) {
  expect_live("granite", {{{"embedding_multiplier", 1.0}},
                          {{"residual_multiplier", 1.0}},
                          {{"attention_multiplier", 1.0}},
                          {{"logits_scaling", 1.0}}});
}

TEST(Granite, RefusesWhatItCannotRun) {
  expect_refused("granite", {{"attention_multiplier", -1.0}});
  expect_refused("granite", {{"hidden_act", "mish"}});
}

}  // namespace
}  // namespace smidgen
