// What tokenizer.json calls decoder: from the texts of tokens to the text. Source: tokenizers 0.23
// (src/decoders).
//
// A decoder is a chain of stages, and each passes tokens on as early as it can be sure of them, so
// that a stream of ids becomes text piece by piece; the pieces together are what the reference
// makes of all tokens at once.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "smidgen/text/json_node.h"

namespace smidgen {

// One token's text, or a part of it: `last` ends the token. Fuse makes one token of all.
struct DecodedPart {
  std::string text;
  bool last = true;
};
using DecodedSink = std::function<void(DecodedPart)>;

class DecoderStage {
 public:
  virtual ~DecoderStage() = default;
  virtual void push(DecodedPart part, const DecodedSink& out) = 0;
  virtual void flush(const DecodedSink&) {}  // no more tokens come
};

using StageMaker = std::function<std::unique_ptr<DecoderStage>()>;

// What a decoder is before any token came. Immutable; start() may be called from many threads.
class TokenDecoder {
 public:
  TokenDecoder();  // none: a space between tokens
  // Understood: Sequence ByteLevel WordPiece Metaspace BPEDecoder ByteFallback Fuse Strip Replace
  // CTC. Throws unsupported for another type, format for a broken one.
  explicit TokenDecoder(const JsonNode& node);

  // The text of one stream of tokens.
  class Run {
   public:
    std::string push(std::string token);
    std::string flush();

   private:
    friend class TokenDecoder;
    void feed(size_t stage, DecodedPart part, std::string& out);
    std::vector<std::unique_ptr<DecoderStage>> stages_;
  };
  Run start() const;

 private:
  std::vector<StageMaker> makers_;
};

// What one token stands for by itself, as far as this decoder says: the bytes of byte letters and
// byte tokens, spaces for marks. May be half a character.
std::string token_bytes(const Json& decoder, const std::string& token);

// Throws data when a chain of replacements makes more of a token than any text needs.
void bound_decoded(size_t size);

// The kinds, for the table in decoder.cpp: each reads the node once and makes stages from it.
StageMaker make_byte_level_decoder(const JsonNode& node);
StageMaker make_byte_fallback_decoder(const JsonNode& node);
StageMaker make_fuse_decoder(const JsonNode& node);
StageMaker make_strip_decoder(const JsonNode& node);
StageMaker make_replace_decoder(const JsonNode& node);
StageMaker make_word_piece_decoder(const JsonNode& node);
StageMaker make_metaspace_decoder(const JsonNode& node);
StageMaker make_bpe_decoder(const JsonNode& node);
StageMaker make_ctc_decoder(const JsonNode& node);
StageMaker make_space_decoder();  // no decoder: a space between tokens

}  // namespace smidgen
