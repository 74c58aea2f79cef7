#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(Gpt2, EveryFieldOfItsOwnActs) {
  expect_live("gpt2", {{{"scale_attn_by_inverse_layer_idx", false}},
                       {{"scale_attn_weights", false}},
                       {{"layer_norm_epsilon", 0.3}},
                       {{"activation_function", "relu"}}});
}

TEST(Gpt2, RefusesWhatItCannotRun) {
  expect_refused("gpt2", {{"add_cross_attention", true}});
  expect_refused("gpt2", {{"activation_function", "mish"}});
}

}  // namespace
}  // namespace smidgen
