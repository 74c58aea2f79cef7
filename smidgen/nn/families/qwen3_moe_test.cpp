#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(Qwen3Moe, EveryFieldOfItsOwnActs) {
  expect_live("qwen3_moe",
              {{{"num_experts_per_tok", 1}}, {{"norm_topk_prob", true}}, {{"sliding_window", 2}}});
}

TEST(Qwen3Moe, RefusesWhatItCannotRun) {
  expect_refused("qwen3_moe", {{"num_experts_per_tok", 5}});
  expect_refused("qwen3_moe", {{"decoder_sparse_step", 0}});
  expect_refused("qwen3_moe", {{"hidden_act", "mish"}});
}

}  // namespace
}  // namespace smidgen
