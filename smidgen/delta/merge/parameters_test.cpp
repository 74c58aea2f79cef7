#include "smidgen/delta/merge/parameters.h"

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"

namespace smidgen {
namespace {

const MergeField kWeight{"weight", MergeField::Kind::number, MergeField::Scope::input};
const MergeField kCount{"count", MergeField::Kind::integer, MergeField::Scope::shared};
const MergeField kSwitch{"switch", MergeField::Kind::flag, MergeField::Scope::shared};

Parameters read(const std::string& text) {
  RecipeReading reading{.file = "m.yml"};
  return read_parameters(parse_yaml(text, "m.yml"), reading);
}

std::optional<double> value(const std::string& text, const MergeField& field = kWeight,
                            double t = 0, const std::string& tensor = "w") {
  return evaluate(read(str("p: ", text)).at(0).value, field, tensor, t);
}

TEST(MergeParameters, Numbers) {
  EXPECT_EQ(value("0.25"), 0.25);
  EXPECT_EQ(value("1e-3"), 1e-3);
  EXPECT_EQ(value("\"1e-3\""), 1e-3) << "YAML 1.1 takes a number without a dot for text";
  EXPECT_EQ(value("-.5"), -0.5);
  EXPECT_EQ(value("+2."), 2.0);
  EXPECT_EQ(value("7", kCount), 7.0);
}

TEST(MergeParameters, Flags) {
  for (const char* yes : {"true", "True", "yes", "on", "\"1\"", "1", "1.0"})
    EXPECT_EQ(value(yes, kSwitch), 1.0) << yes;
  for (const char* no : {"false", "no", "Off", "0", "f"}) EXPECT_EQ(value(no, kSwitch), 0.0) << no;
}

TEST(MergeParameters, GradientsRunFromTheFirstPointToTheLast) {
  const std::string points = "[0, 1, 5]";
  EXPECT_EQ(value(points, kWeight, 0), 0.0);
  EXPECT_EQ(value(points, kWeight, 0.25), 0.5);
  EXPECT_EQ(value(points, kWeight, 0.5), 1.0);
  EXPECT_EQ(value(points, kWeight, 0.75), 3.0);
  EXPECT_EQ(value(points, kWeight, 1), 5.0);
  EXPECT_EQ(value("[3]", kWeight, 0.5), 3.0);
  EXPECT_EQ(value("[10, 20]", kCount, 0.5), 15.0);
  EXPECT_EQ(value("[yes, no, yes]", kSwitch, 0.49), 1.0) << "flags are picked";
  EXPECT_EQ(value("[yes, no, yes]", kSwitch, 0.5), 0.0);
  EXPECT_EQ(value("[yes, no, yes]", kSwitch, 1), 1.0);
}

TEST(MergeParameters, TheFirstFilterThatFitsHolds) {
  const std::string choices =
      "[{filter: mlp, value: 1}, {filter: layers.1., value: [2, 3]}, {filter: '*', value: 4}]";
  EXPECT_EQ(value(choices, kWeight, 0, "layers.1.mlp"), 1.0);
  EXPECT_EQ(value(choices, kWeight, 1, "layers.1.norm"), 3.0);
  EXPECT_EQ(value(choices, kWeight, 0, "layers.11.norm"), 4.0);
  EXPECT_EQ(value("{filter: mlp, value: 1}", kWeight, 0, "norm"), std::nullopt);
  EXPECT_EQ(value("{value: 1}", kWeight, 0, "norm"), 1.0);
}

TEST(MergeParameters, ScopesFallThrough) {
  const Parameters inner = read("weight: {filter: mlp, value: 1}"), outer = read("{weight: 2}");
  const std::vector<const Parameters*> scopes = {&inner, nullptr, &outer};
  EXPECT_EQ(resolve(kWeight, scopes, "mlp", 0), 1.0);
  EXPECT_EQ(resolve(kWeight, scopes, "norm", 0), 2.0);
  EXPECT_EQ(resolve(kCount, scopes, "norm", 0), std::nullopt);
  MergeField standard = kCount;
  standard.standard = 9;
  EXPECT_EQ(resolve(standard, scopes, "norm", 0), 9.0);
}

TEST(MergeParameters, RefusesWhatIsNoValue) {
  const auto refused = [](const std::string& text, const MergeField& field = kWeight,
                          double t = 0) { return error_of([&] { value(text, field, t); }); };
  EXPECT_EQ(refused(".nan"), "usage: '.nan' is not a finite number (m.yml:1:4) ");
  EXPECT_EQ(refused("-.inf"), "usage: '-.inf' is not a finite number (m.yml:1:4) ");
  EXPECT_EQ(refused("1e999"), "usage: '1e999' is beyond what a number can hold (m.yml:1:4) ");
  EXPECT_EQ(refused("[0, nan]"), "usage: 'nan' is not a finite number (m.yml:1:8) ");
  EXPECT_EQ(refused("high"), "usage: weight is 'high', which is not a number (m.yml:1:4) ");
  EXPECT_EQ(refused("true"), "usage: weight is 'true', which is not a number (m.yml:1:4) ");
  EXPECT_EQ(refused("010"), "usage: weight is '010', which is not a number (m.yml:1:4) ")
      << "octal in YAML 1.1";
  EXPECT_EQ(refused("1_000"), "usage: weight is '1_000', which is not a number (m.yml:1:4) ");
  EXPECT_EQ(refused("1.5", kCount),
            "usage: count is '1.5', which is not a whole number (m.yml:1:4) ");
  EXPECT_EQ(refused("[1, 2]", kCount, 0.25),
            "usage: count becomes 1.25 for w, which is not a whole number (m.yml:1:5) give it one "
            "value instead of a list");
  EXPECT_EQ(refused("0.5", kSwitch),
            "usage: switch is '0.5', which is not true or false (m.yml:1:4) ");
  EXPECT_EQ(refused("[]"), "usage: the list of p is empty (m.yml:1:4) ");
  EXPECT_EQ(refused("~"), "usage: [p] has no value (m.yml:1:4) ");
  EXPECT_EQ(refused("[[1]]"),
            "usage: a value of p is not a scalar (m.yml:1:5) a scalar, a list of scalars, {value, "
            "filter}, or a list of those");
  EXPECT_EQ(refused("[{value: 1}, 2]"),
            "usage: the list of p mixes choices and plain values (m.yml:1:16) write the plain one "
            "as {value: ...}");
  EXPECT_EQ(refused("[{filter: mlp}]"), "usage: a choice of p needs [value] (m.yml:1:5) ");
  EXPECT_EQ(refused("{valeu: 1}"),
            "usage: [valeu] is not a key of a choice of p (m.yml:1:5) did you mean 'value'?");
  EXPECT_EQ(error_of([] { read("[1]"); }), "usage: parameters is not a map (m.yml:1:1) ");
}

TEST(MergeParameters, NamesAreTheMethods) {
  const std::vector<MergeField> fields = {kWeight, kSwitch};
  const auto checked = [&](const std::string& text, bool of_one_model = false,
                           bool strict = false) {
    RecipeReading reading{.file = "m.yml", .strict = strict};
    const std::string error = error_of(
        [&] { check_parameters(read(text), fields, {"density"}, of_one_model, reading); });
    return error == "no error" ? join(reading.ignored) : error;
  };
  EXPECT_EQ(checked("{weight: 1, switch: yes}"), "");
  EXPECT_EQ(checked("{wieght: 1}"),
            "usage: the method has no parameter 'wieght' (m.yml:1:2) did you mean 'weight'?");
  EXPECT_EQ(checked("{colour: 1}"),
            "usage: the method has no parameter 'colour' (m.yml:1:2) it has: weight, switch");
  EXPECT_EQ(checked("{density: 1}"), "density (m.yml:1:2)") << "another method's";
  EXPECT_EQ(checked("{density: 1}", false, true),
            "usage: [density] has no effect in this method (m.yml:1:2) remove it, or do without "
            "strict");
  EXPECT_EQ(checked("{switch: yes}", true), "switch (m.yml:1:2)") << "mergekit does not see it";
  EXPECT_EQ(checked("{weight: [{filter: none, value: high}]}"),
            "usage: weight is 'high', which is not a number (m.yml:1:34) ")
      << "also where no tensor asks for it";
}

}  // namespace
}  // namespace smidgen
