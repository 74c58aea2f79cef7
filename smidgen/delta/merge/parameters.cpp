#include "smidgen/delta/merge/parameters.h"

#include <algorithm>
#include <cmath>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

using Point = ParameterValue::Point;
using Choice = ParameterValue::Choice;

Point read_point(const YamlNode& node, RecipeReading& reading, const std::string& name) {
  if (node.kind != YamlNode::Kind::scalar)
    bad_value(node, reading, str("a value of ", name, " is not a scalar"),
              "a scalar, a list of scalars, {value, filter}, or a list of those");
  const std::string place = node.place(reading.file);
  return {node.text, number_in(node.text, place), place};
}

std::vector<Point> read_points(const YamlNode& node, RecipeReading& reading,
                               const std::string& name) {
  if (node.kind != YamlNode::Kind::list) return {read_point(node, reading, name)};
  if (node.items.empty()) bad_value(node, reading, str("the list of ", name, " is empty"));
  std::vector<Point> points;
  for (const YamlNode& item : node.items) points.push_back(read_point(item, reading, name));
  return points;
}

Choice read_choice(const YamlNode& node, RecipeReading& reading, const std::string& name) {
  const RecipeMap map(node, str("a choice of ", name), {"value", "filter"}, reading);
  Choice choice;
  choice.points = read_points(map.need("value"), reading, name);
  if (const YamlNode* filter = map.find("filter"))
    choice.filter = text_of(*filter, reading, "filter");
  return choice;
}

ParameterValue read_value(const YamlNode& node, RecipeReading& reading, const std::string& name) {
  ParameterValue value;
  const bool choices = node.kind == YamlNode::Kind::list &&
                       std::any_of(node.items.begin(), node.items.end(), [](const YamlNode& item) {
                         return item.kind == YamlNode::Kind::map;
                       });
  if (choices) {
    for (const YamlNode& item : node.items) {
      if (item.kind != YamlNode::Kind::map)
        bad_value(item, reading, str("the list of ", name, " mixes choices and plain values"),
                  "write the plain one as {value: ...}");
      value.choices.push_back(read_choice(item, reading, name));
    }
  } else if (node.kind == YamlNode::Kind::map) {
    value.choices.push_back(read_choice(node, reading, name));
  } else {
    value.choices.push_back({{}, read_points(node, reading, name)});
  }
  return value;
}

double number_of(const Point& point, const MergeField& field) {
  using enum MergeField::Kind;
  const auto refuse = [&](std::string_view wanted) -> double {
    throw Error(ErrorKind::usage, str(field.name, " is '", point.text, "', which is not ", wanted),
                point.place);
  };
  if (field.kind == flag) {
    if (const auto word = flag_in(point.text)) return *word;
    if (point.number && (*point.number == 0 || *point.number == 1)) return *point.number;
    return refuse("true or false");
  }
  if (!point.number) return refuse("a number");
  if (field.kind == integer && *point.number != std::floor(*point.number))
    return refuse("a whole number");
  return *point.number;
}

bool fits(const std::string& filter, std::string_view tensor) {
  return filter.empty() || filter == "*" || tensor.find(filter) != tensor.npos;
}

}  // namespace

Parameters read_parameters(const YamlNode& node, RecipeReading& reading) {
  if (node.kind != YamlNode::Kind::map) bad_value(node, reading, "parameters is not a map");
  Parameters parameters;
  for (const auto& [key, value] : node.entries) {
    if (value.kind == YamlNode::Kind::null)
      bad_value(value, reading, str("[", key.text, "] has no value"));
    parameters.push_back(
        {key.text, key.place(reading.file), read_value(value, reading, key.text)});
  }
  return parameters;
}

std::optional<double> evaluate(const ParameterValue& value, const MergeField& field,
                               std::string_view tensor, double t) {
  for (const Choice& choice : value.choices) {
    if (!fits(choice.filter, tensor)) continue;
    const double x = t * static_cast<double>(choice.points.size() - 1);
    const auto i = static_cast<size_t>(x);
    const double here = number_of(choice.points.at(i), field);
    if (field.kind == MergeField::Kind::flag) return here;
    const Point& next = choice.points[std::min(i + 1, choice.points.size() - 1)];
    const double part = x - static_cast<double>(i);
    const double between = (1 - part) * here + part * number_of(next, field);
    if (field.kind == MergeField::Kind::integer && between != std::floor(between))
      throw Error(ErrorKind::usage,
                  str(field.name, " becomes ", between, " for ", tensor,
                      ", which is not a whole number"),
                  choice.points[i].place, "give it one value instead of a list");
    return between;
  }
  return std::nullopt;
}

std::optional<double> resolve(const MergeField& field, std::span<const Parameters* const> scopes,
                              std::string_view tensor, double t) {
  for (const Parameters* scope : scopes) {
    if (!scope) continue;
    for (const Parameter& parameter : *scope) {
      if (parameter.name != field.name) continue;
      if (const auto value = evaluate(parameter.value, field, tensor, t)) return value;
    }
  }
  return field.standard;
}

void check_parameters(const Parameters& parameters, const std::vector<MergeField>& fields,
                      const std::vector<std::string>& others, bool of_one_model,
                      RecipeReading& reading) {
  std::vector<std::string> names;
  for (const MergeField& field : fields) names.push_back(field.name);
  for (const Parameter& parameter : parameters) {
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const MergeField& f) {
      return f.name == parameter.name;
    });
    const bool elsewhere =
        std::find(others.begin(), others.end(), parameter.name) != others.end();
    if (field == fields.end() && !elsewhere)
      throw Error(ErrorKind::usage, str("the method has no parameter '", parameter.name, "'"),
                  parameter.place,
                  did_you_mean(parameter.name, names,
                               names.empty() ? "it has none" : str("it has: ", join(names))));
    if (field == fields.end()) {
      reading.ignore(parameter.name, parameter.place, "this method");
      continue;
    }
    for (const Choice& choice : parameter.value.choices) {
      for (const Point& point : choice.points) number_of(point, *field);
    }
    if (of_one_model && field->scope == MergeField::Scope::shared)
      reading.ignore(parameter.name, parameter.place, "the entry of one model");
  }
}

}  // namespace smidgen
