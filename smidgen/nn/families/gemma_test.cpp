#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(Gemma, EveryFieldOfItsOwnActs) {
  expect_live("gemma", {{{"rms_norm_eps", 0.3}}, {{"hidden_act", "relu"}}, {{"rope_theta", 90.0}}});
}

TEST(Gemma, RefusesWhatItCannotRun) {
  expect_refused("gemma", {{"use_bidirectional_attention", true}});
  expect_refused("gemma", {{"hidden_act", "mish"}});
}

}  // namespace
}  // namespace smidgen
