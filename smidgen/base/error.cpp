#include "smidgen/base/error.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>

namespace smidgen {

std::string_view to_string(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::usage:
      return "usage";
    case ErrorKind::not_found:
      return "not_found";
    case ErrorKind::format:
      return "format";
    case ErrorKind::mismatch:
      return "mismatch";
    case ErrorKind::unsupported:
      return "unsupported";
    case ErrorKind::data:
      return "data";
    case ErrorKind::resource:
      return "resource";
    case ErrorKind::diverged:
      return "diverged";
    case ErrorKind::interrupted:
      return "interrupted";
  }
  return "unknown";
}

int exit_code(ErrorKind kind) {
  if (kind == ErrorKind::usage) return 2;
  if (kind == ErrorKind::interrupted) return 130;
  return 1;
}

Error::Error(ErrorKind kind, std::string message, std::string where, std::string hint)
    : kind_(kind), message_(std::move(message)), where_(std::move(where)), hint_(std::move(hint)) {
  what_ = where_.empty() ? message_ : str(message_, " (", where_, ")");
}

namespace {

// Edit distance in which swapping two neighbouring letters counts as one.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  std::iota(above.begin(), above.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before.swap(above);
    above.swap(row);
  }
  return above[b.size()];
}

}  // namespace

std::vector<std::string> nearest(std::string_view name, const std::vector<std::string>& candidates,
                                 size_t most) {
  std::vector<std::pair<size_t, std::string>> ranked;
  for (const std::string& candidate : candidates) {
    const size_t d = distance(name, candidate);
    const size_t reach = std::max<size_t>(1, std::max(name.size(), candidate.size()) / 3);
    const bool contains = name.size() >= 3 && candidate.find(name) != std::string::npos;
    if (d <= reach || contains) ranked.emplace_back(d, candidate);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> names;
  for (size_t i = 0; i < ranked.size() && i < most; ++i) names.push_back(ranked[i].second);
  return names;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates,
                         std::string otherwise) {
  const std::vector<std::string> names = nearest(name, candidates);
  if (names.empty()) return otherwise;
  std::string text = "did you mean ";
  for (size_t i = 0; i < names.size(); ++i) text += str(i ? " or '" : "'", names[i], "'");
  return text + "?";
}

void assertion_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "smidgen: internal error: %s at %s:%d\n", expression, file, line);
  std::abort();
}

}  // namespace smidgen
