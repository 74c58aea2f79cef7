// A Tokenizer as the files that Hugging Face's libraries load.
#include <algorithm>
#include <cmath>

#include "smidgen/base/str.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/token_model.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

using Kind = TokenModelSpec::Kind;

Json added_json(const AddedToken& token) {
  return {{"id", token.id},          {"content", token.content}, {"single_word", token.single_word},
          {"lstrip", token.lstrip},  {"rstrip", token.rstrip},   {"normalized", token.normalized},
          {"special", token.special}};
}

Json vocabulary_json(const TokenModelSpec& model) {
  Json vocabulary = Json::object();
  for (size_t id = 0; id < model.tokens.size(); ++id) {
    // ordered_json looks for the key on every insertion by name; the tokens are known to differ.
    if (!model.tokens[id].empty())
      vocabulary.get_ref<Json::object_t&>()
          .std::vector<std::pair<const std::string, Json>>::emplace_back(model.tokens[id], id);
  }
  return vocabulary;
}

// Scores as merges: those between tokens, equal scores in the order of ids. tokenizers has no
// merges of characters that are no tokens, and no equal ranks.
Json merges_json(const TokenModelSpec& model) {
  Json merges = Json::array();
  const auto put = [&](const std::string& left, const std::string& right) {
    // The older spelling cannot say a token with a space in it.
    merges.push_back(Json::array({left, right}));
  };
  for (const auto& [left, right] : model.merges) put(left, right);
  if (model.scores.empty()) return merges;
  for (const auto& merge : merges_of_scores(model, TokenTable(model.tokens)).merges) {
    if (merge.left >= 0 && merge.right >= 0)
      put(model.tokens[static_cast<size_t>(merge.left)],
          model.tokens[static_cast<size_t>(merge.right)]);
  }
  return merges;
}

Json unigram_json(const TokenModelSpec& model) {
  Json list = Json::array(), unknown;
  for (size_t id = 0; id < model.tokens.size(); ++id) {
    // tokenizers has no word for a token that text never makes; as an added token it is found
    // first.
    const double score = std::isnan(model.scores[id]) ? 0 : model.scores[id];
    list.push_back(Json::array({model.tokens[id], score}));
    if (model.unknown && model.tokens[id] == *model.unknown) unknown = id;
  }
  return {{"type", "Unigram"},
          {"unk_id", unknown},
          {"vocab", list},
          {"byte_fallback", model.byte_fallback}};
}

Json model_json(const TokenModelSpec& model) {
  const Json unknown = model.unknown ? Json(*model.unknown) : Json();
  const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  switch (model.kind) {
    case Kind::unigram:
      return unigram_json(model);
    case Kind::word_piece:
      return {{"type", "WordPiece"},
              {"unk_token", unknown},
              {"continuing_subword_prefix", model.subword_prefix},
              {"max_input_chars_per_word", model.max_word_characters},
              {"vocab", vocabulary_json(model)}};
    case Kind::word_level:
      return {{"type", "WordLevel"},
              {"vocab", vocabulary_json(model)},
              {"unk_token", model.unknown.value_or("<unk>")}};
    case Kind::bpe:
      break;
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", unknown},
          {"continuing_subword_prefix", or_null(model.subword_prefix)},
          {"end_of_word_suffix", or_null(model.word_suffix)},
          {"fuse_unk", model.fuse_unknown},
          {"byte_fallback", model.byte_fallback},
          {"ignore_merges", model.ignore_merges},
          {"vocab", vocabulary_json(model)},
          {"merges", merges_json(model)}};
}

}  // namespace

Json tokenizer_json(const Tokenizer& tokenizer) {
  const TokenizerSpec& spec = tokenizer.spec();
  std::vector<AddedToken> added = spec.added;
  std::sort(added.begin(), added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  Json added_list = Json::array();
  for (const AddedToken& token : added) added_list.push_back(added_json(token));
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_list},
          {"normalizer", spec.normalizer},
          {"pre_tokenizer", spec.pre_tokenizer},
          {"post_processor", spec.post_processor},
          {"decoder", spec.decoder},
          {"model", model_json(spec.model)}};
}

Json special_tokens_map(const Tokenizer& tokenizer) {
  const SpecialTokens& special = tokenizer.spec().special;
  Json out = Json::object();
  if (special.bos) out["bos_token"] = *special.bos;
  if (special.eos) out["eos_token"] = *special.eos;
  if (special.pad) out["pad_token"] = *special.pad;
  if (special.unk) out["unk_token"] = *special.unk;
  return out;
}

Json tokenizer_config(const Tokenizer& tokenizer,
                      const std::vector<std::pair<std::string, std::string>>& templates) {
  Json out = special_tokens_map(tokenizer);
  out["tokenizer_class"] = "PreTrainedTokenizerFast";
  out["clean_up_tokenization_spaces"] = false;
  Json decoder = Json::object();
  for (const AddedToken& token : tokenizer.spec().added) {
    Json item = added_json(token);
    item.erase("id");
    decoder[str(token.id)] = item;
  }
  out["added_tokens_decoder"] = decoder;
  if (templates.size() == 1 && templates[0].first == "default") {
    out["chat_template"] = templates[0].second;
  } else {
    for (const auto& [name, source] : templates)
      out["chat_template"].push_back({{"name", name}, {"template", source}});
  }
  return out;
}

Json template_variables(const Tokenizer& tokenizer) {
  return special_tokens_map(tokenizer);
}

}  // namespace smidgen
