#include "smidgen/text/bpe.h"

#include <bit>
#include <cstring>
#include <queue>
#include <unordered_map>

#include "smidgen/base/error.h"
#include "smidgen/text/byte_level.h"

namespace smidgen {
namespace {

constexpr size_t kShortWord = 48;  // symbols; below this a scan per merge is faster than a heap
constexpr uint32_t kNoRank = ~uint32_t{0};

uint64_t mix(uint64_t x) {
  const auto wide = static_cast<unsigned __int128>(x ^ 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
  return static_cast<uint64_t>(wide) ^ static_cast<uint64_t>(wide >> 64);
}

uint64_t hash_bytes(std::string_view text) {
  uint64_t hash = text.size();
  while (text.size() >= 8) {
    uint64_t word;
    std::memcpy(&word, text.data(), 8);
    hash = mix(hash ^ word);
    text.remove_prefix(8);
  }
  uint64_t tail = 0;
  for (const char c : text) tail = tail << 8 | static_cast<uint8_t>(c);
  return mix(hash ^ tail);
}

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

Bpe::Bpe(const BpeVocabulary& vocabulary, const std::vector<std::string>& bytes,
         const std::string& where)
    : bytes_(bytes) {
  std::unordered_map<std::string_view, int32_t> id_of;
  id_of.reserve(vocabulary.tokens.size());
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (!vocabulary.tokens[id].empty())
      id_of.emplace(vocabulary.tokens[id], static_cast<int32_t>(id));
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = id_of.find(to_byte_letters(std::string(1, static_cast<char>(byte))));
    byte_id_[static_cast<size_t>(byte)] = found == id_of.end() ? -1 : found->second;
  }
  merges_.resize(std::bit_ceil(2 * vocabulary.merges.size() + 2));
  merge_mask_ = merges_.size() - 1;
  std::string joined;
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const auto& [left, right] = vocabulary.merges[rank];
    joined = left + right;
    int32_t ids[3];
    const std::string* parts[3] = {&left, &right, &joined};
    for (int i = 0; i < 3; ++i) {
      const auto found = id_of.find(*parts[i]);
      if (found == id_of.end())
        throw Error(ErrorKind::format,
                    str("merge ", rank, " ('", left, "' '", right, "') needs the token '",
                        *parts[i], "', which the vocabulary does not have"),
                    where);
      ids[i] = found->second;
    }
    uint64_t slot = mix(pair_of(ids[0], ids[1])) & merge_mask_;
    while (merges_[slot].id >= 0 && merges_[slot].pair != pair_of(ids[0], ids[1]))
      slot = (slot + 1) & merge_mask_;
    merges_[slot] = {pair_of(ids[0], ids[1]), static_cast<uint32_t>(rank),
                     ids[2]};  // a repeated pair: the last wins
  }
  put_words(bytes);
  whole_.assign(bytes.size(), 0);
  std::vector<int32_t> ids;
  for (size_t id = 0; id < bytes.size(); ++id) {
    const std::string& word = bytes[id];
    if (word.empty() || find(word) != static_cast<int32_t>(id)) continue;
    ids.clear();
    if (!vocabulary.ignore_merges) encode(word, ids, nullptr);
    whole_[id] =
        vocabulary.ignore_merges || (ids.size() == 1 && ids[0] == static_cast<int32_t>(id));
  }
}

void Bpe::put_words(const std::vector<std::string>& bytes) {
  words_.assign(std::bit_ceil(2 * bytes.size() + 2), -1);
  word_mask_ = words_.size() - 1;
  for (size_t id = 0; id < bytes.size(); ++id) {
    if (bytes[id].empty()) continue;
    uint64_t slot = hash_bytes(bytes[id]) & word_mask_;
    while (words_[slot] >= 0 && bytes_[static_cast<size_t>(words_[slot])] != bytes[id])
      slot = (slot + 1) & word_mask_;
    if (words_[slot] < 0) words_[slot] = static_cast<int32_t>(id);
  }
}

int32_t Bpe::find(std::string_view bytes) const {
  for (uint64_t slot = hash_bytes(bytes) & word_mask_;; slot = (slot + 1) & word_mask_) {
    const int32_t id = words_[slot];
    if (id < 0 || bytes_[static_cast<size_t>(id)] == bytes) return id;
  }
}

const Bpe::Merge* Bpe::merge(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  for (uint64_t slot = mix(pair) & merge_mask_;; slot = (slot + 1) & merge_mask_) {
    const Merge& entry = merges_[slot];
    if (entry.pair == pair && entry.id >= 0) return &entry;
    if (entry.id < 0) return nullptr;
  }
}

void Bpe::merge_short(std::vector<Symbol>& symbols) const {
  // Rank and result of the pair that begins at each symbol; recomputed only beside a merge.
  uint32_t rank[kShortWord];
  int32_t result[kShortWord];
  size_t count = symbols.size();
  const auto look = [&](size_t i) {
    const Merge* entry = i + 1 < count ? merge(symbols[i].id, symbols[i + 1].id) : nullptr;
    rank[i] = entry ? entry->rank : kNoRank;
    result[i] = entry ? entry->id : -1;
  };
  for (size_t i = 0; i < count; ++i) look(i);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i < count; ++i) {
      if (rank[i] < rank[best]) best = i;
    }
    if (rank[best] == kNoRank) break;
    symbols[best].id = result[best];
    symbols[best].length += symbols[best + 1].length;
    for (size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      rank[i] = rank[i + 1];
      result[i] = result[i + 1];
    }
    --count;
    look(best);
    if (best > 0) look(best - 1);
  }
  symbols.resize(count);
}

void Bpe::merge_long(std::vector<Symbol>& symbols) const {
  struct Candidate {
    uint32_t rank;
    int32_t at;
    uint64_t pair;
    bool operator<(const Candidate& other) const {  // for a max-heap: the worst is the smallest
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  std::vector<Candidate> first;
  const auto candidate = [&](int32_t at, auto&& put) {
    const int32_t next = symbols[static_cast<size_t>(at)].next;
    if (next < 0) return;
    const int32_t left = symbols[static_cast<size_t>(at)].id,
                  right = symbols[static_cast<size_t>(next)].id;
    if (const Merge* entry = merge(left, right)) put(Candidate{entry->rank, at, entry->pair});
  };
  for (size_t i = 0; i < symbols.size(); ++i) {
    candidate(static_cast<int32_t>(i), [&](Candidate c) { first.push_back(c); });
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(first));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(top.at)];
    if (left.length == 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (pair_of(left.id, right.id) != top.pair) continue;
    left.id = merge(left.id, right.id)->id;
    left.length += right.length;
    right.length = 0;
    left.next = right.next;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = top.at;
    const auto put = [&](Candidate c) { queue.push(c); };
    candidate(top.at, put);
    if (left.previous >= 0) candidate(left.previous, put);
  }
  size_t kept = 0;
  for (const Symbol& symbol : symbols) {
    if (symbol.length > 0) symbols[kept++] = symbol;
  }
  symbols.resize(kept);
}

void Bpe::encode(std::string_view word, std::vector<int32_t>& ids,
                 std::vector<uint32_t>* lengths) const {
  if (word.empty()) return;
  const int32_t direct = find(word);
  if (direct >= 0 && !whole_.empty() && whole_[static_cast<size_t>(direct)]) {
    ids.push_back(direct);
    if (lengths) lengths->push_back(static_cast<uint32_t>(word.size()));
    return;
  }
  thread_local std::vector<Symbol> symbols;
  symbols.clear();
  uint32_t lost = 0;
  for (const char c : word) {
    const int32_t id = byte_id_[static_cast<uint8_t>(c)];
    if (id < 0) {
      ++lost;
      continue;
    }
    const auto at = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, lost + 1, at - 1, at + 1});
    lost = 0;
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;
  if (symbols.size() <= kShortWord) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
  for (const Symbol& symbol : symbols) {
    ids.push_back(symbol.id);
    if (lengths) lengths->push_back(symbol.length);
  }
}

std::vector<int32_t> Bpe::encode_reference(std::string_view word) const {
  std::vector<int32_t> ids;
  for (const char c : word) {
    if (byte_id_[static_cast<uint8_t>(c)] >= 0) ids.push_back(byte_id_[static_cast<uint8_t>(c)]);
  }
  for (;;) {
    const Merge* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const Merge* entry = merge(ids[i], ids[i + 1]);
      if (entry && (!best || entry->rank < best->rank)) {
        best = entry;
        at = i;
      }
    }
    if (!best) break;
    ids[at] = best->id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  return ids;
}

}  // namespace smidgen
