#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(Gemma3, EveryFieldOfItsOwnActs) {
  expect_live("gemma3", {{{"rope_local_base_freq", 900.0}},
                         {{"rope_theta", 90.0}},
                         {{"sliding_window_pattern", 3}},
                         {{"query_pre_attn_scalar", 3}},
                         {{"final_logit_softcapping", 2.0}}});
}

TEST(Gemma3, RefusesWhatItCannotRun) {
  expect_refused("gemma3", {{"sliding_window_pattern", 0}});
  expect_refused("gemma3", {{"use_bidirectional_attention", true}});
}

}  // namespace
}  // namespace smidgen
