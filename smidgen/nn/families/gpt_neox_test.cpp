#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(GptNeox, EveryFieldOfItsOwnActs) {
  expect_live("gpt_neox", {{{"use_parallel_residual", false}},
                           {{"rotary_pct", 1.0}},
                           {{"layer_norm_eps", 0.3}},
                           {{"rotary_emb_base", 90.0}}});
}

TEST(GptNeox, RefusesWhatItCannotRun) {
  expect_refused("gpt_neox", {{"rotary_pct", 0.1}});
  expect_refused("gpt_neox", {{"hidden_act", "mish"}});
}

}  // namespace
}  // namespace smidgen
