#include "smidgen/delta/merge/coefficient_search.h"

#include <cmath>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/recipe.h"

namespace smidgen {
namespace {

const char* const kRecipe =
    "merge_method: ties\n"
    "base_model: base\n"
    "models:\n"
    "  - model: a\n"
    "    parameters: {weight: [0.5, \"0.25\"], density: 0.5}  # two ends\n"
    "  - model: b\n"
    "    parameters:\n"
    "      weight:\n"
    "        - {filter: m\u00e4lp, value: &shared 0.3}\n"
    "        - value: '1e-1'\n"
    "      density: 0.3\n"
    "parameters: {lambda: 1}\n";

std::vector<SearchRange> ranges(const std::vector<std::string>& texts) {
  std::vector<SearchRange> made;
  for (const std::string& text : texts) made.push_back(parse_search_range(text));
  return made;
}

std::vector<double> values_of(const std::vector<Coefficient>& places) {
  std::vector<double> values;
  for (const Coefficient& place : places) values.push_back(place.value);
  return values;
}

TEST(CoefficientSearch, FindsEveryNumberOfAParameter) {
  const auto weights = coefficients_of(kRecipe, "m.yml", ranges({"weight=0:2"}));
  EXPECT_EQ(values_of(weights), (std::vector<double>{.5, .25, .3, .1}));
  EXPECT_EQ(weights[1].place, "m.yml:5:32");
  const auto all = coefficients_of(kRecipe, "m.yml", ranges({"density=0:1", "weight=0:2"}));
  EXPECT_EQ(values_of(all), (std::vector<double>{.5, .25, .5, .3, .1, .3}))
      << "in the order of the text";
  EXPECT_EQ(with_coefficients(kRecipe, {}, {}), kRecipe);
}

TEST(CoefficientSearch, NumbersThatModelsShareAreOne) {
  const std::string text =
      "merge_method: linear\nmodels:\n  - model: a\n    parameters: &same {weight: 0.5}\n"
      "  - model: b\n    parameters: *same\n  - model: c\n    parameters:\n      <<: *same\n";
  const auto places = coefficients_of(text, "m.yml", ranges({"weight=0:1"}));
  ASSERT_EQ(values_of(places), (std::vector<double>{.5}));
  const MergeRecipe made = parse_merge_recipes(with_coefficients(text, places, {.75}), "m.yml")[0];
  for (const SourceSpec& source : made.body.models)
    EXPECT_EQ(source.parameters.at(0).value.choices.at(0).points.at(0).number, .75);
}

// What is written is read back, to the bit, and nothing else changes.
TEST(CoefficientSearch, WritesOtherNumbers) {
  const auto wanted = ranges({"weight=0:2", "lambda=0:3"});
  const auto places = coefficients_of(kRecipe, "m.yml", wanted);
  const std::vector<double> values = {1 / 3., 1e-7, std::nextafter(1., 2.), 0, M_PI / 3};
  const std::string made = with_coefficients(kRecipe, places, values);
  EXPECT_EQ(values_of(coefficients_of(made, "m.yml", wanted)), values);
  EXPECT_NE(made.find("# two ends"), made.npos);
  EXPECT_NE(made.find("density: 0.5}"), made.npos);
  EXPECT_EQ(parse_merge_recipes(made, "m.yml")[0].body.models.size(), 2u);
}

TEST(CoefficientSearch, RefusesWhatCannotBeSearched) {
  const auto error = [&](const std::string& text, const std::vector<std::string>& wanted) {
    return error_of([&] { coefficients_of(text, "m.yml", ranges(wanted)); });
  };
  EXPECT_NE(error(kRecipe, {"wieght=0:1"}).find("weight"), std::string::npos);
  EXPECT_NE(error(kRecipe, {"weight=0:0.2"}).find("outside of its range"), std::string::npos);
  EXPECT_NE(error(kRecipe, {"weight=0:1", "weight=0:2"}).find("two ranges"), std::string::npos);
  EXPECT_NE(error("merge_method: linear\nmodels: [{model: a, parameters: {normalize: true}}]\n",
                  {"normalize=0:1"})
                .find("only numbers"),
            std::string::npos);
  EXPECT_NE(error("merge_method: ties\nbase_model: b\nmodels:\n  - model: a\n    parameters: "
                  "{weight: &w 1, density: *w}\n",
                  {"density=0:1"})
                .find("cannot be replaced"),
            std::string::npos);
  for (const char* text : {"weight", "weight=1", "=0:1", "weight=a:1", "weight=1:1", "weight=2:1"})
    EXPECT_NE(error_of([&] { parse_search_range(text); }).find("no range"), std::string::npos);
}

// The sum of squares of what the recipe says.
double score(const std::string& text) {
  double sum = 0;
  for (const double x : values_of(coefficients_of(text, "m.yml", ranges({"weight=-9:9"}))))
    sum += (x - .4) * (x - .4);
  return sum;
}

struct Search {
  TemporaryFolder home;
  SearchOptions options{.budget = 60, .seed = 3, .scored = {{"data", "x"}}};
  Search() { options.state = home / "search.json"; }
  SearchOutcome run(const std::function<double(const std::string&)>& f = score,
                    const std::string& range = "weight=0:2") {
    return search_coefficients(kRecipe, "m.yml", ranges({range}), f, options);
  }
};

TEST(CoefficientSearch, IsNeverWorseAndGetsBetter) {
  Search s;
  s.options.budget = 400;
  const SearchOutcome found = s.run();
  EXPECT_EQ(found.scores, 400);
  EXPECT_DOUBLE_EQ(found.first, score(kRecipe));
  EXPECT_LT(found.best, found.first / 10);
  EXPECT_DOUBLE_EQ(score(found.recipe), found.best);
  Search worse;
  EXPECT_EQ(worse.run([](const std::string& text) { return text == kRecipe ? 0 : 1; }).recipe,
            with_coefficients(kRecipe, coefficients_of(kRecipe, "m.yml", ranges({"weight=0:2"})),
                              {.5, .25, .3, .1}));
}

TEST(CoefficientSearch, GoesOnWhereItWasInterrupted) {
  Search whole, cut;
  const SearchOutcome wanted = whole.run();
  struct Killed {};
  int calls = 0;
  const auto killed = [&](const std::string& text) {
    if (++calls % 11 == 0) throw Killed();
    return score(text);
  };
  SearchOutcome found;
  for (;;) {
    try {
      found = cut.run(killed);
      break;
    } catch (const Killed&) {
    }
  }
  EXPECT_EQ(calls, 60 + 5);
  EXPECT_EQ(found.recipe, wanted.recipe);
  EXPECT_EQ(found.values, wanted.values);
  EXPECT_EQ(found.kept, 50);
  EXPECT_EQ(read_file(cut.options.state), read_file(whole.options.state));
  // A larger budget goes on with a finished one.
  cut.options.budget = 70;
  calls = 0;
  EXPECT_EQ(cut.run([&](const std::string& text) { return ++calls, score(text); }).kept, 60);
  EXPECT_EQ(calls, 10);
}

TEST(CoefficientSearch, RefusesTheStateOfAnother) {
  Search s;
  s.options.budget = 5;
  s.run();
  const auto error = [&] { return error_of([&] { s.run(); }); };
  EXPECT_EQ(error(), "no error");
  EXPECT_NE(error_of([&] { s.run(score, "weight=0:1"); }).find("another search"),
            std::string::npos);
  s.options.seed = 4;
  EXPECT_NE(error().find("another search"), std::string::npos);
  s.options.seed = 3;
  s.options.scored = {{"data", "y"}};
  EXPECT_NE(error().find("another search"), std::string::npos);
  s.options.scored = {{"data", "x"}};
  std::string state = read_file(s.options.state);
  write_file(s.options.state, state.replace(state.find("\"scores\""), 8, "\"sc0res\""));
  EXPECT_NE(error(), "no error");
  write_file(s.options.state, "no json");
  EXPECT_NE(error(), "no error");
}

TEST(CoefficientSearch, WhatIsNoNumberIsWorstAlsoAfterAnInterruption) {
  Search s;
  s.options.budget = 20;
  const auto holes = [](const std::string& text) { return text == kRecipe ? NAN : score(text); };
  const auto first = s.run(holes), again = s.run(holes);
  EXPECT_TRUE(std::isfinite(first.best));
  EXPECT_EQ(again.recipe, first.recipe);
  EXPECT_EQ(again.kept, 20);
}

}  // namespace
}  // namespace smidgen
