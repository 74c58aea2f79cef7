#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

TEST(PassthroughMerge, KeepsTheModelToTheBit) {
  const Values a = normal_values(70001, 1);
  EXPECT_EQ(merged({.method = "passthrough", .inputs = {a}}), a);
}

TEST(PassthroughMerge, Scales) {
  EXPECT_EQ(merged({.method = "passthrough", .inputs = {{1, -3}}, .by_input = {{{"scale", -.5}}}}),
            (Values{-.5f, 1.5f}));
}

}  // namespace
}  // namespace smidgen
