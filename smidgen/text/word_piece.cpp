// WordPiece: the longest token that the rest of the word begins with, again and again (Wu et al.
// 2016, arXiv:1609.08144); a word with no such cut is one unknown token.
#include "smidgen/base/error.h"
#include "smidgen/text/token_model.h"
#include "smidgen/text/trie.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

std::vector<std::pair<std::string_view, int32_t>> keys_of(const TokenModelSpec& spec,
                                                          std::string_view prefix) {
  std::vector<std::pair<std::string_view, int32_t>> keys;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const std::string_view token = spec.tokens[id];
    if (token.size() > prefix.size() && token.starts_with(prefix))
      keys.emplace_back(token.substr(prefix.size()), static_cast<int32_t>(id));
  }
  return keys;
}

class WordPiece final : public TokenModel {
 public:
  WordPiece(const TokenModelSpec& spec, const std::string& where)
      : first_(keys_of(spec, "")),
        later_(keys_of(spec, spec.subword_prefix)),
        most_(spec.max_word_characters),
        where_(where) {
    unknown_ = spec.unknown ? TokenTable(spec.tokens).find(*spec.unknown) : -1;
  }

  void encode(std::string_view word, std::vector<int32_t>& ids,
              std::vector<uint32_t>* lengths) const override {
    const size_t before = ids.size(), lengths_before = lengths ? lengths->size() : 0;
    size_t at = too_long(word) ? 0 : cut(word, ids, lengths);
    if (at == word.size()) return;
    ids.resize(before);
    if (lengths) lengths->resize(lengths_before);
    if (unknown_ < 0)
      throw Error(ErrorKind::data,
                  str("the word '", word.substr(0, 40), "' cannot be cut into tokens, and the "
                      "vocabulary does not have its unknown token"),
                  where_);
    ids.push_back(unknown_);
    if (lengths) lengths->push_back(static_cast<uint32_t>(word.size()));
  }

 private:
  bool too_long(std::string_view word) const {
    int64_t characters = 0;
    for (const char c : word) characters += !is_utf8_continuation(c);
    return characters > most_;
  }

  // Bytes that could be cut.
  size_t cut(std::string_view word, std::vector<int32_t>& ids,
             std::vector<uint32_t>* lengths) const {
    size_t at = 0;
    while (at < word.size()) {
      size_t length = 0;
      int32_t id = -1;
      (at == 0 ? first_ : later_).prefixes(word.substr(at), [&](size_t found, int32_t value) {
        length = found;
        id = value;
      });
      if (id < 0) break;
      ids.push_back(id);
      if (lengths) lengths->push_back(static_cast<uint32_t>(length));
      at += length;
    }
    return at;
  }

  Trie first_, later_;
  int64_t most_;
  int32_t unknown_ = -1;
  std::string where_;
};

}  // namespace

std::unique_ptr<TokenModel> make_word_piece(const TokenModelSpec& spec, const std::string& where) {
  return std::make_unique<WordPiece>(spec, where);
}

}  // namespace smidgen
