#include "smidgen/text/gguf_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "smidgen/base/error.h"
#include "smidgen/text/base64.h"
#include "smidgen/text/gguf_pre.h"
#include "smidgen/text/sentence_piece.h"
#include "smidgen/text/token_model.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

using Kind = TokenModelSpec::Kind;
const std::string kMark = "\u2581";

class Writer {
 public:
  explicit Writer(const Tokenizer& tokenizer) : tokenizer_(tokenizer), spec_(tokenizer.spec()) {}

  GgufTokenizer write(int64_t vocabulary_size) {
    tokens(vocabulary_size);
    switch (spec_.model.kind) {
      case Kind::bpe:
        if (spec_.model.byte_fallback) {
          sentence_piece();
        } else {
          byte_level();
        }
        break;
      case Kind::word_piece:
        word_piece();
        break;
      case Kind::unigram:
        unigram();
        break;
      case Kind::word_level:
        refuse("a WordLevel model");
    }
    special();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorKind::unsupported, str("GGUF has no word for ", what), spec_.where,
                "keep the model as a Hugging Face folder");
  }

  void tokens(int64_t vocabulary_size) {
    const int64_t count = std::max(tokenizer_.vocabulary_size(), vocabulary_size);
    for (int64_t id = 0; id < count; ++id) {
      const bool known =
          id < tokenizer_.vocabulary_size() && !tokenizer_.token(static_cast<int32_t>(id)).empty();
      out_.tokens.push_back(known ? tokenizer_.token(static_cast<int32_t>(id))
                                  : str("[PAD", id, "]"));
      type(id, known ? GgufTokenType::normal : GgufTokenType::unused);
    }
    for (const AddedToken& token : spec_.added) {
      if (token.single_word || token.lstrip || token.rstrip)
        refuse(str("the added token '", token.content, "', which looks at its neighbours"));
      set_type(token.id, token.special ? GgufTokenType::control : GgufTokenType::user_defined);
    }
  }
  void type(int64_t, GgufTokenType type) { out_.token_type.push_back(static_cast<int32_t>(type)); }
  void set_type(int32_t id, GgufTokenType type) {
    out_.token_type[static_cast<size_t>(id)] = static_cast<int32_t>(type);
  }

  // Steps of a pre-tokeniser or normaliser without what does not change ids.
  static void flatten(const Json& part, const char* key, std::vector<Json>& out) {
    if (part.is_null()) return;
    if (part.value("type", "") == "Sequence" && part.contains(key)) {
      for (const Json& item : part.at(key)) flatten(item, key, out);
      return;
    }
    Json plain = Json::object();
    for (const auto& [name, value] : part.items()) {
      if (name != "trim_offsets" && !value.is_null() && value != false) plain[name] = value;
    }
    out.push_back(plain);
  }
  static std::vector<nlohmann::json> steps(const Json& part, const char* key) {
    std::vector<Json> ordered;
    flatten(part, key, ordered);
    std::vector<nlohmann::json> out;  // compares without regard to the order of keys
    for (const Json& step : ordered) out.push_back(nlohmann::json::parse(step.dump()));
    return out;
  }

  void byte_level() {
    const TokenModelSpec& model = spec_.model;
    if (!model.subword_prefix.empty() || !model.word_suffix.empty())
      refuse("BPE with continuing_subword_prefix or end_of_word_suffix");
    const auto own = steps(spec_.pre_tokenizer, "pretokenizers");
    const auto normalizer = steps(spec_.normalizer, "normalizers");
    for (const GgufPre& pre : gguf_pre_tokenizers()) {
      if (out_.pre.empty() && pre.ignore_merges == model.ignore_merges &&
          own == steps(pre.pre_tokenizer, "pretokenizers") &&
          normalizer == steps(pre.normalizer, "normalizers"))
        out_.pre = pre.words[0];
    }
    if (out_.pre.empty())
      refuse(str("this pre-tokeniser, normaliser and ignore_merges together: ",
                 spec_.pre_tokenizer.dump().substr(0, 200)));
    out_.model = "gpt2";
    for (const auto& [left, right] : model.merges) {
      if ((left + right).find(' ') != std::string::npos)
        refuse(str("the merge of '", left, "' and '", right, "', which have spaces"));
      out_.merges.push_back(str(left, " ", right));
    }
  }

  void sentence_piece() {
    const TokenModelSpec& model = spec_.model;
    const nlohmann::json mark = {
        {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kMark}};
    const nlohmann::json prepend = {{"type", "Prepend"}, {"prepend", kMark}};
    const auto normalizer = steps(spec_.normalizer, "normalizers");
    const auto cuts = steps(spec_.pre_tokenizer, "pretokenizers");
    bool prefix = false;
    if (cuts.empty() && normalizer == std::vector<nlohmann::json>{prepend, mark}) {
      prefix = true;
    } else if (cuts.size() == 1 && cuts[0].value("type", "") == "Metaspace" && normalizer.empty()) {
      // Metaspace puts no mark before a text that begins with a space; llama.cpp does.
      refuse(
          "Metaspace's way of a space at the front; files with Prepend and Replace can be written");
    } else if (!(normalizer == std::vector<nlohmann::json>{mark} &&
                 (cuts.empty() || cuts[0].value("type", "") == "Split"))) {
      refuse("this normaliser and pre-tokeniser of a SentencePiece vocabulary");
    }
    // Tokens that are found in prepared text; llama.cpp finds such in the text as it came.
    for (const AddedToken& token : spec_.added) {
      std::string& text = out_.tokens[static_cast<size_t>(token.id)];
      for (size_t at = 0; token.normalized && (at = text.find(kMark, at)) != std::string::npos;)
        text.replace(at, kMark.size(), " ");
    }
    out_.model = "llama";
    out_.pre = "default";
    scores_of_merges(model);
    for (size_t id = 0; id < out_.tokens.size(); ++id) {
      if (byte_of_token(out_.tokens[id]) >= 0)
        set_type(static_cast<int32_t>(id), GgufTokenType::byte);
    }
    unknown();
    out_.flags.emplace_back("add_space_prefix", prefix);
  }

  // Scores under which merging by score makes the merges in the order of their ranks: a token's
  // score is minus the rank of the merge that makes it first.
  void scores_of_merges(const TokenModelSpec& model) {
    out_.scores.assign(out_.tokens.size(), 0);
    if (!model.scores.empty()) {
      for (size_t id = 0; id < model.scores.size(); ++id)
        out_.scores[id] = std::isnan(model.scores[id]) ? 0 : static_cast<float>(model.scores[id]);
      return;
    }
    // A later merge that makes the same token must not wait for its own rank; and one that the list
    // does not have must not happen. Both hold in vocabularies that came from SentencePiece, whose
    // merges are all the pairs there are, by score; others are refused.
    TokenModelSpec scored = model;
    scored.scores.assign(model.tokens.size(), std::numeric_limits<double>::quiet_NaN());
    const TokenTable table(model.tokens);
    std::optional<std::string> before;
    double rank = 0;
    for (const auto& [left, right] : model.merges) {
      const std::string made = left + right;
      const int32_t id = table.find(made);
      if (before && *before == made) continue;
      if (id < 0 || !std::isnan(scored.scores[static_cast<size_t>(id)]))
        refuse(str("merges that are not in the order of SentencePiece scores ('", left, "' '",
                   right, "')"));
      scored.scores[static_cast<size_t>(id)] = -(rank += 1);
      before = made;
    }
    size_t pairs = 0;
    for (const auto& merge : merges_of_scores(characters_too(scored, -(rank + 1)), table).merges)
      pairs += merge.left >= 0 && merge.right >= 0;
    if (pairs != model.merges.size())
      refuse(
          str("a list of ", model.merges.size(), " merges where the tokens would allow ", pairs));
    for (size_t id = 0; id < scored.scores.size(); ++id)
      out_.scores[id] =
          static_cast<float>(std::isnan(scored.scores[id]) ? -(rank + 1) : scored.scores[id]);
  }
  // Single characters are pieces as well, though no merge makes them.
  TokenModelSpec characters_too(TokenModelSpec model, double score) const {
    for (size_t id = 0; id < model.scores.size(); ++id) {
      const std::string& token = model.tokens[id];
      if (std::isnan(model.scores[id]) && !token.empty() && byte_of_token(token) < 0 &&
          out_.token_type[id] == static_cast<int32_t>(GgufTokenType::normal))
        model.scores[id] = score;
    }
    return model;
  }

  void word_piece() {
    if (spec_.model.subword_prefix != "##")
      refuse(str("the subword prefix '", spec_.model.subword_prefix, "'"));
    const nlohmann::json bert = {{"type", "BertNormalizer"},
                                 {"clean_text", true},
                                 {"handle_chinese_chars", true},
                                 {"lowercase", true}};
    auto normalizer = steps(spec_.normalizer, "normalizers");
    if (normalizer.size() == 1) normalizer[0].erase("strip_accents");
    const nlohmann::json words = {{"type", "BertPreTokenizer"}};
    if (normalizer != std::vector<nlohmann::json>{bert} ||
        spec_.normalizer.value("strip_accents", Json()) == false ||
        steps(spec_.pre_tokenizer, "pretokenizers") != std::vector<nlohmann::json>{words})
      refuse("a normaliser other than that of uncased BERT");
    out_.model = "bert";
    for (size_t id = 0; id < out_.tokens.size(); ++id) {
      if (out_.token_type[id] != static_cast<int32_t>(GgufTokenType::normal)) continue;
      std::string& token = out_.tokens[id];
      token = token.starts_with("##") ? token.substr(2) : kMark + token;
    }
    unknown();
  }

  void unigram() {
    const auto cuts = steps(spec_.pre_tokenizer, "pretokenizers");
    const auto normalizer = steps(spec_.normalizer, "normalizers");
    const bool metaspace = cuts.size() == 1 && cuts[0].value("type", "") == "Metaspace" &&
                           cuts[0].value("replacement", kMark) == kMark;
    if (!(metaspace || cuts.empty()) ||
        (metaspace && cuts[0].value("prepend_scheme", "always") == "first"))
      refuse("this pre-tokeniser of a unigram vocabulary");
    SentencePieceSpaces spaces;
    for (const auto& step : normalizer) {
      if (step.value("type", "") == "Precompiled")
        spaces.charsmap = from_base64(step.value("precompiled_charsmap", ""), spec_.where);
    }
    if (metaspace) {
      const std::vector<nlohmann::json> extra = {
          {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}},
          {{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}}};
      const std::vector<nlohmann::json> rest(normalizer.begin() + !spaces.charsmap.empty(),
                                             normalizer.end());
      spaces.removes_extra = rest == extra;
      spaces.prefix = cuts[0].value("prepend_scheme", "always") != "never";
      if (!spaces.removes_extra && !rest.empty()) refuse("this normaliser of a unigram vocabulary");
    } else if (!has_rules(normalizer, spaces)) {
      refuse("this normaliser of a unigram vocabulary");
    }
    out_.precompiled_charsmap = spaces.charsmap;
    out_.model = "t5";
    out_.pre = "default";
    for (const double score : spec_.model.scores)
      out_.scores.push_back(std::isnan(score) ? 0 : static_cast<float>(score));
    out_.scores.resize(out_.tokens.size(), 0);
    for (size_t id = 0; spec_.model.byte_fallback && id < out_.tokens.size(); ++id) {
      if (byte_of_token(out_.tokens[id]) >= 0)
        set_type(static_cast<int32_t>(id), GgufTokenType::byte);
    }
    unknown();
    out_.flags.emplace_back("add_space_prefix", spaces.prefix);
    out_.flags.emplace_back("remove_extra_whitespaces", spaces.removes_extra);
  }

  // Finds the rules that this normaliser carries out.
  static bool has_rules(const std::vector<nlohmann::json>& normalizer,
                        SentencePieceSpaces& spaces) {
    for (const int which : {0, 1, 2, 3}) {
      spaces.prefix = which & 1;
      spaces.removes_extra = which & 2;
      if (normalizer == steps(sentence_piece_normalizer(spaces), "normalizers")) return true;
    }
    return false;
  }

  void unknown() {
    if (!spec_.model.unknown) return;
    if (const auto id = tokenizer_.find(*spec_.model.unknown))
      set_type(*id, GgufTokenType::unknown);
  }

  void special() {
    const auto put = [&](const char* key, std::optional<int32_t> id) {
      if (id) out_.ids.emplace_back(key, static_cast<uint32_t>(*id));
    };
    const auto unknown_id =
        spec_.model.unknown ? tokenizer_.find(*spec_.model.unknown) : tokenizer_.unk();
    // bos + text + eos, each of them or not.
    std::optional<int32_t> before, behind;
    bool seen = false;
    for (const TemplatePiece& piece : tokenizer_.post_processor()) {
      if (piece.is_text) {
        seen = true;
        continue;
      }
      auto& place = seen ? behind : before;
      if (place || piece.ids.size() != 1) refuse("a template with more than one token on a side");
      place = piece.ids[0];
    }
    const bool bert = spec_.model.kind == Kind::word_piece;
    if ((before && tokenizer_.bos() && *before != *tokenizer_.bos() && !bert) ||
        (behind && tokenizer_.eos() && *behind != *tokenizer_.eos() && !bert))
      refuse("a template that adds another token than bos in front or eos behind");
    const auto bos = before ? before : tokenizer_.bos(), eos = behind ? behind : tokenizer_.eos();
    put("bos_token_id", bos);
    put("eos_token_id", eos);
    put("unknown_token_id", unknown_id);
    if (bert) {
      put("cls_token_id", bos);
      put("seperator_token_id", eos);
    }
    put("padding_token_id", tokenizer_.pad());
    out_.flags.emplace_back("add_bos_token", before.has_value());
    out_.flags.emplace_back("add_eos_token", behind.has_value());
  }

  const Tokenizer& tokenizer_;
  const TokenizerSpec& spec_;
  GgufTokenizer out_;
};

}  // namespace

GgufTokenizer gguf_tokenizer(const Tokenizer& tokenizer, int64_t vocabulary_size) {
  return Writer(tokenizer).write(vocabulary_size);
}

}  // namespace smidgen
