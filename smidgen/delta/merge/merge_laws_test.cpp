// Laws that hold for every merge method in the registry: a new one is tested by being listed.
#include <algorithm>
#include <cmath>
#include <set>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "smidgen/delta/merge/merge_checks_test.h"

namespace smidgen {
namespace {

// These look at rows, so that another shape is another tensor to them.
const std::set<std::string> kByRows = {"arcee_fusion", "della", "della_linear"};

// Settings that make a method do more than it must: without them nothing is left out.
const std::map<std::string, double> kTelling = {{"density", .6}, {"select_topk", .7}};

const MergeMethod& method(const std::string& name) {
  return merge_methods().find(name);
}

size_t inputs_of(const std::string& name) {
  const MergeTraits traits = method(name).traits();
  return std::max(traits.least, std::min<size_t>(3, traits.most.value_or(3)));
}

const MergeField* field_of(const std::vector<MergeField>& fields, const std::string& name) {
  const auto found = std::find_if(fields.begin(), fields.end(),
                                  [&](const MergeField& f) { return f.name == name; });
  return found == fields.end() ? nullptr : &*found;
}

// Whether weights are shares of models, which a recipe must give, and no scales of them.
bool has_shares(const std::string& name) {
  const auto fields = method(name).fields();
  const MergeField* weight = field_of(fields, "weight");
  return weight && !weight->standard;
}

// Whether the method goes from the base to one model, and how far is a setting.
bool goes_between(const std::string& name) {
  const MergeTraits traits = method(name).traits();
  return traits.base == MergeTraits::Base::required && traits.most == 1;
}

// Whether the method leaves something out though nobody says so.
bool always_thins(const std::string& name) {
  const auto fields = method(name).fields();
  const MergeField* density = field_of(fields, "density");
  return density && density->standard.value_or(1) < 1;
}

// Values for what a recipe must give: weights that sum to one, and for any other number .4.
MergeCase prepared(const std::string& name, std::vector<Values> inputs, Values base,
                   std::vector<int64_t> shape = {}, bool telling = true) {
  MergeCase c{.method = name, .inputs = std::move(inputs), .shape = std::move(shape), .seed = 5};
  c.by_input.resize(c.inputs.size());
  if (method(name).traits().base != MergeTraits::Base::ignored) c.base = std::move(base);
  for (const MergeField& field : method(name).fields()) {
    std::optional<double> value;
    if (!field.standard) value = field.name == "weight" ? 1. / c.inputs.size() : .4;
    if (const auto found = kTelling.find(field.name); telling && found != kTelling.end())
      value = found->second;
    if (!value) continue;
    if (field.scope == MergeField::Scope::shared)
      c.shared[field.name] = *value;
    else
      for (auto& values : c.by_input) values[field.name] = *value;
  }
  return c;
}

// Models around a base, as many as the method takes.
MergeCase around(const std::string& name, size_t count, std::vector<int64_t> shape = {},
                 double scale = .1) {
  const Values base = normal_values(count, 1);
  std::vector<Values> inputs;
  for (size_t i = 0; i < inputs_of(name); ++i) {
    Values x = normal_values(count, 2 + i, scale);
    for (size_t k = 0; k < count; ++k) x[k] += base[k];
    inputs.push_back(std::move(x));
  }
  return prepared(name, std::move(inputs), base, std::move(shape));
}

class MergeLaws : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Methods, MergeLaws, testing::ValuesIn(merge_methods().names()),
                         [](const auto& info) { return info.param; });

TEST_P(MergeLaws, ThreadsDoNotChangeBits) {
  const int threads = at::get_num_threads();
  const MergeCase c = around(GetParam(), 2500 * 1000, {2500, 1000});
  Values first;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    const Values got = merged(c);
    if (first.empty()) first = got;
    EXPECT_EQ(got, first) << count << " threads";
  }
  at::set_num_threads(threads);
}

TEST_P(MergeLaws, TilesDoNotMatter) {
  if (kByRows.contains(GetParam())) return;
  MergeCase c = around(GetParam(), 2400000);
  const Values whole = merged(c);
  for (const int64_t columns : {3, 20000, 800000}) {
    c.shape = {2400000 / columns, columns};
    EXPECT_LT(relative_difference(merged(c), whole), 1e-6) << columns;
  }
}

TEST_P(MergeLaws, EqualModelsStay) {
  const Values x = normal_values(70000, 1);
  const MergeCase c = prepared(GetParam(), std::vector<Values>(inputs_of(GetParam()), x), x);
  EXPECT_LT(relative_difference(merged(c), x), 1e-6);
}

TEST_P(MergeLaws, OneModelStaysAsItIs) {
  if (method(GetParam()).traits().least > 1) return;
  if (always_thins(GetParam()) || goes_between(GetParam())) return;
  const Values x = normal_values(70000, 1);
  const MergeCase c = prepared(GetParam(), {x}, normal_values(70000, 2), {}, false);
  EXPECT_LT(relative_difference(merged(c), x), 1e-6);
}

TEST_P(MergeLaws, OrderDoesNotMatter) {
  if (method(GetParam()).traits().random) return;  // masks belong to the place of an input
  MergeCase c = around(GetParam(), 70000, {70, 1000});
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    if (has_shares(GetParam())) c.by_input[i]["weight"] = .2 + .1 * static_cast<double>(i);
  }
  const Values forth = merged(c);
  std::reverse(c.inputs.begin(), c.inputs.end());
  std::reverse(c.by_input.begin(), c.by_input.end());
  EXPECT_LT(relative_difference(merged(c), forth), 1e-6);
}

TEST_P(MergeLaws, TwoHalvesAreOneWhole) {
  const MergeTraits traits = method(GetParam()).traits();
  if (traits.random || traits.least > 1 || traits.most == 1 || !has_shares(GetParam())) return;
  const Values x = normal_values(70000, 1), base = normal_values(70000, 2);
  EXPECT_LT(relative_difference(merged(prepared(GetParam(), {x, x}, base)),
                                merged(prepared(GetParam(), {x}, base))),
            1e-6);
}

// MergeMethod::same_as is believed by --verify: where it names a model, that is what comes out.
TEST_P(MergeLaws, GivesBackTheModelThatItSays) {
  const auto check = [&](MergeCase c) {
    const auto same = method(GetParam()).same_as(task_of(c));
    if (!same) return false;
    const Values& wanted = *same == c.inputs.size() ? c.base : c.inputs.at(*same);
    EXPECT_LT(relative_difference(merged(c), wanted), 1e-6);
    return true;
  };
  MergeCase c = around(GetParam(), 30000, {30, 1000});
  if (GetParam() != "passthrough") {
    EXPECT_FALSE(check(c)) << "of several models, or a way between two";
  }
  c = prepared(GetParam(), c.inputs, c.base, c.shape, false);
  size_t laws = 0;
  for (const double number : {0., 1., .3}) {
    for (size_t of = 0; of <= c.inputs.size(); ++of) {
      for (size_t i = 0; i < c.inputs.size(); ++i) c.by_input[i]["weight"] = i == of ? number : 0;
      for (const char* shared : {"t", "lambda"}) {
        for (const bool normalize : {false, true}) {
          MergeCase changed = c;
          changed.shared[shared] = number;
          changed.shared["normalize"] = normalize;
          const bool zero = number == 0 || of == c.inputs.size();
          if (GetParam() == "linear" && normalize && zero) continue;
          laws += check(changed);
        }
      }
    }
  }
  const bool has = method(GetParam()).traits().narrow && GetParam() != "passthrough";
  EXPECT_EQ(laws > 0, has || GetParam() == "passthrough");
}

TEST_P(MergeLaws, FiniteStaysFinite) {
  MergeCase c = around(GetParam(), 60000, {60, 1000});
  const std::vector<float> wild = {0, -0.f, 1e-45f, 1e-30f, -1e-30f, 1e15f, -1e15f, 1};
  for (size_t i = 0; i < c.inputs.size(); ++i)
    for (size_t k = 0; k < 60000; k += 3) c.inputs[i][k] = wild[(k / 3 + i * k) % wild.size()];
  for (const float v : merged(c)) ASSERT_TRUE(std::isfinite(v));
}

TEST_P(MergeLaws, TakesEveryShape) {
  const std::vector<std::vector<int64_t>> shapes = {
      {0}, {0, 5}, {3, 0}, {1}, {1, 1}, {2}, {40000, 1}, {1, 9}, {2, 40000}, {3, 2, 5}, {16384}};
  for (const auto& shape : shapes) {
    size_t count = 1;
    for (const int64_t n : shape) count *= static_cast<size_t>(n);
    const Values got = merged(around(GetParam(), count, shape));
    EXPECT_EQ(got.size(), count);
    for (const float v : got) ASSERT_TRUE(std::isfinite(v));
  }
}

TEST_P(MergeLaws, ConstantModelsGiveSomething) {
  const size_t count = 30000;
  std::vector<Values> inputs;
  for (size_t i = 0; i < inputs_of(GetParam()); ++i)
    inputs.emplace_back(count, 1 + .5f * static_cast<float>(i));
  const MergeCase c = prepared(GetParam(), inputs, Values(count, .5f), {30, 1000});
  for (const float v : merged(c)) ASSERT_TRUE(std::isfinite(v));
}

}  // namespace
}  // namespace smidgen
