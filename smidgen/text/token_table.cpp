#include "smidgen/text/token_table.h"

#include <bit>
#include <cstring>

namespace smidgen {

uint64_t mix_bits(uint64_t x) {
  const auto wide = static_cast<unsigned __int128>(x ^ 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
  return static_cast<uint64_t>(wide) ^ static_cast<uint64_t>(wide >> 64);
}

uint64_t hash_text(std::string_view text) {
  uint64_t hash = text.size();
  while (text.size() >= 8) {
    uint64_t word;
    std::memcpy(&word, text.data(), 8);
    hash = mix_bits(hash ^ word);
    text.remove_prefix(8);
  }
  uint64_t tail = 0;
  for (const char c : text) tail = tail << 8 | static_cast<uint8_t>(c);
  return mix_bits(hash ^ tail);
}

TokenTable::TokenTable(std::vector<std::string> strings)
    : strings_(std::move(strings)), slots_(std::bit_ceil(2 * strings_.size() + 2), -1) {
  mask_ = slots_.size() - 1;
  for (size_t id = 0; id < strings_.size(); ++id) {
    if (strings_[id].empty()) continue;
    uint64_t slot = hash_text(strings_[id]) & mask_;
    while (slots_[slot] >= 0 && strings_[static_cast<size_t>(slots_[slot])] != strings_[id])
      slot = (slot + 1) & mask_;
    if (slots_[slot] < 0) slots_[slot] = static_cast<int32_t>(id);
  }
}

int32_t TokenTable::find(std::string_view text) const {
  for (uint64_t slot = hash_text(text) & mask_;; slot = (slot + 1) & mask_) {
    const int32_t id = slots_[slot];
    if (id < 0 || strings_[static_cast<size_t>(id)] == text) return id;
  }
}

}  // namespace smidgen
