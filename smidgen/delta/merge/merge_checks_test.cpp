#include "smidgen/delta/merge/merge_checks_test.h"

#include <algorithm>
#include <cmath>

#include "smidgen/base/rng.h"
#include "smidgen/delta/merge/narrow.h"
#include "smidgen/delta/merge/tensor_engine.h"

namespace smidgen {

namespace {

struct GivenStatistics : MergeStatistics {
  explicit GivenStatistics(const MergeCase& c) : given(c.statistics) {
    given.resize(c.inputs.size());
  }
  std::vector<int64_t> shape(size_t input) const override { return given.at(input).first; }
  void read(size_t input, int64_t begin, std::span<float> out) const override {
    std::copy_n(given.at(input).second.begin() + begin, out.size(), out.begin());
  }
  std::vector<std::pair<std::vector<int64_t>, Values>> given;
};

}  // namespace

MergeTask task_of(const MergeCase& c) {
  const MergeMethod& method = merge_methods().find(c.method);
  MergeTask task{.tensor = "w", .shape = c.shape, .inputs = c.inputs.size()};
  task.elements = static_cast<int64_t>(c.inputs.at(0).size());
  if (task.shape.empty()) task.shape = {task.elements};
  task.columns = task.shape.back();
  task.base = !c.base.empty();
  task.seed = c.seed;
  task.arithmetic = c.arithmetic;
  task.as_mergekit = c.arithmetic != Format::f32;
  if (method.traits().statistics && !c.bare) task.statistics = std::make_shared<GivenStatistics>(c);
  task.by_input = c.by_input;
  task.by_input.resize(task.inputs);
  task.shared = c.shared;
  for (const MergeField& field : method.fields()) {
    if (!field.standard) continue;
    if (field.scope == MergeField::Scope::shared) {
      task.shared.emplace(field.name, *field.standard);
    } else {
      for (auto& values : task.by_input) values.emplace(field.name, *field.standard);
    }
  }
  return task;
}

Values merged(const MergeCase& c) {
  const MergeMethod& method = merge_methods().find(c.method);
  const MergeTask task = task_of(c);
  Values result(static_cast<size_t>(task.elements));
  const TensorPorts ports{
      .read =
          [&](size_t input, int64_t begin, std::span<float> out) {
            const Values& from = input == task.inputs ? c.base : c.inputs.at(input);
            std::copy_n(from.begin() + begin, out.size(), out.begin());
            narrow_values(c.arithmetic, out);
          },
      .write =
          [&](const Chunk& chunk, std::span<const float> values) {
            std::copy(values.begin(), values.end(), result.begin() + chunk.begin);
          }};
  merge_tensor(method.traits(), *method.start(task), {&task, ports});
  return result;
}

double relative_difference(const Values& a, const Values& b) {
  double most = 0, difference = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(b[i])));
    difference = std::max(difference, std::abs(static_cast<double>(a.at(i)) - b[i]));
  }
  return difference / std::max(most, 1e-30);
}

Values normal_values(size_t count, uint64_t seed, double scale) {
  const Rng rng(seed, "test");
  Values made(count);
  for (size_t i = 0; i < count; ++i) made[i] = static_cast<float>(scale * rng.normal(i));
  return made;
}

}  // namespace smidgen
