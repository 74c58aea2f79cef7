#include "smidgen/text/post_processor.h"

#include <algorithm>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

using Pieces = std::vector<TemplatePiece>;

constexpr int kMaxNesting = 16;
constexpr size_t kMaxPieces = 4096;

Pieces read_template(const JsonNode& node) {
  const JsonNode tokens = node.child("special_tokens");
  Pieces pieces;
  for (const JsonNode& piece : node.children("single")) {
    TemplatePiece out;
    if (piece.find("Sequence")) {
      out.is_text = true;
    } else {
      out.name = piece.child("SpecialToken").text("id");
      const JsonNode token = tokens.child(out.name);
      for (const Json& id : token.list("ids"))
        out.ids.push_back(
            read_token_id(id, str("the special token '", out.name, "'"), tokens.where()));
    }
    pieces.push_back(std::move(out));
  }
  if (std::count_if(pieces.begin(), pieces.end(), [](const auto& p) { return p.is_text; }) != 1)
    throw Error(ErrorKind::format, "a template for one text that does not name it once",
                node.where());
  return pieces;
}

// BERT's and RoBERTa's: one token before, one behind.
Pieces read_pair(const JsonNode& node) {
  Pieces pieces;
  for (const char* key : {"cls", "", "sep"}) {
    TemplatePiece out;
    out.is_text = !*key;
    if (*key) {
      const Json& pair = node.list(key);
      if (pair.size() != 2 || !pair[0].is_string())
        throw Error(ErrorKind::format, str("'", key, "' should be a token and its id"),
                    node.where());
      out.name = pair[0].get<std::string>();
      out.ids.push_back(read_token_id(pair[1], out.name, node.where()));
    }
    pieces.push_back(std::move(out));
  }
  return pieces;
}

void add(const JsonNode& node, Pieces& all, int depth) {
  if (depth > kMaxNesting) node.refuse("post-processors nested this deep", "a plain Sequence");
  const std::string type = node.type();
  if (type == "Sequence") {
    for (const JsonNode& item : node.children("processors")) add(item, all, depth + 1);
    return;
  }
  if (type == "ByteLevel") return;
  Pieces outer;
  if (type == "TemplateProcessing") {
    outer = read_template(node);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    outer = read_pair(node);
  } else {
    node.refuse(
        str("the post-processor '", type, "'"),
        "known: Sequence, ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing");
  }
  if (!all.empty()) {
    const auto text =
        std::find_if(outer.begin(), outer.end(), [](const auto& p) { return p.is_text; });
    const auto at = outer.erase(text);
    outer.insert(at, all.begin(), all.end());
  }
  if (outer.size() > kMaxPieces) node.refuse("a template this long", "");
  all = std::move(outer);
}

}  // namespace

std::vector<TemplatePiece> read_post_processor(const JsonNode& node) {
  Pieces pieces;
  add(node, pieces, 0);
  return pieces;
}

Json bos_eos_template(const TokenizerSpec& spec, bool bos, bool eos) {
  bos = bos && spec.special.bos;
  eos = eos && spec.special.eos;
  if (!bos && !eos) return {};
  Json single = Json::array(), pair = Json::array(), tokens = Json::object();
  const auto put = [&](Json& to, const std::string& name, int type) {
    to.push_back({{"SpecialToken", {{"id", name}, {"type_id", type}}}});
    Json id;
    for (size_t i = 0; i < spec.model.tokens.size(); ++i) {
      if (spec.model.tokens[i] == name) id = i;
    }
    for (const AddedToken& token : spec.added) {
      if (token.content == name) id = token.id;
    }
    tokens[name] = {{"id", name}, {"ids", Json::array({id})}, {"tokens", Json::array({name})}};
  };
  const auto text = [&](Json& to, const char* name, int type) {
    if (bos && type == 0) put(to, *spec.special.bos, type);
    to.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
    if (eos) put(to, *spec.special.eos, type);
  };
  text(single, "A", 0);
  text(pair, "A", 0);
  text(pair, "B", 1);
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", tokens}};
}

}  // namespace smidgen
