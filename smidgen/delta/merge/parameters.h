// Values of a merge recipe's `parameters`: scalars, gradients over the layers, and choices by the
// name of the tensor.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/delta/merge/method.h"
#include "smidgen/delta/merge/recipe_map.h"

namespace smidgen {

// A list of choices, the first whose filter fits holds; a list of points runs from a slice's first
// layer to its last. A scalar is one choice without a filter and with one point.
struct ParameterValue {
  struct Point {
    std::string text;
    std::optional<double> number;  // also of text such as "1e-3"
    std::string place;
  };
  struct Choice {
    std::string filter;  // part of a tensor's name; empty or * fits all
    std::vector<Point> points;
  };
  std::vector<Choice> choices;
};

struct Parameter {
  std::string name, place;
  ParameterValue value;
};
using Parameters = std::vector<Parameter>;

// A scalar, a list of scalars, {value, filter}, or a list of those. Refused: empty lists, numbers
// that are not finite. As mergekit 0.1.5, which takes an empty list for a value that is not there.
Parameters read_parameters(const YamlNode& node, RecipeReading& reading);

// The value at t in [0, 1] for a tensor; nothing where no filter fits. With points v_0 .. v_(n-1),
// x = t (n - 1) and i = floor(x): numbers are v_i (1 - (x - i)) + v_min(i+1, n-1) (x - i), flags are
// v_i. Throws usage for a point that is not of the field's kind, and for a whole number that lies
// between two.
std::optional<double> evaluate(const ParameterValue& value, const MergeField& field,
                               std::string_view tensor, double t);

// What the first of the scopes with a value gives, then the field's own. Null scopes are empty.
std::optional<double> resolve(const MergeField& field, std::span<const Parameters* const> scopes,
                              std::string_view tensor, double t);

// Every name against the method's fields, and every point against its field's kind, so that mistakes
// show before a tensor needs the value. `others` are names that other methods know: like a shared
// parameter in the entry of one model they are ignored and recorded, since mergekit ignores them.
void check_parameters(const Parameters& parameters, const std::vector<MergeField>& fields,
                      const std::vector<std::string>& others, bool of_one_model,
                      RecipeReading& reading);

}  // namespace smidgen
