// Ids of words met before, per thread: most words of a text come again.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "smidgen/text/token_table.h"

namespace smidgen {

// Direct-mapped, one cache line per entry; a newcomer takes the place. Serves several tokenizers,
// told apart by `owner` (never 0).
class WordCache {
 public:
  // Appends the ids of the word when it is known.
  bool find(uint32_t owner, std::string_view word, std::vector<int32_t>& ids) {
    if (word.size() > kMaxWord) return false;
    const Entry& entry = entries_[slot(owner, word)];
    if (entry.owner != owner || entry.size != word.size() ||
        std::memcmp(entry.word, word.data(), word.size()) != 0)
      return false;
    ids.insert(ids.end(), entry.ids, entry.ids + entry.count);
    return true;
  }

  void put(uint32_t owner, std::string_view word, const int32_t* ids, size_t count) {
    if (word.size() > kMaxWord || count > kMaxIds) return;
    Entry& entry = entries_[slot(owner, word)];
    entry.owner = owner;
    entry.size = static_cast<uint8_t>(word.size());
    entry.count = static_cast<uint8_t>(count);
    std::memcpy(entry.word, word.data(), word.size());
    std::copy(ids, ids + count, entry.ids);
  }

  static WordCache& of_this_thread() {
    thread_local WordCache cache;
    return cache;
  }

 private:
  static constexpr size_t kMaxWord = 34, kMaxIds = 6, kEntries = size_t{1} << 14;
  struct alignas(64) Entry {
    uint32_t owner = 0;
    uint8_t size = 0, count = 0;
    char word[kMaxWord];
    int32_t ids[kMaxIds];
  };
  static_assert(sizeof(Entry) == 64);
  static size_t slot(uint32_t owner, std::string_view word) {
    return (hash_text(word) + owner) & (kEntries - 1);
  }
  std::vector<Entry> entries_ = std::vector<Entry>(kEntries);
};

}  // namespace smidgen
