// Strings to their numbers, by open addressing: the vocabulary's map.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace smidgen {

uint64_t mix_bits(uint64_t x);
uint64_t hash_text(std::string_view text);

// Keeps the strings. Empty ones are left out; of equal ones the first counts.
class TokenTable {
 public:
  TokenTable() : TokenTable(std::vector<std::string>()) {}
  explicit TokenTable(std::vector<std::string> strings);
  int32_t find(std::string_view text) const;  // -1: absent
  const std::vector<std::string>& strings() const { return strings_; }

 private:
  std::vector<std::string> strings_;
  std::vector<int32_t> slots_;
  uint64_t mask_ = 0;
};

}  // namespace smidgen
