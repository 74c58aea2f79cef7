#include "smidgen/delta/merge/tokenizer_spec.h"

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

using Token = TokenizerSpec::Token;

void set_source(TokenizerSpec& spec, const YamlNode& node, RecipeReading& reading) {
  if (node.kind == YamlNode::Kind::scalar && node.text == "union") {
    spec.source = TokenizerSpec::Source::union_of_all;
  } else if (node.kind == YamlNode::Kind::scalar && node.text == "base") {
    spec.source = TokenizerSpec::Source::base;
  } else {
    spec.source = TokenizerSpec::Source::model;
    spec.model = read_model_ref(node, reading);
  }
}

void read_kind(Token& token, const YamlNode& node, RecipeReading& reading) {
  const RecipeMap map(node, "a token's source", {"kind", "model", "token", "token_id"}, reading);
  const YamlNode& kind = map.need("kind");
  const std::string word = text_of(kind, reading, "kind");
  if (word == "zero") {
    token.from = Token::From::zero;
    return;
  }
  if (word != "model_token")
    bad_value(kind, reading, str("there is no kind of source '", word, "'"),
              did_you_mean(word, {"zero", "model_token"}, "known: zero, model_token"));
  token.from = Token::From::other_token;
  token.model = read_model_ref(map.need("model"), reading);
  const YamlNode *text = map.find("token"), *id = map.find("token_id");
  if (!text == !id) bad_value(node, reading, "a source needs exactly one of [token] and [token_id]");
  if (text) token.other = text_of(*text, reading, "token");
  if (id) {
    token.other_id = whole_of(*id, reading, "token_id");
    if (*token.other_id < 0) bad_value(*id, reading, "token_id is negative");
  }
}

bool has_key(const YamlNode& node, std::string_view name) {
  for (const auto& [key, value] : node.entries) {
    if (key.text == name) return true;
  }
  return false;
}

Token read_token(const YamlNode& key, const YamlNode& node, RecipeReading& reading) {
  const RecipeMap map(node, str("the token '", key.text, "'"), {"source", "force"}, reading);
  Token token{.token = key.text, .place = key.place(reading.file)};
  if (const YamlNode* source = map.find("source")) {
    if (source->kind == YamlNode::Kind::map &&
        (has_key(*source, "kind") || !has_key(*source, "model"))) {
      read_kind(token, *source, reading);
    } else {
      token.from = Token::From::same_token;
      token.model = read_model_ref(*source, reading);
    }
  }
  if (const YamlNode* force = map.find("force")) token.force = flag_of(*force, reading, "force");
  return token;
}

}  // namespace

TokenizerSpec read_tokenizer_source(const YamlNode& node, RecipeReading& reading) {
  TokenizerSpec spec{.place = node.place(reading.file)};
  set_source(spec, node, reading);
  return spec;
}

TokenizerSpec read_tokenizer_spec(const YamlNode& node, RecipeReading& reading) {
  const RecipeMap map(node, "tokenizer", {"source", "tokens", "pad_to_multiple_of"}, reading);
  TokenizerSpec spec{.place = map.place()};
  if (const YamlNode* source = map.find("source")) set_source(spec, *source, reading);
  if (const YamlNode* tokens = map.find("tokens")) {
    if (tokens->kind != YamlNode::Kind::map) bad_value(*tokens, reading, "tokens is not a map");
    for (const auto& [key, value] : tokens->entries)
      spec.tokens.push_back(read_token(key, value, reading));
  }
  if (const YamlNode* multiple = map.find("pad_to_multiple_of")) {
    spec.pad_to_multiple_of = whole_of(*multiple, reading, "pad_to_multiple_of");
    if (*spec.pad_to_multiple_of < 1)
      bad_value(*multiple, reading, "pad_to_multiple_of is not positive");
  }
  return spec;
}

}  // namespace smidgen
