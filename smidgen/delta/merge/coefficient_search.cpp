#include "smidgen/delta/merge/coefficient_search.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "smidgen/base/error.h"
#include "smidgen/base/sha256.h"
#include "smidgen/delta/merge/evolution.h"
#include "smidgen/delta/merge/recipe.h"

namespace smidgen {

namespace {

template <class Visit>
void for_parameters(const MergeRecipe& recipe, Visit&& visit) {
  const auto of_module = [&](const ModuleSpec& module) {
    visit(module.parameters);
    for (const SourceSpec& source : module.models) visit(source.parameters);
    for (const SliceSpec& slice : module.slices) {
      visit(slice.parameters);
      for (const SourceSpec& source : slice.sources) visit(source.parameters);
    }
  };
  visit(recipe.parameters);
  of_module(recipe.body);
  for (const ModuleSpec& module : recipe.modules) of_module(module);
}

// Byte offsets of lines.
std::vector<size_t> lines_of(const std::string& text) {
  std::vector<size_t> begins{0};
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') begins.push_back(i + 1);
  }
  return begins;
}

// Where a scalar stands: "file:line:column", both from 1, columns in bytes.
size_t offset_of(const std::vector<size_t>& lines, const std::string& place) {
  const size_t second = place.rfind(':'), first = place.rfind(':', second - 1);
  const size_t line = std::stoul(place.substr(first + 1, second - first - 1));
  SMIDGEN_ASSERT(line >= 1 && line <= lines.size());
  return lines[line - 1] + std::stoul(place.substr(second + 1)) - 1;
}

std::string spelt(double value) {
  char digits[40];
  return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
}

// Numbers that JSON has no words for are null there.
Json score_json(double score) {
  return std::isfinite(score) ? Json(score) : Json(nullptr);
}
double score_of(const Json& json) {
  return json.is_null() ? std::numeric_limits<double>::infinity() : json.get<double>();
}

}  // namespace

SearchRange parse_search_range(const std::string& text) {
  const size_t equals = text.find('='), colon = text.find(':', equals);
  const auto wrong = [&](const std::string& why) -> SearchRange {
    throw Error(ErrorKind::usage, str("'", text, "' is no range: ", why), "search",
                "NAME=LOW:HIGH, as in weight=0:1.5");
  };
  if (equals == text.npos || equals == 0 || colon == text.npos) return wrong("a part is missing");
  const auto low = number_in(text.substr(equals + 1, colon - equals - 1), "search");
  const auto high = number_in(text.substr(colon + 1), "search");
  if (!low || !high) return wrong("its ends are not numbers");
  if (!(*low < *high)) return wrong("it is empty");
  return {text.substr(0, equals), *low, *high};
}

std::vector<Coefficient> coefficients_of(const std::string& text, const std::string& file,
                                         const std::vector<SearchRange>& ranges) {
  const std::vector<size_t> lines = lines_of(text);
  std::map<size_t, Coefficient> found;  // by offset
  std::set<std::string> in_text, given;
  const auto add = [&](const MergeParameter& parameter, const ParameterValue::Point& point) {
    in_text.insert(parameter.name);
    const auto range = std::find_if(ranges.begin(), ranges.end(), [&](const SearchRange& r) {
      return r.parameter == parameter.name;
    });
    if (range == ranges.end()) return;
    if (!point.number)
      throw Error(ErrorKind::usage,
                  str(parameter.name, " is '", point.text, "', and only numbers are searched"),
                  point.place);
    if (*point.number < range->low || *point.number > range->high)
      throw Error(ErrorKind::usage,
                  str(parameter.name, " is ", point.text, ", outside of its range ", range->low,
                      " to ", range->high),
                  point.place, "a search begins at the recipe's numbers");
    size_t offset = std::min(offset_of(lines, point.place), text.size());
    // The place of a scalar with an anchor is that of the anchor.
    if (offset < text.size() && text[offset] == '&') {
      offset = std::min(text.find_first_of(" \t", offset), text.size());
      offset = std::min(text.find_first_not_of(" \t", offset), text.size());
    }
    const std::string quote = text.substr(offset, 1), quoted = str(quote, point.text, quote);
    const bool plain = text.compare(offset, point.text.size(), point.text) == 0;
    const std::string& written = plain ? point.text : quoted;
    if (text.compare(offset, written.size(), written) != 0)
      throw Error(ErrorKind::unsupported,
                  str("the number ", point.text,
                      " is written in a way "
                      "that cannot be replaced"),
                  point.place, "write it as a plain number");
    found.emplace(offset, Coefficient{parameter.name, point.place, offset, written.size(),
                                      *point.number, range->low, range->high});
  };
  for (const MergeRecipe& recipe : parse_merge_recipes(text, file)) {
    for_parameters(recipe, [&](const Parameters& parameters) {
      for (const MergeParameter& parameter : parameters) {
        for (const auto& choice : parameter.value.choices) {
          for (const auto& point : choice.points) add(parameter, point);
        }
      }
    });
  }
  std::vector<Coefficient> all;
  for (auto& [offset, coefficient] : found) all.push_back(std::move(coefficient));
  for (const SearchRange& range : ranges) {
    if (!given.insert(range.parameter).second)
      throw Error(ErrorKind::usage, str("there are two ranges for ", range.parameter), "search");
    if (in_text.contains(range.parameter)) continue;
    const std::vector<std::string> known(in_text.begin(), in_text.end());
    throw Error(ErrorKind::usage,
                str("the recipe has no value for ", range.parameter,
                    ", at which a search could "
                    "begin"),
                file, did_you_mean(range.parameter, known, str("it has: ", join(known))));
  }
  return all;
}

std::string with_coefficients(const std::string& text, const std::vector<Coefficient>& places,
                              const std::vector<double>& values) {
  std::string made;
  size_t at = 0;
  for (size_t i = 0; i < places.size(); ++i) {
    made.append(text, at, places[i].offset - at);
    made += spelt(values[i]);
    at = places[i].offset + places[i].size;
  }
  return made.append(text, at);
}

SearchOutcome search_coefficients(const std::string& text, const std::string& file,
                                  const std::vector<SearchRange>& ranges,
                                  const std::function<double(const std::string&)>& score,
                                  const SearchOptions& options) {
  const std::vector<Coefficient> places = coefficients_of(text, file, ranges);
  SMIDGEN_ASSERT(!places.empty() && options.budget > 0);
  SearchBox box;
  Json where = Json::array();
  for (const Coefficient& place : places) {
    box.low.push_back(place.low);
    box.high.push_back(place.high);
    box.start.push_back(place.value);
    where.push_back({place.parameter, place.offset, place.low, place.high});
  }
  Json state = {{"version", 1},      {"recipe", sha256(text)},   {"seed", options.seed},
                {"searched", where}, {"scored", options.scored}, {"scores", Json::array()}};
  Json known = Json::array();
  if (path_exists(options.state)) {
    Json earlier = Json::parse(read_file(options.state), nullptr, /*allow_exceptions=*/false);
    if (earlier.is_object() && earlier.contains("scores") && earlier["scores"].is_array()) {
      known = earlier["scores"];
      earlier["scores"] = Json::array();
    }
    // Not !=, which is false too for what is no JSON.
    if (!(earlier == state))
      throw Error(ErrorKind::mismatch, "here lies the state of another search",
                  options.state.string(), "remove it, or write elsewhere");
  }
  // Whatever lies there under that name.
  for (const Json& entry : known) {
    if (!entry.is_object() || !entry.contains("values") || !entry["values"].is_array() ||
        !entry.contains("score") || !(entry["score"].is_number() || entry["score"].is_null()))
      throw Error(ErrorKind::format, "this is no state of a search", options.state.string(),
                  "remove it");
  }
  EvolutionSearch search(box, options.seed);
  SearchOutcome outcome{.best = std::numeric_limits<double>::infinity()};
  const auto total = std::max<int64_t>(options.budget, static_cast<int64_t>(known.size()));
  while (outcome.scores < total) {
    const std::vector<double> values = search.ask();
    double value = 0;
    const auto number = static_cast<size_t>(outcome.scores);
    if (number < known.size()) {
      if (known[number]["values"] != Json(values))
        throw Error(ErrorKind::mismatch,
                    "the search would have gone another way: its state is of another release",
                    options.state.string(), "remove it");
      value = score_of(known[number]["score"]);
      ++outcome.kept;
      state["scores"].push_back(known[number]);
    } else {
      value = score(with_coefficients(text, places, values));
      state["scores"].push_back({{"values", values}, {"score", score_json(value)}});
      write_file(options.state, state.dump(1) + "\n");
    }
    search.tell(value);
    if (outcome.scores == 0) outcome.first = value;
    if (outcome.scores++ == 0 || value < outcome.best) {
      outcome.best = value;
      outcome.values = values;
    }
    if (options.progress) options.progress(outcome.scores, value, outcome.best);
  }
  outcome.recipe = with_coefficients(text, places, outcome.values);
  return outcome;
}

}  // namespace smidgen
