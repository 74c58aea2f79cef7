// The tokenizer inside a GGUF file. Source: llama.cpp (src/llama-vocab.cpp, 2026), PyPI gguf 0.19.
//
// tokenizer.ggml.model says of which kind it is:
//   gpt2   byte-level BPE by merges; `pre` names the pre-tokeniser
//   llama  SentencePiece BPE by scores, bytes for unknown characters, spaces as U+2581
//   bert   WordPiece; words are written with U+2581 in front, other pieces plain
//   t5     SentencePiece unigram
#include <cmath>
#include <limits>

#include "smidgen/base/error.h"
#include "smidgen/io/gguf.h"
#include "smidgen/text/base64.h"
#include "smidgen/text/gguf_pre.h"
#include "smidgen/text/gguf_tokenizer.h"
#include "smidgen/text/sentence_piece.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

const std::string kPrefix = "tokenizer.ggml.";
const std::string kMark = "\u2581";

class Reader {
 public:
  explicit Reader(const GgufFile& file) : file_(file) { spec_.where = file.where(); }

  TokenizerSpec read() {
    for (const std::string_view token : file_.get_strings(kPrefix + "tokens"))
      spec_.model.tokens.emplace_back(token);
    if (file_.find(kPrefix + "token_type")) {
      types_ = file_.get_ints(kPrefix + "token_type");
      expect(types_.size(), "token types");
    }
    const std::string model = file_.get_string(kPrefix + "model");
    bool bos = false, eos = false;  // where the file does not say
    if (model == "gpt2") {
      bos = byte_level();
    } else if (model == "llama") {
      sentence_piece();
      bos = true;
    } else if (model == "bert") {
      word_piece();
      bos = eos = true;
    } else if (model == "t5") {
      unigram();
      eos = true;
    } else {
      throw Error(ErrorKind::unsupported, str("the GGUF tokenizer model '", model, "'"),
                  spec_.where, "known: gpt2, llama, bert, t5");
    }
    added();
    special();
    spec_.post_processor = bos_eos_template(spec_, file_.get_bool(kPrefix + "add_bos_token", bos),
                                            file_.get_bool(kPrefix + "add_eos_token", eos) ||
                                                file_.get_bool(kPrefix + "add_sep_token", false));
    return std::move(spec_);
  }

 private:
  void expect(size_t size, const char* what) const {
    if (size != spec_.model.tokens.size())
      throw Error(ErrorKind::mismatch,
                  str(size, " ", what, " for ", spec_.model.tokens.size(), " tokens"), spec_.where);
  }
  bool is(size_t id, GgufTokenType type) const {
    return !types_.empty() && types_[id] == static_cast<int64_t>(type);
  }

  bool byte_level() {
    const std::string word = file_.get_string(kPrefix + "pre", "");
    const GgufPre* pre = find_gguf_pre(word);
    if (!pre) {
      std::vector<std::string> known;
      for (const GgufPre& each : gguf_pre_tokenizers())
        known.insert(known.end(), each.words.begin(), each.words.end());
      throw Error(ErrorKind::unsupported,
                  word.empty()
                      ? "a GGUF tokenizer that does not name its pre-tokeniser (tokenizer.ggml.pre)"
                      : str("the GGUF pre-tokeniser '", word, "'"),
                  spec_.where, did_you_mean(word, known, "docs/formats.md lists the known ones"));
    }
    spec_.normalizer = pre->normalizer;
    spec_.pre_tokenizer = pre->pre_tokenizer;
    spec_.decoder = {{"type", "ByteLevel"},
                     {"add_prefix_space", true},
                     {"trim_offsets", true},
                     {"use_regex", true}};
    // transformers reads the same file with add_prefix_space true when this is set.
    if (file_.get_bool(kPrefix + "add_space_prefix", false)) {
      Json& all = spec_.pre_tokenizer;
      (all.contains("pretokenizers") ? all["pretokenizers"].back() : all)["add_prefix_space"] =
          true;
    }
    spec_.model.ignore_merges = pre->ignore_merges;
    for (const std::string_view both : file_.get_strings(kPrefix + "merges"))
      spec_.model.merges.push_back(
          split_merge(both, spec_.model.merges.size(), spec_.where + ": tokenizer.ggml.merges"));
    return pre->adds_bos;
  }

  void scores() {
    const std::vector<float> scores = file_.get_floats(kPrefix + "scores");
    expect(scores.size(), "scores");
    spec_.model.scores.assign(scores.begin(), scores.end());
    for (const float score : scores) {
      if (std::isnan(score))
        throw Error(ErrorKind::format, "a score that is no number", spec_.where);
    }
    const int64_t unknown = file_.get_int(kPrefix + "unknown_token_id", 0);
    if (unknown >= 0 && unknown < static_cast<int64_t>(spec_.model.tokens.size()))
      spec_.model.unknown = spec_.model.tokens[static_cast<size_t>(unknown)];
  }

  void sentence_piece() {
    scores();
    TokenModelSpec& model = spec_.model;
    model.byte_fallback = model.fuse_unknown = true;
    only_normal();
    const bool prefix = file_.get_bool(kPrefix + "add_space_prefix", true);
    spec_.normalizer = sentence_piece_normalizer({.prefix = prefix, .removes_extra = false});
    spec_.decoder = sentence_piece_decoder(prefix, true);
  }
  // Text makes no other tokens: those are put there by name.
  void only_normal() {
    for (size_t id = 0; id < types_.size(); ++id) {
      if (!is(id, GgufTokenType::normal))
        spec_.model.scores[id] = std::numeric_limits<double>::quiet_NaN();
    }
  }

  void word_piece() {
    TokenModelSpec& model = spec_.model;
    model.kind = TokenModelSpec::Kind::word_piece;
    model.subword_prefix = "##";
    for (size_t id = 0; id < model.tokens.size(); ++id) {
      std::string& token = model.tokens[id];
      if (is(id, GgufTokenType::control) || is(id, GgufTokenType::unknown) ||
          is(id, GgufTokenType::unused))
        continue;
      if (token.starts_with(kMark)) {
        token.erase(0, kMark.size());
      } else if (!token.empty()) {
        token.insert(0, "##");
      }
    }
    const int64_t unknown = file_.get_int(kPrefix + "unknown_token_id", 100);
    if (unknown >= 0 && unknown < static_cast<int64_t>(model.tokens.size()))
      model.unknown = model.tokens[static_cast<size_t>(unknown)];
    spec_.normalizer = {{"type", "BertNormalizer"},
                        {"clean_text", true},
                        {"handle_chinese_chars", true},
                        {"strip_accents", nullptr},
                        {"lowercase", true}};
    spec_.pre_tokenizer = {{"type", "BertPreTokenizer"}};
    spec_.decoder = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  }

  void unigram() {
    spec_.model.kind = TokenModelSpec::Kind::unigram;
    scores();
    only_normal();
    for (size_t id = 0; id < spec_.model.tokens.size(); ++id)
      spec_.model.byte_fallback |= is(id, GgufTokenType::byte);
    // As SentencePiece does it: the text is not cut at spaces, so a piece may hold some.
    SentencePieceSpaces spaces;
    spaces.prefix = file_.get_bool(kPrefix + "add_space_prefix", true);
    spaces.removes_extra = file_.get_bool(kPrefix + "remove_extra_whitespaces", false);
    if (const GgufValue* map = file_.find(kPrefix + "precompiled_charsmap");
        map && map->count > 0) {
      if (map->element != GgufType::u8 && map->element != GgufType::i8)
        throw Error(ErrorKind::format,
                    "tokenizer.ggml.precompiled_charsmap is not an array of bytes", spec_.where);
      spaces.charsmap.assign(reinterpret_cast<const char*>(map->bytes.data()), map->bytes.size());
    }
    spec_.normalizer = sentence_piece_normalizer(spaces);
    spec_.decoder = sentence_piece_decoder(spaces.prefix, spec_.model.byte_fallback);
  }

  void added() {
    for (size_t id = 0; id < types_.size(); ++id) {
      const bool unknown = is(id, GgufTokenType::unknown);
      if (!is(id, GgufTokenType::control) && !is(id, GgufTokenType::user_defined) && !unknown)
        continue;
      AddedToken token;
      token.id = static_cast<int32_t>(id);
      token.content = spec_.model.tokens[id];
      token.special = !is(id, GgufTokenType::user_defined);
      if (!token.content.empty()) spec_.added.push_back(std::move(token));
    }
  }

  std::optional<std::string> token_at(const std::string& key) const {
    if (!file_.find(kPrefix + key)) return {};
    const int64_t id = file_.get_int(kPrefix + key);
    if (id < 0 || id >= static_cast<int64_t>(spec_.model.tokens.size()))
      throw Error(
          ErrorKind::format,
          str(kPrefix, key, " is ", id, ", but there are ", spec_.model.tokens.size(), " tokens"),
          spec_.where);
    return spec_.model.tokens[static_cast<size_t>(id)];
  }

  void special() {
    spec_.special.bos = token_at("bos_token_id");
    spec_.special.eos = token_at("eos_token_id");
    spec_.special.pad = token_at("padding_token_id");
    spec_.special.unk = token_at("unknown_token_id");
    if (spec_.model.kind != TokenModelSpec::Kind::word_piece) return;
    const auto first_of = [&](const std::vector<const char*>& keys) {
      for (const char* key : keys) {
        if (auto token = token_at(key)) return token;
      }
      return std::optional<std::string>();
    };
    spec_.special.bos = first_of({"cls_token_id", "bos_token_id"});
    spec_.special.eos = first_of({"seperator_token_id", "eos_token_id"});
  }

  const GgufFile& file_;
  TokenizerSpec spec_;
  std::vector<int64_t> types_;
};

}  // namespace

TokenizerSpec read_tokenizer_gguf(const GgufFile& file) {
  return Reader(file).read();
}

}  // namespace smidgen
