#include "smidgen/delta/diff/key_difference.h"

#include <algorithm>

#include "smidgen/base/str.h"

namespace smidgen {

namespace {

void walk(const std::string& file, const std::string& key, const Json& a, const Json& b,
          std::vector<KeyDifference>& out) {
  const auto below = [&](const std::string& name) { return key.empty() ? name : key + "." + name; };
  if (a.is_object() && b.is_object()) {
    for (const auto& [name, value] : a.items()) {
      const auto found = b.find(name);
      if (found != b.end()) {
        walk(file, below(name), value, *found, out);
      } else {
        out.push_back({file, below(name), value, std::nullopt});
      }
    }
    for (const auto& [name, value] : b.items()) {
      if (!a.contains(name)) out.push_back({file, below(name), std::nullopt, value});
    }
  } else if (a.is_array() && b.is_array()) {
    for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
      const std::string item = str(key, "[", i, "]");
      if (i < a.size() && i < b.size()) {
        walk(file, item, a[i], b[i], out);
      } else if (i < a.size()) {
        out.push_back({file, item, a[i], std::nullopt});
      } else {
        out.push_back({file, item, std::nullopt, b[i]});
      }
    }
  } else if (a != b) {
    out.push_back({file, key, a, b});
  }
}

}  // namespace

Json KeyDifference::to_json() const {
  Json out = {{"file", file}, {"key", key}};
  if (first) out["a"] = *first;
  if (second) out["b"] = *second;
  return out;
}

std::vector<KeyDifference> key_differences(const std::string& file, const Json& first,
                                           const Json& second) {
  std::vector<KeyDifference> out;
  walk(file, "", first, second, out);
  return out;
}

}  // namespace smidgen
