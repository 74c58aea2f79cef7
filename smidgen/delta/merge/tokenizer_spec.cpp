#include "smidgen/delta/merge/tokenizer_spec.h"

#include "smidgen/base/error.h"

namespace smidgen {

namespace {

using Token = MergedTokenizer::Token;

constexpr int64_t kMostNeighbours = 1024;

void set_source(MergedTokenizer& spec, const YamlNode& node, RecipeReading& reading) {
  if (node.kind == YamlNode::Kind::scalar && node.text == "union") {
    spec.source = MergedTokenizer::Source::union_of_all;
  } else if (node.kind == YamlNode::Kind::scalar && node.text == "base") {
    spec.source = MergedTokenizer::Source::base;
  } else {
    spec.source = MergedTokenizer::Source::model;
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
  if (!text == !id)
    bad_value(node, reading, "a source needs exactly one of [token] and [token_id]");
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

TransplantOptions read_transplant(const YamlNode& node, RecipeReading& reading) {
  using enum TransplantOptions::Method;
  constexpr std::pair<const char*, TransplantOptions::Method> kMethods[] = {{"nearest", nearest},
                                                                            {"pursuit", pursuit},
                                                                            {"subword", subword},
                                                                            {"mean", mean},
                                                                            {"zero", zero}};
  TransplantOptions options;
  const auto set_method = [&](const YamlNode& method) {
    const std::string word = text_of(method, reading, "method");
    std::vector<std::string> names;
    for (const auto& [name, value] : kMethods) {
      options.method = value;
      if (word == name) return;
      names.emplace_back(name);
    }
    bad_value(method, reading, str("there is no way '", word, "' to transplant"),
              did_you_mean(word, names, str("known: ", join(names))));
  };
  if (node.kind == YamlNode::Kind::scalar) {
    set_method(node);
    return options;
  }
  const RecipeMap map(node, "transplant", {"method", "neighbours", "cosine"}, reading);
  if (const YamlNode* method = map.find("method")) set_method(*method);
  const YamlNode *count = map.find("neighbours"), *cosine = map.find("cosine");
  if (count && options.method != nearest && options.method != pursuit)
    bad_value(*count, reading, "neighbours are for the methods nearest and pursuit");
  if (cosine && options.method != nearest)
    bad_value(*cosine, reading, "cosine is for the method nearest");
  if (count) {
    options.neighbours = whole_of(*count, reading, "neighbours");
    if (options.neighbours < 1 || options.neighbours > kMostNeighbours)
      bad_value(*count, reading, str("neighbours are 1 to ", kMostNeighbours));
  }
  if (cosine) options.cosine = flag_of(*cosine, reading, "cosine");
  return options;
}

}  // namespace

MergedTokenizer read_tokenizer_source(const YamlNode& node, RecipeReading& reading) {
  MergedTokenizer spec{.place = node.place(reading.file)};
  set_source(spec, node, reading);
  return spec;
}

MergedTokenizer read_tokenizer_spec(const YamlNode& node, RecipeReading& reading) {
  const RecipeMap map(node, "tokenizer", {"source", "tokens", "pad_to_multiple_of", "transplant"},
                      reading);
  MergedTokenizer spec{.place = map.place()};
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
  if (const YamlNode* transplant = map.find("transplant")) {
    spec.transplant = read_transplant(*transplant, reading);
    if (spec.source == MergedTokenizer::Source::union_of_all)
      bad_value(*transplant, reading, "transplant needs the tokenizer of one model",
                "source: base, or source: MODEL, which need not be merged");
    if (!spec.tokens.empty())
      bad_value(*transplant, reading, "tokens and transplant both say where rows come from");
  }
  return spec;
}

}  // namespace smidgen
