// SentencePiece's tokenizer.model and the files beside it into a TokenizerSpec, as transformers'
// LlamaConverter and GemmaConverter (5.23, convert_slow_tokenizer.py) read them.
//
// Ids are SentencePiece's own. What the files beside it decide:
//   legacy false: no space before a text that follows a special token. transformers writes that as
//     Metaspace with prepend_scheme first, which also adds none before a text that begins with a
//     space; so does this. Without the key the model's own rules hold, as in transformers 4.
//   add_prefix_space false: never a space in front.
//   add_bos_token (true where nothing is said), add_eos_token (false).
//   added_tokens_decoder, else added_tokens.json; names of special tokens. One that no piece and no
//     list has gets the next free id, as in transformers.
//
// User-defined pieces are found before the text is cut. Where no space comes in front and no map
// rewrites the text they are looked for in prepared text, as SentencePiece does (Gemma's runs of
// spaces); else in the text as it came, as transformers does, so that the text behind one gets a
// space of its own.
#include <algorithm>
#include <charconv>
#include <limits>

#include "smidgen/base/error.h"
#include "smidgen/text/json_node.h"
#include "smidgen/text/sentence_piece.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

using Type = SentencePieceModel::Type;

// Classes that number tokens as tokenizer.model does. Others shift ids or add tokens of their own.
const std::vector<std::string> kClasses = {"LlamaTokenizer",    "CodeLlamaTokenizer",
                                           "GemmaTokenizer",    "SentencePieceBackend",
                                           "TokenizersBackend", "PreTrainedTokenizer"};

class Reader {
 public:
  Reader(SentencePieceModel model, const SentencePieceCompanions& beside, const std::string& where)
      : model_(std::move(model)),
        beside_(beside),
        config_(beside.config.is_null() ? kNone : beside.config, "",
                str("tokenizer_config.json beside ", where)) {
    spec_.where = where;
  }

  TokenizerSpec read() {
    std::string name = config_.text("tokenizer_class", "");
    if (name.ends_with("Fast")) name.resize(name.size() - 4);
    if (!name.empty() && std::find(kClasses.begin(), kClasses.end(), name) == kClasses.end())
      throw Error(ErrorKind::unsupported,
                  str("tokenizer.model of the class '", name,
                      "', which may number tokens its own "
                      "way"),
                  config_.file(),
                  "convert it with transformers: save_pretrained of a fast tokenizer");
    spaces();
    pieces();
    companions();
    special();
    spec_.post_processor = bos_eos_template(spec_, config_.flag("add_bos_token", true),
                                            config_.flag("add_eos_token", false));
    return std::move(spec_);
  }

 private:
  void spaces() {
    SentencePieceSpaces& spaces = model_.spaces;
    spaces.prefix = config_.flag("add_prefix_space", spaces.prefix);
    spec_.decoder = sentence_piece_decoder(spaces.prefix, model_.byte_fallback);
    SentencePieceSpaces own = spaces;
    if (spaces.prefix && spaces.escapes && !config_.flag("legacy", true)) {
      own.prefix = own.escapes = false;
      spec_.pre_tokenizer = {{"type", "Metaspace"},
                             {"replacement", "\u2581"},
                             {"prepend_scheme", "first"},
                             {"split", false}};
    }
    spec_.normalizer = sentence_piece_normalizer(own);
  }

  void pieces() {
    TokenModelSpec& out = spec_.model;
    out.kind = model_.unigram ? TokenModelSpec::Kind::unigram : TokenModelSpec::Kind::bpe;
    out.byte_fallback = model_.byte_fallback;
    out.fuse_unknown = out.single_sums = true;
    const SentencePieceSpaces& spaces = model_.spaces;
    const bool prepared = !spaces.prefix && !spaces.removes_extra && spaces.charsmap.empty();
    for (const auto& piece : model_.pieces) {
      const auto id = static_cast<int32_t>(out.tokens.size());
      // A user-defined piece with a space in it cannot be found in a text that still has spaces.
      const bool made =
          piece.type == Type::normal || (piece.type == Type::user_defined && !prepared &&
                                         piece.text.find("\u2581") != std::string::npos);
      out.tokens.push_back(piece.text);
      out.scores.push_back(made ? double{piece.score} : std::numeric_limits<double>::quiet_NaN());
      if (piece.type == Type::control || piece.type == Type::unknown ||
          piece.type == Type::user_defined)
        spec_.added.push_back({.id = id,
                               .content = piece.text,
                               .normalized = piece.type == Type::user_defined && prepared,
                               .special = piece.type != Type::user_defined});
      if (piece.type == Type::unknown) unknown_ = id;
      if (piece.type != Type::control) continue;
      if (piece.text == model_.bos) bos_ = id;
      if (piece.text == model_.eos) eos_ = id;
      if (piece.text == model_.pad) pad_ = id;
    }
  }

  void add(AddedToken token) {
    if (static_cast<size_t>(token.id) < model_.pieces.size()) {
      const auto id = static_cast<size_t>(token.id);
      // A place that was kept free in the model may get its name here.
      if (spec_.model.tokens[id] != token.content && model_.pieces[id].type == Type::normal)
        throw Error(ErrorKind::mismatch,
                    str("token ", id, " is '", token.content, "' here and the piece '",
                        spec_.model.tokens[id], "' in tokenizer.model"),
                    config_.file());
      spec_.model.tokens[id] = token.content;
    }
    for (AddedToken& known : spec_.added) {
      if (known.id != token.id) continue;
      token.normalized = known.normalized;
      known = token;
      return;
    }
    spec_.added.push_back(std::move(token));
  }

  void companions() {
    if (config_.find("added_tokens_decoder")) {
      const JsonNode all = config_.child("added_tokens_decoder");
      for (const auto& [key, value] : all.json().items()) {
        const JsonNode item = all.child(key);
        AddedToken token;
        const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), token.id);
        if (code != std::errc() || end != key.data() + key.size() || token.id < 0)
          throw Error(ErrorKind::format, str("'", key, "' is no id"), all.where());
        token.content = item.text("content");
        token.special = item.flag("special", false);
        token.normalized = item.flag("normalized", !token.special);
        token.single_word = item.flag("single_word", false);
        token.lstrip = item.flag("lstrip", false);
        token.rstrip = item.flag("rstrip", false);
        add(std::move(token));
      }
    } else if (!beside_.added_tokens.is_null()) {
      const JsonNode all(beside_.added_tokens, "", str("added_tokens.json beside ", spec_.where));
      for (const auto& [content, id] : all.json().items())
        add({.id = read_token_id(id, str("the token '", content, "'"), all.where()),
             .content = content});
    }
  }

  // The id of a token that must be one; a new one goes behind all others.
  void ensure(const std::string& content) {
    int32_t next = static_cast<int32_t>(spec_.model.tokens.size());
    for (const AddedToken& token : spec_.added) {
      if (token.content == content) return;
      next = std::max(next, token.id + 1);
    }
    const auto& tokens = spec_.model.tokens;
    const auto at = std::find(tokens.begin(), tokens.end(), content);
    if (at != tokens.end()) next = static_cast<int32_t>(at - tokens.begin());
    spec_.added.push_back({.id = next, .content = content});
  }

  void special() {
    const auto name = [&](int32_t id) {
      return id < 0 ? std::optional<std::string>() : spec_.model.tokens[static_cast<size_t>(id)];
    };
    spec_.model.unknown = name(unknown_);
    SpecialTokens& out = spec_.special;
    out = read_special_tokens(beside_.config, beside_.special_tokens_map, spec_.where);
    const auto role = [&](std::optional<std::string>& given, const char* key, int32_t own) {
      // null says that there is none.
      const bool none = config_.json().contains(key) && config_.json()[key].is_null();
      if (!given && !none) given = name(own);
      if (given && given->empty()) given.reset();
      if (given) ensure(*given);
    };
    role(out.bos, "bos_token", bos_);
    role(out.eos, "eos_token", eos_);
    role(out.unk, "unk_token", unknown_);
    role(out.pad, "pad_token", pad_);
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
      const Json* list = config_.find(key);
      if (!list || !list->is_array()) continue;
      for (const Json& item : *list) {
        if (item.is_string()) ensure(item.get<std::string>());
      }
    }
  }

  static inline const Json kNone = Json::object();
  SentencePieceModel model_;
  const SentencePieceCompanions& beside_;
  JsonNode config_;
  TokenizerSpec spec_;
  int32_t unknown_ = -1, bos_ = -1, eos_ = -1, pad_ = -1;
};

}  // namespace

TokenizerSpec read_sentence_piece(std::string_view model, const SentencePieceCompanions& beside,
                                  const std::string& where) {
  return Reader(read_sentence_piece_model(model, where), beside, where).read();
}

}  // namespace smidgen
