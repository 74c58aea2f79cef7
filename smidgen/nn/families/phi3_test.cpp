#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(Phi3, EveryFieldOfItsOwnActs) {
  expect_live("phi3",
              {{{"partial_rotary_factor", 0.5}}, {{"sliding_window", 2}}, {{"rms_norm_eps", 0.3}}});
}

TEST(Phi3, RefusesWhatItCannotRun) {
  expect_refused("phi3", {{"partial_rotary_factor", 0.1}});
  expect_refused("phi3", {{"hidden_act", "mish"}});
}

}  // namespace
}  // namespace smidgen
