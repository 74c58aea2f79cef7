#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(Olmo2, EveryFieldOfItsOwnActs) {
  expect_live("olmo2", {{{"rms_norm_eps", 0.3}}, {{"rope_theta", 90.0}}, {{"hidden_act", "relu"}}});
}

TEST(Olmo2, RefusesWhatItCannotRun) {
  expect_refused("olmo2", {{"hidden_act", "mish"}});
  expect_refused("olmo2", {{"num_key_value_heads", 3}});
}

}  // namespace
}  // namespace smidgen
