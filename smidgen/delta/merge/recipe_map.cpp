#include "smidgen/delta/merge/recipe_map.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <unordered_set>

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

void RecipeReading::ignore(const std::string& key, const std::string& place,
                           std::string_view what) {
  if (strict)
    throw Error(ErrorKind::usage, str("[", key, "] has no effect in ", what), place,
                "remove it, or do without strict");
  ignored.push_back(str(key, " (", place, ")"));
}

RecipeMap::RecipeMap(const YamlNode& node, std::string what, const std::vector<std::string>& known,
                     RecipeReading& reading)
    : node_(node), what_(std::move(what)), reading_(reading) {
  if (node.kind != YamlNode::Kind::map)
    bad_value(node, reading, str(what_, " is not a map"), str("its keys: ", join(known)));
  for (const auto& [key, value] : node.entries) {
    if (std::find(known.begin(), known.end(), key.text) != known.end()) continue;
    if (const std::string hint = did_you_mean(key.text, known); !hint.empty())
      bad_value(key, reading, str("[", key.text, "] is not a key of ", what_), hint);
    reading.ignore(key.text, key.place(reading.file), what_);
  }
}

const YamlNode* RecipeMap::find(std::string_view key) const {
  for (const auto& [name, value] : node_.entries) {
    if (name.text == key) return value.kind == YamlNode::Kind::null ? nullptr : &value;
  }
  return nullptr;
}

const YamlNode& RecipeMap::need(std::string_view key) const {
  if (const YamlNode* value = find(key)) return *value;
  throw Error(ErrorKind::usage, str(what_, " needs [", key, "]"), place());
}

void expand_merge_keys(YamlNode& node, const std::string& file) {
  for (YamlNode& item : node.items) expand_merge_keys(item, file);
  std::vector<YamlNode> added;
  for (size_t i = 0; i < node.entries.size(); ++i) {
    auto& [key, value] = node.entries[i];
    expand_merge_keys(value, file);
    if (key.text != "<<" || !key.plain) continue;
    added = value.kind == YamlNode::Kind::list ? std::move(value.items)
                                               : std::vector<YamlNode>{std::move(value)};
    node.entries.erase(node.entries.begin() + static_cast<std::ptrdiff_t>(i--));
  }
  std::unordered_set<std::string> known;
  for (const auto& entry : node.entries) known.insert(entry.first.text);
  for (YamlNode& map : added) {
    if (map.kind != YamlNode::Kind::map)
      throw Error(ErrorKind::usage, "[<<] takes the keys of a map, and this is none",
                  map.place(file));
    for (auto& entry : map.entries) {
      if (known.insert(entry.first.text).second) node.entries.push_back(std::move(entry));
    }
  }
}

void bad_value(const YamlNode& node, const RecipeReading& reading, const std::string& message,
               const std::string& hint) {
  throw Error(ErrorKind::usage, message, node.place(reading.file), hint);
}

const std::vector<YamlNode>& list_of(const YamlNode& node, const RecipeReading& reading,
                                     const std::string& what) {
  if (node.kind != YamlNode::Kind::list) bad_value(node, reading, str(what, " is not a list"));
  return node.items;
}

std::string text_of(const YamlNode& node, const RecipeReading& reading, const std::string& what) {
  if (node.kind != YamlNode::Kind::scalar) bad_value(node, reading, str(what, " is not text"));
  return node.text;
}

int64_t whole_of(const YamlNode& node, const RecipeReading& reading, const std::string& what) {
  if (node.kind == YamlNode::Kind::scalar) {
    const auto number = number_in(node.text, node.place(reading.file));
    if (number && *number == std::floor(*number) && std::abs(*number) < 1e15)
      return static_cast<int64_t>(*number);
  }
  bad_value(node, reading, str(what, " is not a whole number"));
}

bool flag_of(const YamlNode& node, const RecipeReading& reading, const std::string& what) {
  if (node.kind == YamlNode::Kind::scalar) {
    if (const auto flag = flag_in(node.text)) return *flag;
  }
  bad_value(node, reading, str(what, " is neither true nor false"));
}

std::optional<double> number_in(const std::string& text, const std::string& place) {
  const bool sign = !text.empty() && (text[0] == '+' || text[0] == '-');
  const std::string digits = text.substr(sign ? 1 : 0), word = lower(digits);
  for (const char* name : {"nan", ".nan", "inf", ".inf", "infinity"}) {
    if (word == name)
      throw Error(ErrorKind::usage, str("'", text, "' is not a finite number"), place);
  }
  if (digits.empty() || (digits[0] != '.' && !std::isdigit(static_cast<unsigned char>(digits[0]))))
    return std::nullopt;
  if (digits[0] == '0' && digits.size() > 1 && std::isdigit(static_cast<unsigned char>(digits[1])))
    return std::nullopt;
  double number = 0;
  const char* end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data(), end, number);
  if (read.ptr != end || read.ec == std::errc::invalid_argument) return std::nullopt;
  if (read.ec != std::errc())
    throw Error(ErrorKind::usage, str("'", text, "' is beyond what a number can hold"), place);
  return text[0] == '-' ? -number : number;
}

std::optional<bool> flag_in(const std::string& text) {
  const std::string word = lower(text);
  for (const char* yes : {"true", "yes", "on", "y", "t"}) {
    if (word == yes) return true;
  }
  for (const char* no : {"false", "no", "off", "n", "f"}) {
    if (word == no) return false;
  }
  return std::nullopt;
}

}  // namespace smidgen
