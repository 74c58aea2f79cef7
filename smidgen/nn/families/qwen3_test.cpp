#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(Qwen3, EveryFieldOfItsOwnActs) {
  expect_live("qwen3",
              {{{"max_window_layers", 3}}, {{"rms_norm_eps", 0.3}}, {{"rope_theta", 90.0}}});
}

TEST(Qwen3, RefusesWhatItCannotRun) {
  expect_refused("qwen3", {{"hidden_act", "mish"}});
  expect_refused("qwen3", {{"head_dim", 7}});
}

}  // namespace
}  // namespace smidgen
