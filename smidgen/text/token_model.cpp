#include "smidgen/text/token_model.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "smidgen/base/error.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

class WordLevel final : public TokenModel {
 public:
  WordLevel(const TokenModelSpec& spec, const std::string& where)
      : table_(spec.tokens), unknown_(spec.unknown ? table_.find(*spec.unknown) : -1), where_(where) {}

  void encode(std::string_view word, std::vector<int32_t>& ids,
              std::vector<uint32_t>* lengths) const override {
    const int32_t id = table_.find(word);
    if (id < 0 && unknown_ < 0)
      throw Error(ErrorKind::data,
                  str("the word '", word, "' is not in the vocabulary, which has no unknown token"),
                  where_);
    ids.push_back(id < 0 ? unknown_ : id);
    if (lengths) lengths->push_back(static_cast<uint32_t>(word.size()));
  }

 private:
  TokenTable table_;
  int32_t unknown_;
  std::string where_;
};

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::unique_ptr<TokenModel> make_word_level(const TokenModelSpec& spec, const std::string& where) {
  return std::make_unique<WordLevel>(spec, where);
}

std::unique_ptr<TokenModel> make_token_model(const TokenModelSpec& spec, bool raw_bytes,
                                             const std::string& where) {
  switch (spec.kind) {
    case TokenModelSpec::Kind::bpe:
      return make_bpe(spec, raw_bytes, where);
    case TokenModelSpec::Kind::word_piece:
      return make_word_piece(spec, where);
    case TokenModelSpec::Kind::unigram:
      return make_unigram(spec, where);
    case TokenModelSpec::Kind::word_level:
      break;
  }
  return make_word_level(spec, where);
}

std::string byte_token(uint8_t byte) {
  const char* digits = "0123456789ABCDEF";
  return str("<0x", digits[byte >> 4], digits[byte & 15], ">");
}

int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = hex(token[3]), low = hex(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::array<int32_t, 256> byte_tokens(const TokenTable& table) {
  std::array<int32_t, 256> ids{};
  for (size_t byte = 0; byte < 256; ++byte)
    ids[byte] = table.find(byte_token(static_cast<uint8_t>(byte)));
  return ids;
}

ScoredMerges merges_of_scores(const TokenModelSpec& spec, const TokenTable& table) {
  ScoredMerges out;
  std::vector<double> order;
  for (const double score : spec.scores) {
    if (!std::isnan(score)) order.push_back(score);
  }
  std::sort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  std::unordered_map<std::string_view, int32_t> characters;
  const auto usable = [&](int32_t id) {
    return id >= 0 && !std::isnan(spec.scores[static_cast<size_t>(id)]);
  };
  const auto part = [&](std::string_view text) -> std::optional<int32_t> {
    const int32_t id = table.find(text);
    if (usable(id)) return id;
    if (utf8_step(text).length != text.size()) return {};
    const auto [at, is_new] =
        characters.emplace(text, -1 - static_cast<int32_t>(out.characters.size()));
    if (is_new) out.characters.emplace_back(text);
    return at->second;
  };
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const std::string_view piece = spec.tokens[id];
    if (piece.empty() || !usable(static_cast<int32_t>(id))) continue;
    const auto rank = static_cast<uint32_t>(
        std::lower_bound(order.begin(), order.end(), spec.scores[id], std::greater<>()) -
        order.begin());
    for (size_t at = utf8_step(piece).length; at < piece.size();
         at += utf8_step(piece.substr(at)).length) {
      const auto left = part(piece.substr(0, at));
      if (!left) continue;
      if (const auto right = part(piece.substr(at)))
        out.merges.push_back({*left, *right, static_cast<int32_t>(id), rank});
    }
  }
  std::stable_sort(out.merges.begin(), out.merges.end(),
                   [](const auto& a, const auto& b) { return a.rank < b.rank; });
  return out;
}

}  // namespace smidgen
