// Goldens: scripts/golden/merge_recipes.py (mergekit 0.1.5).
#include <gtest/gtest.h>

#include "smidgen/delta/merge/plan_checks_test.h"
#include "smidgen/io/json_file.h"

namespace smidgen {
namespace {

const Json& golden() {
  static const Json json =
      read_json(str(SMIDGEN_SOURCE_DIR, "/smidgen/delta/merge/testdata/recipes.json"));
  return json;
}

// mergekit's methods, of which a plan needs the fields and how they take a base.
Registry<MergeMethod> methods() {
  std::vector<NamedMethod> all;
  for (const auto& [name, method] : golden()["methods"].items()) {
    NamedMethod made{.name = name};
    const std::string base = method["base"];
    if (base == "required") made.traits.base = MergeTraits::Base::required;
    if (base == "optional") made.traits.base = MergeTraits::Base::optional;
    for (const Json& row : method["fields"]) {
      MergeField field{.name = row[0]};
      const std::string kind = row[1], scope = row[2];
      if (kind == "flag") field.kind = MergeField::Kind::flag;
      if (kind == "integer") field.kind = MergeField::Kind::integer;
      if (scope == "input") field.scope = MergeField::Scope::input;
      if (scope == "other") field.scope = MergeField::Scope::other;
      if (!row[3].is_null()) field.standard = row[3].get<double>();
      made.fields.push_back(field);
    }
    all.push_back(std::move(made));
  }
  return registry_of(all);
}

std::vector<ModelTensors> models() {
  std::vector<ModelTensors> all;
  for (const auto& [label, names] : golden()["models"].items()) {
    ModelTensors model{label, {}};
    for (const Json& name : names) model.tensors.push_back(tensor_of(name, {2, 2}));
    all.push_back(std::move(model));
  }
  return all;
}

void expect_equal(const std::map<std::string, double>& ours, const Json& theirs,
                  const std::string& what) {
  EXPECT_EQ(ours.size(), theirs.size()) << what;
  for (const auto& [name, value] : theirs.items()) {
    ASSERT_TRUE(ours.contains(name)) << what << " " << name;
    EXPECT_DOUBLE_EQ(ours.at(name), value.get<double>()) << what << " " << name;
  }
}

TEST(MergePlanGolden, InputsAndValuesEqualMergekits) {
  const auto all = models();
  const auto registry = methods();
  ASSERT_GE(golden()["recipes"].size(), 12u);
  size_t values = 0;
  for (const auto& [name, golden_case] : golden()["recipes"].items()) {
    SCOPED_TRACE(name);
    const MergeRecipe recipe =
        parse_merge_recipes(golden_case["recipe"].get<std::string>(), "m.yml").at(0);
    const auto refs = models_of(recipe);
    const MergePlan plan = planned(golden_case["recipe"], all, registry);
    ASSERT_EQ(plan.tensors.size(), golden_case["tensors"].size());
    for (const Json& row : golden_case["tensors"]) {
      const PlannedTensor* tensor = find(plan, row[0]);
      ASSERT_NE(tensor, nullptr) << row[0];
      expect_equal(tensor->task.shared, row[1], row[0]);
      std::vector<PlannedInput> inputs, bases;
      for (const Json& input : row[2]) {
        const auto model = std::find_if(refs.begin(), refs.end(), [&](const ModelRef& ref) {
          return ref.text() == input[0].get<std::string>();
        });
        const PlannedInput wanted{static_cast<size_t>(model - refs.begin()), input[1]};
        (input[2].is_null() ? bases : inputs).push_back(wanted);
        if (input[2].is_null()) continue;
        ASSERT_LT(inputs.size() - 1, tensor->task.by_input.size()) << row[0];
        expect_equal(tensor->task.by_input[inputs.size() - 1], input[2], row[0]);
        values += input[2].size();
      }
      EXPECT_EQ(tensor->task.inputs, inputs.size()) << row[0];
      EXPECT_EQ(tensor->task.base, !bases.empty()) << row[0];
      inputs.insert(inputs.end(), bases.begin(), bases.end());
      EXPECT_EQ(tensor->inputs, inputs) << row[0];
    }
    std::map<std::string, size_t> layers;
    for (const PlannedStack& stack : plan.stacks)
      layers[stack.prefix.find("encoder") != std::string::npos   ? "encoder"
             : stack.prefix.find("decoder") != std::string::npos ? "decoder"
                                                                  : "default"] =
          stack.layers.size();
    for (const auto& [module, count] : golden_case["layers"].items())
      EXPECT_EQ(layers[module], count.get<size_t>()) << module;
  }
  EXPECT_GT(values, 500u);
}

}  // namespace
}  // namespace smidgen
