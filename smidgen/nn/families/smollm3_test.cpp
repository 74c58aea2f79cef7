#include "smidgen/nn/families/family_checks_test.h"

namespace smidgen {
namespace {

TEST(Smollm3, EveryFieldOfItsOwnActs) {
  expect_live("smollm3",
              {{{"no_rope_layer_interval", 3}},
               {{"no_rope_layers", {0, 1, 1}}},
               {{"sliding_window", 2}},
               {{"layer_types", {"full_attention", "full_attention", "sliding_attention"}}}});
}

TEST(Smollm3, RefusesWhatItCannotRun) {
  expect_refused("smollm3", {{"no_rope_layers", {1, 0}}});
  expect_refused("smollm3", {{"no_rope_layer_interval", 0}});
}

}  // namespace
}  // namespace smidgen
