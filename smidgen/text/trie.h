// A set of byte strings that finds every member that a text begins with, one memory access per byte
// (double array: Aoe 1989).
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace smidgen {

class Trie {
 public:
  // Of equal keys the last counts. Empty keys are left out.
  explicit Trie(std::vector<std::pair<std::string_view, int32_t>> keys);

  // Calls found(length, value) for each key at the front of `text`, shortest first.
  template <class Found>
  void prefixes(std::string_view text, Found found) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      const uint32_t next = units_[node].base + static_cast<uint8_t>(text[i]);
      if (next >= units_.size() || units_[next].parent != node) return;
      node = next;
      if (units_[node].value >= 0) found(i + 1, units_[node].value);
    }
  }

 private:
  static constexpr uint32_t kFree = ~uint32_t{0};
  struct Unit {
    uint32_t base = 1u << 31;  // no child: beyond every array
    uint32_t parent = kFree;
    int32_t value = -1;
  };
  uint32_t place(const std::vector<uint8_t>& labels);
  std::vector<Unit> units_;
  uint32_t first_free_ = 1;
};

}  // namespace smidgen
