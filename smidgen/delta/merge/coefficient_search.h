// Looks for the numbers of a merge recipe that score best: weights, densities, whatever its
// parameters are. Knows neither models nor data: a score of recipes comes in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "smidgen/base/fs.h"
#include "smidgen/base/json.h"

namespace smidgen {

// "weight=0:1.5"
struct SearchRange {
  std::string parameter;
  double low = 0, high = 0;
};
SearchRange parse_search_range(const std::string& text);

// A number in the text of a recipe: every point of a parameter is one, be it the weight of a model,
// an end of a gradient or a choice by filter. One in a map that several models take by an alias is
// one.
struct Coefficient {
  std::string parameter, place;  // file:line:column
  size_t offset = 0, size = 0;   // of its spelling in the text
  double value = 0, low = 0, high = 0;
};
// In the order of the text. Throws usage for a range whose parameter has no number there, for a
// value that is none, and for one outside of its range.
std::vector<Coefficient> coefficients_of(const std::string& text, const std::string& file,
                                         const std::vector<SearchRange>& ranges);
// The recipe with other numbers in these places, spelt so that they are read back as they are.
std::string with_coefficients(const std::string& text, const std::vector<Coefficient>& places,
                              const std::vector<double>& values);

struct SearchOptions {
  int64_t budget = 100;  // scores asked for, those of an earlier run included
  uint64_t seed = 0;
  fs::path state;  // written after each score; what lies there is gone on with
  Json scored;     // what the scores depend on beside the recipe, for the state
  // Called after each score, with how many there are.
  std::function<void(int64_t done, double score, double best)> progress;
};

struct SearchOutcome {
  std::string recipe;            // the best
  std::vector<double> values;    // of its coefficients
  double first = 0, best = 0;    // scores of the recipe as it was, and of the best
  int64_t scores = 0, kept = 0;  // kept: known from the state
};

// EvolutionSearch (evolution.h) from the recipe's own numbers, which are scored first: the outcome
// is never worse. `score` gives what is to be small, for the text of a recipe. An interrupted
// search goes on after its last score, by the same path; a larger budget goes on with a finished
// one. Throws mismatch where the state is that of another search.
SearchOutcome search_coefficients(const std::string& text, const std::string& file,
                                  const std::vector<SearchRange>& ranges,
                                  const std::function<double(const std::string& recipe)>& score,
                                  const SearchOptions& options);

}  // namespace smidgen
