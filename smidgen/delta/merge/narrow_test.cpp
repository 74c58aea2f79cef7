#include "smidgen/delta/merge/narrow.h"

#include <cmath>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

// Values with the bits of mergekit: tests/parity/test_merge.py.

TEST(Narrow, RoundsTiesToEven) {
  Values x = {1, 1 + 1.f / 256, 1 + 3.f / 256, 1 + 1.f / 2048, 70000, -0.f};
  narrow_values(Format::bf16, x);
  EXPECT_EQ(x, (Values{1, 1, 1 + 4.f / 256, 1, 70144, -0.f}));
  x = {1 + 1.f / 2048, 1 + 3.f / 2048, 70000, 1e-8f};
  narrow_values(Format::f16, x);
  EXPECT_EQ(x, (Values{1, 1 + 4.f / 2048, INFINITY, 0}));
  x = {1 + 1.f / 4096};
  narrow_values(Format::f32, x);
  EXPECT_EQ(x[0], 1 + 1.f / 4096);
}

MergeCase of(const std::string& method, Format arithmetic, size_t count = 40000) {
  MergeCase c{.method = method, .base = normal_values(count, 1), .arithmetic = arithmetic};
  for (const uint64_t seed : {2, 3}) {
    c.inputs.push_back(normal_values(count, seed, .05));
    for (size_t k = 0; k < count; ++k) c.inputs.back()[k] += c.base[k];
  }
  c.by_input = {{{"weight", .7}, {"density", .4}}, {{"weight", .4}, {"density", .3}}};
  return c;
}

// Each step is rounded: by hand, for one element.
TEST(Narrow, TaskArithmeticStepByStep) {
  const auto r = [](double x) {
    return static_cast<double>(narrowed<c10::BFloat16>(static_cast<float>(x)));
  };
  MergeCase c{.method = "task_arithmetic", .inputs = {{1.0078125f}, {-.33f}}, .base = {.7f}};
  c.by_input = {{{"weight", .7}}, {{"weight", .45}}};
  c.shared = {{"lambda", .8}, {"normalize", 1}};
  c.arithmetic = Format::bf16;
  const double base = r(.7f), a = r(r(1.0078125 - base) * r(.7)),
               b = r(r(r(-.33f) - base) * r(.45));
  const double sum = r(r(a + b) / r(r(.7) + r(.45)));
  EXPECT_EQ(merged(c)[0], static_cast<float>(r(base + r(sum * .8f))));
}

TEST(Narrow, ThreadsDoNotChangeBits) {
  const int threads = at::get_num_threads();
  for (const char* method : {"ties", "breadcrumbs_ties"}) {
    const MergeCase c = of(method, Format::bf16, 2'500'000);
    Values first;
    for (const int count : {1, 2, 3}) {
      at::set_num_threads(count);
      const Values got = merged(c);
      if (first.empty()) first = got;
      EXPECT_EQ(got, first) << count << " threads";
    }
  }
  at::set_num_threads(threads);
}

// Nothing of the type comes out that the type does not hold, and nothing far from fp32.
TEST(Narrow, StaysInTheTypeAndNearFp32) {
  for (const auto& [name, method] : merge_methods().entries()) {
    if (!method->traits().narrow) continue;
    MergeCase c = of(name, Format::bf16);
    if (method->traits().most == 1) c.inputs.pop_back();
    c.by_input.resize(c.inputs.size());
    c.shared["t"] = .4;
    for (auto& own : c.by_input) own["density"] = 1;
    for (Values& values : c.inputs) narrow_values(Format::bf16, values);
    narrow_values(Format::bf16, c.base);
    const Values narrow = merged(c);
    Values again = narrow;
    narrow_values(Format::bf16, again);
    EXPECT_EQ(again, narrow) << name;
    c.arithmetic = Format::f32;
    // Where task vectors all but cancel out, the elected sign is one of rounding.
    const Values wide = merged(c);
    size_t apart = 0;
    for (size_t k = 0; k < wide.size(); ++k)
      apart += std::abs(narrow[k] - wide[k]) > .01f * std::max(1.f, std::abs(wide[k]));
    EXPECT_LT(apart, wide.size() / 50) << name;
  }
}

TEST(Narrow, RandomValuesAreNotThose) {
  for (const char* method : {"dare_linear", "dare_ties", "della", "della_linear"}) {
    EXPECT_NE(error_of([&] { merged(of(method, Format::bf16)); }).find("kept at random"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace smidgen
