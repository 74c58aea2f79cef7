// SentencePiece's model file, tokenizer.model: pieces with scores, and how text is prepared for
// them. Source: sentencepiece 0.2.3 (sentencepiece_model.proto, normalizer.cc).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "smidgen/base/json.h"

namespace smidgen {

// normalizer_spec. In this order: characters are rewritten by the map, spaces at both ends go and
// runs become one (removes_extra), a space comes in front (prefix), spaces become U+2581 (escapes).
struct SentencePieceSpaces {
  std::string charsmap;  // compiled; empty: none
  bool prefix = true, removes_extra = true, escapes = true;
};

struct SentencePieceModel {
  enum class Type { normal = 1, unknown, control, user_defined, unused, byte };
  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::normal;
  };
  std::vector<Piece> pieces;  // index = id
  bool unigram = true;        // else bpe
  bool byte_fallback = false;
  std::string bos = "<s>", eos = "</s>", pad = "<pad>";  // may name no piece
  SentencePieceSpaces spaces;
};

// From the file's bytes. Throws format for what is broken (with the byte), for a model without
// exactly one unknown piece, with an empty piece, one that is not UTF-8, or byte_fallback without
// all 256 bytes; unsupported, by name, for word and char models, spaces as suffixes, unused pieces
// of bpe, a denormaliser, and for a list of tokens in tiktoken's form, which Llama 3 calls
// tokenizer.model too.
SentencePieceModel read_sentence_piece_model(std::string_view bytes, const std::string& where);

// The same rules in tokenizer.json's words; null when they do nothing. In tokenizers the map acts
// on whole graphemes and loses a mark behind a character that it rewrites;
// normalizer_precompiled.cpp.
Json sentence_piece_normalizer(const SentencePieceSpaces& spaces);
// U+2581 to spaces, byte tokens to bytes, without the space that `prefix` put in front.
Json sentence_piece_decoder(bool prefix, bool byte_fallback);

}  // namespace smidgen
