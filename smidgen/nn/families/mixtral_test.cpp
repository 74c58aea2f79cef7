#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(Mixtral, EveryFieldOfItsOwnActs) {
  expect_live("mixtral",
              {{{"num_experts_per_tok", 1}}, {{"sliding_window", 2}}, {{"rope_theta", 90.0}}});
}

TEST(Mixtral, RefusesWhatItCannotRun) {
  expect_refused("mixtral", {{"num_experts_per_tok", 5}});
  expect_refused("mixtral", {{"hidden_act", "mish"}});
}

}  // namespace
}  // namespace smidgen
