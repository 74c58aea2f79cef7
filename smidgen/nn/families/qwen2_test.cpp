#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(Qwen2, EveryFieldOfItsOwnActs) {
  expect_live("qwen2",
              {{{"max_window_layers", 3}},
               {{"use_sliding_window", false}},
               {{"sliding_window", 2}},
               {{"layer_types", {"sliding_attention", "full_attention", "full_attention"}}}});
}

TEST(Qwen2, RefusesWhatItCannotRun) {
  expect_refused("qwen2", {{"layer_types", {"full_attention"}}});
  expect_refused("qwen2",
                 {{"layer_types", {"full_attention", "full_attention", "linear_attention"}}});
}

}  // namespace
}  // namespace smidgen
