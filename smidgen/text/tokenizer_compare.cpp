#include "smidgen/text/tokenizer_compare.h"

#include "smidgen/base/str.h"

namespace smidgen {
namespace {

std::string kind_of(const Tokenizer& tokenizer) {
  switch (tokenizer.spec().model.kind) {
    case TokenModelSpec::Kind::bpe:
      return tokenizer.spec().model.scores.empty() ? "BPE" : "SentencePiece BPE";
    case TokenModelSpec::Kind::word_piece:
      return "WordPiece";
    case TokenModelSpec::Kind::unigram:
      return "Unigram";
    case TokenModelSpec::Kind::word_level:
      return "WordLevel";
  }
  return {};
}

std::string type_of(const Json& part) {
  if (!part.is_object()) return "none";
  const auto type = part.find("type");
  return type != part.end() && type->is_string() ? type->get<std::string>() : "unknown";
}

// The order of keys means nothing.
bool same_part(const Json& a, const Json& b) {
  return nlohmann::json::parse(a.dump(-1, ' ', false, Json::error_handler_t::replace)) ==
         nlohmann::json::parse(b.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace

std::vector<std::string> tokenizer_differences(const Tokenizer& one, const Tokenizer& other) {
  std::vector<std::string> lines;
  const auto part = [&](const char* name, const Json& a, const Json& b) {
    if (same_part(a, b)) return;
    const std::string first = type_of(a), second = type_of(b);
    lines.push_back(first == second ? str("its ", name, " (", second, ") has other settings")
                                    : str("its ", name, " is ", second, ", not ", first));
  };
  if (kind_of(one) != kind_of(other))
    lines.push_back(str("it is ", kind_of(other), ", not ", kind_of(one)));
  part("normaliser", one.spec().normalizer, other.spec().normalizer);
  part("pre-tokeniser", one.spec().pre_tokenizer, other.spec().pre_tokenizer);
  std::vector<std::string> moved;
  for (const AddedToken& token : one.spec().added) {
    if (!token.special) continue;
    const std::optional<int32_t> id = other.find(token.content);
    if (id && other.is_special(*id) && *id != token.id)
      moved.push_back(str(token.content, " (", *id, ", not ", token.id, ")"));
  }
  if (!moved.empty()) lines.push_back(str("special tokens with other ids: ", join(moved, ", ", 5)));
  return lines;
}

}  // namespace smidgen
