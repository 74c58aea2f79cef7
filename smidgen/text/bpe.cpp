#include "smidgen/text/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>

#include "smidgen/base/error.h"
#include "smidgen/text/byte_level.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

constexpr size_t kShortWord = 48;  // symbols; below this a scan per merge is faster than a heap
constexpr uint32_t kNoRank = ~uint32_t{0};

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

Bpe::Bpe(const TokenModelSpec& spec, bool raw_bytes, const std::string& where)
    : tokens_(spec.tokens),
      raw_bytes_(raw_bytes),
      fuse_(spec.fuse_unknown),
      prefix_(spec.subword_prefix),
      suffix_(spec.word_suffix),
      falls_back_(spec.byte_fallback),
      unknown_name_(spec.unknown.value_or("")),
      where_(where) {
  if (spec.unknown) unknown_ = tokens_.find(*spec.unknown);
  fallback_ = byte_tokens(tokens_);
  if (spec.scores.empty()) {
    read_merges(spec, where);
  } else {
    read_scores(spec);
  }
  start_.fill(-1);
  for (size_t byte = 0; byte < (raw_bytes ? 256u : 128u); ++byte) {
    const std::string one(1, static_cast<char>(byte));
    start_[byte] = start_id(one, true, false);
  }
  put_words(spec);
}

void Bpe::put_merge(int32_t left, int32_t right, uint32_t rank, int32_t made) {
  const uint64_t pair = pair_of(left, right);
  uint64_t slot = mix_bits(pair) & merge_mask_;
  while (merges_[slot].id >= 0 && merges_[slot].pair != pair) slot = (slot + 1) & merge_mask_;
  merges_[slot] = {pair, rank, made};  // a repeated pair: the last wins
}

void Bpe::read_merges(const TokenModelSpec& spec, const std::string& where) {
  merges_.resize(std::bit_ceil(2 * spec.merges.size() + 2));
  merge_mask_ = merges_.size() - 1;
  std::string joined;
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto& [left, right] = spec.merges[rank];
    joined = left;
    if (right.size() > prefix_.size()) joined += std::string_view(right).substr(prefix_.size());
    int32_t ids[3];
    const std::string* parts[3] = {&left, &right, &joined};
    for (int i = 0; i < 3; ++i) {
      ids[i] = tokens_.find(*parts[i]);
      if (ids[i] < 0)
        throw Error(ErrorKind::format,
                    str("merge ", rank, " ('", left, "' '", right, "') needs the token '",
                        *parts[i], "', which the vocabulary does not have"),
                    where);
    }
    put_merge(ids[0], ids[1], static_cast<uint32_t>(rank), ids[2]);
  }
}

void Bpe::read_scores(const TokenModelSpec& spec) {
  const ScoredMerges scored = merges_of_scores(spec, tokens_);
  characters_ = TokenTable(scored.characters);
  merges_.resize(std::bit_ceil(2 * scored.merges.size() + 2));
  merge_mask_ = merges_.size() - 1;
  const auto id = [&](int32_t piece) {
    return piece >= 0 ? piece : static_cast<int32_t>(spec.tokens.size()) - 1 - piece;
  };
  for (const auto& merge : scored.merges)
    put_merge(id(merge.left), id(merge.right), merge.rank, merge.made);
}

void Bpe::put_words(const TokenModelSpec& spec) {
  std::vector<std::string> words(spec.tokens.size());
  for (size_t id = 0; id < words.size(); ++id) {
    std::string word = spec.tokens[id];
    if (!spec.ignore_merges && !suffix_.empty()) {
      if (!word.ends_with(suffix_)) continue;
      word.resize(word.size() - suffix_.size());
    }
    // A token outside the byte alphabet can be no word.
    if (raw_bytes_) word = from_byte_letters(word).value_or("");
    words[id] = std::move(word);
  }
  words_ = TokenTable(std::move(words));
  whole_.assign(words_.strings().size(), 0);
  std::vector<int32_t> ids;
  for (size_t id = 0; id < whole_.size(); ++id) {
    const std::string& word = words_.strings()[id];
    if (word.empty() || words_.find(word) != static_cast<int32_t>(id)) continue;
    ids.clear();
    if (!spec.ignore_merges) merge_word(word, ids, nullptr);
    whole_[id] = spec.ignore_merges || (ids.size() == 1 && ids[0] == static_cast<int32_t>(id));
  }
}

int32_t Bpe::start_id(std::string_view character, bool first, bool last) const {
  std::string text = first ? "" : prefix_;
  text += raw_bytes_ ? to_byte_letters(character) : std::string(character);
  if (last) text += suffix_;
  const int32_t id = tokens_.find(text);
  if (id >= 0) return id;
  const int32_t character_id = characters_.find(text);
  return character_id < 0 ? -1 : static_cast<int32_t>(tokens_.strings().size()) + character_id;
}

std::string_view Bpe::start(std::string_view word, std::vector<Symbol>& symbols) const {
  symbols.clear();
  const auto put = [&](int32_t id, size_t length) {
    const auto at = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, static_cast<uint32_t>(length), at - 1, at + 1});
  };
  const bool plain = prefix_.empty() && suffix_.empty();
  size_t lost = 0, unknown = 0;  // bytes left out, and bytes of unknown characters, just before
  for (size_t at = 0; at < word.size();) {
    const auto byte = static_cast<uint8_t>(word[at]);
    const bool one = raw_bytes_ || byte < 0x80;
    const size_t length = one ? 1 : utf8_step(word.substr(at)).length;
    const std::string_view character = word.substr(at, length);
    const int32_t id =
        plain && one ? start_[byte] : start_id(character, at == 0, at + length == word.size());
    at += length;
    if (id >= 0) {
      if (unknown) put(unknown_, unknown);
      put(id, length + lost);
      unknown = lost = 0;
    } else if (falls_back_ && std::all_of(character.begin(), character.end(), [&](char c) {
                 return fallback_[static_cast<uint8_t>(c)] >= 0;
               })) {
      // Unknown characters that wait stay behind, as in tokenizers.
      for (const char c : character) put(fallback_[static_cast<uint8_t>(c)], 1);
    } else if (unknown_name_.empty()) {
      lost += length;
    } else if (unknown_ < 0) {
      return character;
    } else {
      if (unknown && !fuse_) {
        put(unknown_, unknown);
        unknown = 0;
      }
      unknown += length;
    }
  }
  if (unknown) put(unknown_, unknown);
  if (!symbols.empty()) symbols.back().next = -1;
  return {};
}

const Bpe::Merge* Bpe::merge(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  for (uint64_t slot = mix_bits(pair) & merge_mask_;; slot = (slot + 1) & merge_mask_) {
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
  const int32_t direct = words_.find(word);
  if (direct >= 0 && whole_[static_cast<size_t>(direct)]) {
    ids.push_back(direct);
    if (lengths) lengths->push_back(static_cast<uint32_t>(word.size()));
    return;
  }
  const std::string_view unknown = merge_word(word, ids, lengths);
  if (!unknown.empty())
    throw Error(ErrorKind::data,
                str("'", utf8_lossy(unknown),
                    "' is not in the vocabulary, and neither is its "
                    "unknown token '",
                    unknown_name_, "'"),
                where_);
}

std::string_view Bpe::merge_word(std::string_view word, std::vector<int32_t>& ids,
                                 std::vector<uint32_t>* lengths) const {
  thread_local std::vector<Symbol> symbols;
  const std::string_view unknown = start(word, symbols);
  if (!unknown.empty()) return unknown;
  if (symbols.size() <= kShortWord) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
  finish(symbols, word, ids, lengths);
  return {};
}

// A character that only scored merges know, and that took part in none, is unknown after all.
void Bpe::finish(const std::vector<Symbol>& symbols, std::string_view word,
                 std::vector<int32_t>& ids, std::vector<uint32_t>* lengths) const {
  const auto put = [&](int32_t id, uint32_t length) {
    ids.push_back(id);
    if (lengths) lengths->push_back(length);
  };
  size_t at = 0;
  for (const Symbol& symbol : symbols) {
    const std::string_view text = word.substr(at, symbol.length);
    at += symbol.length;
    if (static_cast<size_t>(symbol.id) < tokens_.strings().size()) {
      put(symbol.id, symbol.length);
    } else if (falls_back_ && std::all_of(text.begin(), text.end(), [&](char c) {
                 return fallback_[static_cast<uint8_t>(c)] >= 0;
               })) {
      for (const char c : text) put(fallback_[static_cast<uint8_t>(c)], 1);
    } else if (unknown_ >= 0) {
      put(unknown_, symbol.length);
    }
  }
}

std::vector<int32_t> Bpe::encode_reference(std::string_view word) const {
  std::vector<Symbol> symbols;
  start(word, symbols);
  for (;;) {
    const Merge* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const Merge* entry = merge(symbols[i].id, symbols[i + 1].id);
      if (entry && (!best || entry->rank < best->rank)) {
        best = entry;
        at = i;
      }
    }
    if (!best) break;
    symbols[at].id = best->id;
    symbols[at].length += symbols[at + 1].length;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  std::vector<int32_t> ids;
  finish(symbols, word, ids, nullptr);
  return ids;
}

std::unique_ptr<TokenModel> make_bpe(const TokenModelSpec& spec, bool raw_bytes,
                                     const std::string& where) {
  return std::make_unique<Bpe>(spec, raw_bytes, where);
}

}  // namespace smidgen
