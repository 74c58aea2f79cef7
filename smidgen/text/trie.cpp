#include "smidgen/text/trie.h"

#include <algorithm>

namespace smidgen {

constexpr int kTries = 64;  // places looked at before the array grows instead

Trie::Trie(std::vector<std::pair<std::string_view, int32_t>> keys) : units_(257) {
  std::stable_sort(keys.begin(), keys.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  struct Range {
    size_t begin, end, depth;
    uint32_t node;
  };
  units_[0].parent = 0;
  std::vector<Range> open = {{0, keys.size(), 0, 0}};
  std::vector<uint8_t> labels;
  while (!open.empty()) {
    Range range = open.back();
    open.pop_back();
    for (; range.begin < range.end && keys[range.begin].first.size() == range.depth; ++range.begin) {
      if (range.depth > 0) units_[range.node].value = keys[range.begin].second;
    }
    const auto label = [&](size_t i) { return static_cast<uint8_t>(keys[i].first[range.depth]); };
    labels.clear();
    for (size_t i = range.begin; i < range.end; ++i) {
      if (labels.empty() || labels.back() != label(i)) labels.push_back(label(i));
    }
    if (labels.empty()) continue;
    const uint32_t base = place(labels);
    units_[range.node].base = base;
    for (const uint8_t byte : labels) units_[base + byte].parent = range.node;
    for (size_t i = range.begin, end; i < range.end; i = end) {
      for (end = i + 1; end < range.end && label(end) == label(i);) ++end;
      open.push_back({i, end, range.depth + 1, base + label(i)});
    }
  }
}

uint32_t Trie::place(const std::vector<uint8_t>& labels) {
  while (first_free_ < units_.size() && units_[first_free_].parent != kFree) ++first_free_;
  uint32_t at = first_free_;
  for (int tries = 0;; ++at) {
    if (++tries > kTries) at = std::max<uint32_t>(at, static_cast<uint32_t>(units_.size()));
    if (at < labels[0] + 1u) continue;  // the root's place is taken
    const uint32_t base = at - labels[0];
    if (base + 256 >= units_.size()) units_.resize(base + 257);
    if (std::all_of(labels.begin(), labels.end(),
                    [&](uint8_t byte) { return units_[base + byte].parent == kFree; }))
      return base;
  }
}

}  // namespace smidgen
