#include "smidgen/delta/merge/golden_mergekit.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase as_case(const golden::Merged& m) {
  const auto data = std::find_if(golden::kMergeData.begin(), golden::kMergeData.end(),
                                 [&](const golden::MergeData& d) { return d.name == m.data; });
  MergeCase c{.method = m.method, .shape = data->shape, .shared = m.shared, .by_input = m.by_input};
  for (const size_t i : m.models) c.inputs.push_back(data->models.at(i));
  if (m.base) c.base = data->base;
  if (c.by_input.size() == 1) c.by_input.resize(c.inputs.size(), m.by_input[0]);
  return c;
}

class MergeGolden : public ::testing::TestWithParam<size_t> {};

TEST_P(MergeGolden, AgreesWithMergekit) {
  const golden::Merged& m = golden::kMerged[GetParam()];
  EXPECT_LT(relative_difference(merged(as_case(m)), m.values), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Mergekit, MergeGolden, ::testing::Range<size_t>(0, golden::kMerged.size()),
                         [](const auto& info) {
                           const golden::Merged& m = golden::kMerged[info.param];
                           return m.method + "_" + m.data + "_" + std::to_string(info.param);
                         });

}  // namespace
}  // namespace smidgen
