// tokenizer.json and its two companions into a TokenizerSpec. The small parts are taken as they
// are; building a Tokenizer reads them.
#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/text/json_node.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

using Kind = TokenModelSpec::Kind;

void read_merges(const JsonNode& model, TokenModelSpec& out) {
  for (const Json& item : model.list("merges")) {
    const size_t rank = out.merges.size();
    if (item.is_string()) {
      out.merges.push_back(split_merge(item.get_ref<const std::string&>(), rank, model.where()));
    } else if (item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string()) {
      out.merges.emplace_back(item[0].get<std::string>(), item[1].get<std::string>());
    } else {
      throw Error(ErrorKind::format, str("merge ", rank, " is not two tokens: ", item.dump()),
                  model.where());
    }
  }
}

// Unigram's list of [token, score]; an id is a place in it.
void read_scores(const JsonNode& model, TokenModelSpec& out) {
  const Json& list = model.list("vocab");
  if (list.size() >= size_t{kMaxTokenId})
    throw Error(ErrorKind::format, str("a vocabulary of ", list.size(), " ids"), model.where());
  for (const Json& item : list) {
    if (!item.is_array() || item.size() != 2 || !item[0].is_string() || !item[1].is_number())
      throw Error(ErrorKind::format,
                  str("vocab[", out.tokens.size(), "] is not a token and a score: ", item.dump()),
                  model.where());
    out.tokens.push_back(item[0].get<std::string>());
    out.scores.push_back(item[1].get<double>());
  }
  if (!model.find("unk_id")) return;
  const int32_t unknown = read_token_id(model.need("unk_id"), "unk_id", model.where());
  if (static_cast<size_t>(unknown) >= out.tokens.size())
    throw Error(ErrorKind::format,
                str("unk_id is ", unknown, ", but there are ", out.tokens.size(), " tokens"),
                model.where());
  out.unknown = out.tokens[static_cast<size_t>(unknown)];
}

Kind kind_of(const JsonNode& model) {
  // Files of old libraries name no type; what they hold tells it.
  const std::string type = model.text("type", model.find("merges")   ? "BPE"
                                              : model.find("unk_id") ? "Unigram"
                                              : model.find("max_input_chars_per_word")
                                                  ? "WordPiece"
                                                  : "WordLevel");
  if (type == "BPE") return Kind::bpe;
  if (type == "WordPiece") return Kind::word_piece;
  if (type == "Unigram") return Kind::unigram;
  if (type == "WordLevel") return Kind::word_level;
  model.refuse(str("the tokenizer model '", type, "'"),
               "known: BPE, WordPiece, Unigram, WordLevel");
}

void read_model(const JsonNode& model, TokenModelSpec& out) {
  out.kind = kind_of(model);
  if (out.kind == Kind::unigram) {
    out.byte_fallback = model.flag("byte_fallback", false);
    return read_scores(model, out);
  }
  read_vocabulary(model.child("vocab"), out);
  if (model.find("unk_token")) out.unknown = model.text("unk_token");
  out.subword_prefix = model.text("continuing_subword_prefix",
                                  out.kind == Kind::word_piece ? "##" : "");
  if (out.kind == Kind::word_piece) {
    out.max_word_characters = model.integer("max_input_chars_per_word", 100);
    if (!out.unknown) out.unknown = "[UNK]";
  }
  if (out.kind != Kind::bpe) return;
  if (const Json* dropout = model.find("dropout"); dropout && *dropout != 0.0)
    model.refuse(str("BPE with dropout ", dropout->dump()),
                 "the same text would not always give the same ids");
  // An unknown token that is no token has no effect in files whose vocabulary knows every character.
  if (out.unknown && out.unknown->empty()) out.unknown.reset();
  out.word_suffix = model.text("end_of_word_suffix", "");
  out.ignore_merges = model.flag("ignore_merges", false);
  out.fuse_unknown = model.flag("fuse_unk", false);
  out.byte_fallback = model.flag("byte_fallback", false);
  read_merges(model, out);
}

void read_added(const JsonNode& root, TokenizerSpec& spec) {
  if (!root.find("added_tokens")) return;
  for (const JsonNode& item : root.children("added_tokens")) {
    AddedToken token;
    token.content = item.text("content");
    token.id = read_token_id(item.need("id"), str("the added token '", token.content, "'"),
                             item.where());
    token.special = item.flag("special", false);
    token.normalized = item.flag("normalized", !token.special);
    token.single_word = item.flag("single_word", false);
    token.lstrip = item.flag("lstrip", false);
    token.rstrip = item.flag("rstrip", false);
    spec.added.push_back(std::move(token));
  }
}

// A special token's name: a string, or the object of an added token.
std::optional<std::string> name_of(const Json& config, const std::string& key,
                                   const std::string& where) {
  if (!config.is_object()) return {};
  const auto at = config.find(key);
  if (at == config.end() || at->is_null()) return {};
  if (at->is_string()) return at->get<std::string>();
  if (at->is_object() && at->contains("content") && (*at)["content"].is_string())
    return (*at)["content"].get<std::string>();
  throw Error(ErrorKind::format, str("'", key, "' should be a token, not ", at->type_name()),
              where);
}

}  // namespace

std::pair<std::string, std::string> split_merge(std::string_view both, size_t rank,
                                                const std::string& where) {
  const size_t space = both.find(' ');
  if (space == std::string_view::npos || both.find(' ', space + 1) != std::string_view::npos)
    throw Error(ErrorKind::format, str("merge ", rank, " is not two tokens: '", both, "'"), where);
  return {std::string(both.substr(0, space)), std::string(both.substr(space + 1))};
}

void read_vocabulary(const JsonNode& vocabulary, TokenModelSpec& out) {
  // Ids may have gaps, and a wild one must not decide how much memory is taken.
  const int64_t most = static_cast<int64_t>(vocabulary.json().size()) * 4 + 65536;
  for (const auto& [token, value] : vocabulary.json().items()) {
    const int32_t id = read_token_id(value, str("the token '", token, "'"), vocabulary.where());
    if (id >= most)
      throw Error(ErrorKind::format,
                  str("the token '", token, "' has the id ", id, " in a vocabulary of ",
                      vocabulary.json().size(), " tokens"),
                  vocabulary.where());
    if (token.empty())
      throw Error(ErrorKind::format, str("token ", id, " is empty"), vocabulary.where());
    if (static_cast<size_t>(id) >= out.tokens.size())
      out.tokens.resize(static_cast<size_t>(id) + 1);
    std::string& place = out.tokens[static_cast<size_t>(id)];
    if (!place.empty())
      throw Error(ErrorKind::format,
                  str("id ", id, " stands for two tokens, '", place, "' and '", token, "'"),
                  vocabulary.where());
    place = token;
  }
}

SpecialTokens read_special_tokens(const Json& config, const Json& map, const std::string& where) {
  const auto role = [&](const char* key) {
    auto name = name_of(config, key, str("tokenizer_config.json beside ", where));
    return name ? name : name_of(map, key, str("special_tokens_map.json beside ", where));
  };
  return {role("bos_token"), role("eos_token"), role("pad_token"), role("unk_token")};
}

TokenizerSpec read_tokenizer_json(const Json& tokenizer, const Json& config, const Json& map,
                                  const std::string& where) {
  TokenizerSpec spec;
  spec.where = where;
  const JsonNode root(tokenizer, "", where);
  read_model(root.child("model"), spec.model);
  read_added(root, spec);
  const auto part = [&](const char* key) { return root.find(key) ? *root.find(key) : Json(); };
  spec.normalizer = part("normalizer");
  spec.pre_tokenizer = part("pre_tokenizer");
  spec.post_processor = part("post_processor");
  spec.decoder = part("decoder");
  spec.special = read_special_tokens(config, map, where);
  return spec;
}

}  // namespace smidgen
