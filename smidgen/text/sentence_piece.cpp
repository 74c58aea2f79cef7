#include "smidgen/text/sentence_piece.h"

#include <cmath>
#include <set>

#include "smidgen/base/error.h"
#include "smidgen/io/protobuf.h"
#include "smidgen/text/base64.h"
#include "smidgen/text/json_node.h"
#include "smidgen/text/token_model.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

using Type = SentencePieceModel::Type;
const std::string kMark = "\u2581";

[[noreturn]] void refuse(const std::string& what, const std::string& where) {
  throw Error(ErrorKind::unsupported, str("a SentencePiece model with ", what), where,
              "convert the tokenizer to tokenizer.json with the library that made it");
}

SentencePieceModel::Piece read_piece(ProtoReader message, const std::string& where) {
  SentencePieceModel::Piece piece;
  for (ProtoField field; message.next(field);) {
    if (field.number == 1) piece.text = field.text();
    if (field.number == 2) piece.score = field.single();
    if (field.number == 3) {
      const int64_t type = field.integer();
      if (type < 1 || type > 6)
        throw Error(ErrorKind::format, str("a piece of the type ", type), field.where());
      piece.type = static_cast<Type>(type);
    }
  }
  if (piece.text.empty()) throw Error(ErrorKind::format, "an empty piece", where);
  if (!is_utf8(piece.text))
    throw Error(ErrorKind::format, str("the piece '", utf8_lossy(piece.text), "' is not UTF-8"),
                where);
  if (!std::isfinite(piece.score))
    throw Error(ErrorKind::format, str("the score of '", piece.text, "' is no number"), where);
  return piece;
}

void read_trainer(ProtoReader message, SentencePieceModel& out) {
  for (ProtoField field; message.next(field);) {
    switch (field.number) {
      case 3: {
        const int64_t type = field.integer();
        if (type == 3 || type == 4) refuse(type == 3 ? "whole words" : "characters", field.where());
        if (type != 1 && type != 2)
          throw Error(ErrorKind::format, str("a model of the type ", type), field.where());
        out.unigram = type == 1;
        break;
      }
      case 24:
        if (field.integer() != 0) refuse("spaces as suffixes", field.where());
        break;
      case 35:
        out.byte_fallback = field.integer() != 0;
        break;
      case 46:
        out.bos = field.text();
        break;
      case 47:
        out.eos = field.text();
        break;
      case 48:
        out.pad = field.text();
        break;
    }
  }
}

void read_normalizer(ProtoReader message, SentencePieceSpaces& out) {
  for (ProtoField field; message.next(field);) {
    if (field.number == 2) out.charsmap = field.text();
    if (field.number == 3) out.prefix = field.integer() != 0;
    if (field.number == 4) out.removes_extra = field.integer() != 0;
    if (field.number == 5) out.escapes = field.integer() != 0;
  }
}

void check(const SentencePieceModel& model, const std::string& where) {
  size_t unknown = 0;
  std::set<int> bytes;
  for (const auto& piece : model.pieces) {
    unknown += piece.type == Type::unknown;
    if (piece.type == Type::byte) bytes.insert(byte_of_token(piece.text));
    if (piece.type == Type::unused && !model.unigram) refuse("unused pieces", where);
  }
  if (unknown != 1)
    throw Error(ErrorKind::format, str(unknown, " unknown pieces, where a model has one"), where);
  if (bytes.count(-1))
    throw Error(ErrorKind::format, "a piece of a byte that is not written <0x00> to <0xFF>", where);
  if (model.byte_fallback && bytes.size() != 256)
    throw Error(ErrorKind::format, str("byte_fallback with ", bytes.size(), " of 256 bytes"),
                where);
}

// "IQ== 0": a token in base64 and its rank.
bool is_tiktoken(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, std::min(bytes.find('\n'), size_t{400}));
  const size_t space = line.find(' ');
  return space != std::string_view::npos && space > 0 && space % 4 == 0 &&
         line.find_first_not_of("0123456789\r", space + 1) == std::string_view::npos;
}

Json replace(const char* kind, const std::string& pattern, const std::string& content) {
  return {{"type", "Replace"}, {"pattern", {{kind, pattern}}}, {"content", content}};
}

}  // namespace

SentencePieceModel read_sentence_piece_model(std::string_view bytes, const std::string& where) {
  if (is_tiktoken(bytes))
    throw Error(ErrorKind::unsupported,
                "tokenizer.model is a list of tokens in tiktoken's form, not SentencePiece's",
                where, "such models come with a tokenizer.json as well: put it beside");
  SentencePieceModel model;
  ProtoReader reader(bytes, where);
  for (ProtoField field; reader.next(field);) {
    if (field.number == 1) {
      if (model.pieces.size() >= size_t{kMaxTokenId})
        throw Error(ErrorKind::format, "more pieces than a vocabulary can have", field.where());
      model.pieces.push_back(read_piece(field.message(), where));
    }
    if (field.number == 2) read_trainer(field.message(), model);
    if (field.number == 3) read_normalizer(field.message(), model.spaces);
    if (field.number == 5) {
      SentencePieceSpaces back;
      read_normalizer(field.message(), back);
      if (!back.charsmap.empty()) refuse("a denormaliser", field.where());
    }
  }
  check(model, where);
  return model;
}

Json sentence_piece_normalizer(const SentencePieceSpaces& spaces) {
  Json steps = Json::array();
  const std::string space = spaces.escapes ? kMark : " ";
  const Json front = {{"type", "Prepend"}, {"prepend", space}};
  // A text of which the map leaves nothing still gets its space, unless spaces at the end go.
  if (spaces.prefix && !spaces.removes_extra) steps.push_back(front);
  if (!spaces.charsmap.empty())
    steps.push_back({{"type", "Precompiled"},
                     {"precompiled_charsmap", to_base64(spaces.charsmap)},
                     {"longest", true}});
  if (spaces.removes_extra) {
    steps.push_back(replace("Regex", "\\A +", ""));
    steps.push_back(replace("Regex", " {2,}", " "));
  }
  if (spaces.prefix && spaces.removes_extra) steps.push_back(front);
  if (spaces.escapes) steps.push_back(replace("String", " ", kMark));
  // At the end SentencePiece takes what was U+2581 before for a space too. The look behind keeps a
  // long run elsewhere from being tried from each of its characters.
  if (spaces.removes_extra)
    steps.push_back(replace("Regex", str("(?<!", space, ")", space, "+\\z"), ""));
  if (steps.empty()) return {};
  if (steps.size() == 1) return steps[0];
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

Json sentence_piece_decoder(bool prefix, bool byte_fallback) {
  Json steps = Json::array({replace("String", kMark, " ")});
  if (byte_fallback) steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (prefix) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

}  // namespace smidgen
