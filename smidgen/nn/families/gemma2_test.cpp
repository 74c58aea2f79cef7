#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(Gemma2, EveryFieldOfItsOwnActs) {
  expect_live("gemma2",
              {{{"attn_logit_softcapping", nullptr}},
               {{"final_logit_softcapping", 30.0}},
               {{"query_pre_attn_scalar", 3}},
               {{"sliding_window", 2}},
               {{"layer_types", {"full_attention", "sliding_attention", "full_attention"}}}});
}

TEST(Gemma2, RefusesWhatItCannotRun) {
  expect_refused("gemma2", {{"attn_logit_softcapping", -1.0}});
  expect_refused("gemma2", {{"hidden_activation", "mish"}});
}

}  // namespace
}  // namespace smidgen
