#include "smidgen/delta/merge/pcb_checks_test.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "smidgen/delta/merge/golden_pcb.h"
#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

MergeCase of(const std::string& method, std::vector<Values> tasks) {
  MergeCase c{.method = method, .inputs = std::move(tasks)};
  c.base = Values(c.inputs[0].size());
  c.shared = {{"density", golden_pcb::kDensity}};
  return c;
}

Values times(Values x, float factor) {
  for (float& value : x) value *= factor;
  return x;
}

void check_laws(const std::string& method) {
  const auto& tasks = golden_pcb::kTasks;
  const Values tau = merged(of(method, tasks));
  std::vector<Values> negative;
  for (const Values& t : tasks) negative.push_back(times(t, -1));
  EXPECT_EQ(merged(of(method, negative)), times(tau, -1)) << "odd";
  EXPECT_LT(relative_difference(merged(of(method, {tasks[2], tasks[0], tasks[1]})), tau), 1e-6);
  for (size_t k = 0; k < tau.size(); ++k) {
    float low = 0, high = 0;
    for (const Values& t : tasks) low = std::min(low, t[k]), high = std::max(high, t[k]);
    // Winsorised values may lie outside by what the clamp lifts the smallest.
    EXPECT_GE(tau[k], low - .05f);
    EXPECT_LE(tau[k], high + .05f);
  }
}

void check_single(const std::string& method) {
  const Values& t = golden_pcb::kTasks[1];
  const Values alone = merged(of(method, {t})), twins = merged(of(method, {t, t}));
  EXPECT_LT(relative_difference(twins, alone), .02) << "equal models are one";
  size_t kept = 0, clamped = 0;
  for (size_t k = 0; k < t.size(); ++k) {
    if (alone[k] == 0) continue;
    ++kept;
    clamped += std::abs(alone[k] / t[k] - 1) > 1e-5;
    EXPECT_LE(std::abs(alone[k]), std::abs(t[k]) * 1.00001f);
  }
  EXPECT_LE(clamped, 3u) << "the largest are clamped to a quantile of the magnitudes";
  EXPECT_NEAR(static_cast<double>(kept) / static_cast<double>(t.size()), golden_pcb::kDensity, .01);
}

}  // namespace

void check_pcb(const std::string& method) {
  MergeCase c = of(method, golden_pcb::kTasks);
  for (const double weight : golden_pcb::kWeights) c.by_input.push_back({{"weight", weight}});
  EXPECT_LT(relative_difference(merged(c), golden_pcb::kResults.at(method)), 2e-6);
  check_laws(method);
  check_single(method);
  const Values flat(100, .5f), none(100);
  for (const float value : merged(of(method, {flat, flat}))) EXPECT_TRUE(std::isfinite(value));
  EXPECT_EQ(merged(of(method, {none, none})), none);
}

}  // namespace smidgen
