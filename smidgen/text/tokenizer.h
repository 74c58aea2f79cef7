// Text to token ids and back, as Hugging Face `tokenizers` does it (ids are compared with it line
// by line).
//
// A tokenizer is added tokens, then a normaliser, a pre-tokeniser that cuts words, a model that
// gives each word its ids, a post-processor and a decoder; each kind of part is a file beside this
// one. Parts that no file here knows are refused by name (`unsupported`).
//
// `truncation` and `padding` of tokenizer.json are ignored, as transformers does unless it is
// asked.
//
// Text that is not UTF-8. `tokenizers` takes Python strings, so it never sees any; the usual way
// there is errors="replace". The same here: each maximal broken part is read as U+FFFD, then
// encoded. A character that the vocabulary lacks is left out, as `tokenizers` does when there is no
// unknown token.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/base/json.h"
#include "smidgen/text/decoder.h"
#include "smidgen/text/post_processor.h"
#include "smidgen/text/tokenizer_spec.h"

namespace smidgen {

struct ModelFiles;
class GgufFile;

struct EncodeOptions {
  bool add_special = true;    // what the post-processor adds (BOS ...)
  bool parse_special = true;  // "<|im_end|>" in the text is that token; false: it is ordinary text
};

// Token i covers bytes [begins[i], ends[i]) of the text; a token that the post-processor added
// covers nothing. Where a normaliser changed the text, bounds inside the changed part are those of
// the whole part.
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<uint32_t> begins, ends;
};

// Immutable; every member may be called from many threads at once.
class Tokenizer {
 public:
  // Throws `format` or `unsupported` with `spec.where`.
  explicit Tokenizer(TokenizerSpec spec);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  std::vector<int32_t> encode(std::string_view text, EncodeOptions options = {}) const;
  Encoding encode_with_offsets(std::string_view text, EncodeOptions options = {}) const;

  // Bytes that do not form UTF-8 come out as U+FFFD. An id inside the vocabulary's range that no
  // token has is passed over; one outside: Error usage.
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;
  // What one token stands for by itself, possibly half a character.
  std::string_view bytes(int32_t id) const;

  int64_t vocabulary_size() const;  // highest id + 1
  std::optional<int32_t> find(std::string_view token) const;
  const std::string& token(
      int32_t id) const;  // as the vocabulary writes it; empty for an id without a token
  bool is_special(int32_t id) const;
  std::optional<int32_t> bos() const;
  std::optional<int32_t> eos() const;
  std::optional<int32_t> pad() const;
  std::optional<int32_t> unk() const;
  // True when encode with add_special begins with bos().
  bool adds_bos() const;
  const TokenizerSpec& spec() const;
  const std::vector<TemplatePiece>& post_processor() const;  // empty: nothing is added

 private:
  friend class StreamDecoder;
  struct Parts;
  std::unique_ptr<const Parts> parts_;
};

// Turns a stream of ids into text piece by piece. push() returns the characters that are certain by
// now and holds back the bytes of an unfinished one; flush() returns the rest (U+FFFD for half a
// character). The pieces together equal decode() of all ids. Whole characters wait only where a
// later token may change them: a run of byte tokens (ByteFallback) to its end, one token before
// BPEDecoder's end of text. The tokenizer must outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = false);
  std::string push(int32_t id);
  std::string flush();  // and starts again

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  TokenDecoder::Run run_;
};

// From tokenizer.json's content and, when not null, tokenizer_config.json's and
// special_tokens_map.json's (which name bos, eos, pad and unk). `where` is the file's name for
// errors.
TokenizerSpec read_tokenizer_json(const Json& tokenizer, const Json& tokenizer_config,
                                  const Json& special_tokens_map, const std::string& where);
// Parts of it, for readers of other files that hold the same things.
std::pair<std::string, std::string> split_merge(std::string_view both, size_t rank,
                                                const std::string& where);
void read_vocabulary(const JsonNode& vocabulary, TokenModelSpec& out);
SpecialTokens read_special_tokens(const Json& tokenizer_config, const Json& special_tokens_map,
                                  const std::string& where);

// From GGUF metadata (tokenizer.ggml.*). See docs/formats.md for the words of `pre`.
TokenizerSpec read_tokenizer_gguf(const GgufFile& file);

// From SentencePiece's tokenizer.model, its bytes, and the JSON files beside it where they exist.
// Throws format, mismatch (the files name different tokens) or unsupported; see sentence_piece.h.
struct SentencePieceCompanions {
  Json config, special_tokens_map, added_tokens;
};
TokenizerSpec read_sentence_piece(std::string_view model, const SentencePieceCompanions& beside,
                                  const std::string& where);

// Whether load_tokenizer finds something to read.
bool has_tokenizer(const ModelFiles& files);
std::shared_ptr<const Tokenizer> load_tokenizer(const ModelFiles& files);

// A tokenizer.json that `tokenizers` loads and that gives the same ids.
Json tokenizer_json(const Tokenizer& tokenizer);
// The other files of an exported folder: special_tokens_map.json, tokenizer_config.json.
// `templates` are names and sources: "default" alone becomes a string there, several a list, as in
// transformers' older form.
Json special_tokens_map(const Tokenizer& tokenizer);
Json tokenizer_config(const Tokenizer& tokenizer,
                      const std::vector<std::pair<std::string, std::string>>& templates);

// Tokens that end generation: eos_token_id (one or a list) of generation_config.json and
// config.json, or GGUF's eos and eot, and the tokenizer's eos. Sorted.
std::vector<int32_t> stop_tokens(const ModelFiles& files, const Tokenizer& tokenizer);

}  // namespace smidgen
