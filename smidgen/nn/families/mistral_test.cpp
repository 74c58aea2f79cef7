#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(Mistral, EveryFieldOfItsOwnActs) {
  expect_live("mistral",
              {{{"sliding_window", 6}}, {{"sliding_window", nullptr}}, {{"rms_norm_eps", 0.3}}});
}

TEST(Mistral, RefusesWhatItCannotRun) {
  expect_refused("mistral", {{"hidden_act", "mish"}});
  expect_refused("mistral", {{"sliding_window", 0}});
  expect_refused("mistral", {{"partial_rotary_factor", 0.5}});
}

}  // namespace
}  // namespace smidgen
