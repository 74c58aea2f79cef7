// Models built byte by byte. Ids against SentencePiece itself: tests/parity/test_sentence_piece.py.
#include "smidgen/text/sentence_piece.h"

#include <cstring>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string number(uint32_t field, uint64_t value) {
  return varint(field << 3) + varint(value);
}
std::string bytes(uint32_t field, const std::string& value) {
  return varint(field << 3 | 2) + varint(value.size()) + value;
}
std::string piece(const std::string& text, float score, int type = 1) {
  std::string message = bytes(1, text) + varint(2 << 3 | 5);
  message.append(reinterpret_cast<const char*>(&score), sizeof score);
  if (type != 1) message += number(3, static_cast<uint64_t>(type));
  return bytes(1, message);
}

// <unk> <s> </s> ▁ a b ab ▁ab, and a user-defined <x>.
const std::string kPieces = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) +
                            piece("\u2581", -1) + piece("a", -1.5) + piece("b", -2) +
                            piece("ab", -2.5) + piece("\u2581ab", -3) + piece("<x>", 0, 4);
const std::string kBpe = bytes(2, number(3, 2)), kUnigram = bytes(2, number(3, 1));
const std::string kAsItIs = bytes(3, number(4, 0)),
                  kNoPrefix = bytes(3, number(4, 0) + number(3, 0));

Tokenizer tokenizer(const std::string& model, const Json& config = nullptr) {
  return Tokenizer(read_sentence_piece(model, {.config = config}, "tokenizer.model"));
}

using Ids = std::vector<int32_t>;

TEST(SentencePiece, ReadsPiecesAndRules) {
  const SentencePieceModel model = read_sentence_piece_model(
      kPieces + bytes(2, number(3, 2) + bytes(46, "<b>") + bytes(99, "later")) +
          bytes(3, bytes(2, "map") + number(3, 0) + number(4, 0) + number(5, 0)) + number(77, 5),
      "f");
  ASSERT_EQ(model.pieces.size(), 9u);
  EXPECT_EQ(model.pieces[6].text, "ab");
  EXPECT_EQ(model.pieces[6].score, -2.5f);
  EXPECT_EQ(model.pieces[8].type, SentencePieceModel::Type::user_defined);
  EXPECT_FALSE(model.unigram);
  EXPECT_EQ(model.bos, "<b>");
  EXPECT_EQ(model.spaces.charsmap, "map");
  EXPECT_FALSE(model.spaces.prefix || model.spaces.removes_extra || model.spaces.escapes);
}

TEST(SentencePiece, WhatTheFileDoesNotSayIsTheProtosDefault) {
  const SentencePieceModel model = read_sentence_piece_model(kPieces, "f");
  EXPECT_TRUE(model.unigram);
  EXPECT_FALSE(model.byte_fallback);
  EXPECT_TRUE(model.spaces.prefix && model.spaces.removes_extra && model.spaces.escapes);
}

TEST(SentencePiece, SpacesAsTheModelSays) {
  const Tokenizer bare = tokenizer(kPieces + kBpe + kAsItIs);
  EXPECT_EQ(bare.encode("ab  a"), (Ids{1, 7, 3, 3, 4}));
  EXPECT_EQ(bare.encode(" ab"), (Ids{1, 3, 7}));
  EXPECT_EQ(bare.decode(Ids{1, 7, 3, 3, 4}, true), "ab  a");
  const Tokenizer tidy = tokenizer(kPieces + kBpe);
  EXPECT_EQ(tidy.encode("  ab  a \u2581"), (Ids{1, 7, 3, 4}));
  const Tokenizer plain = tokenizer(kPieces + kUnigram + kNoPrefix);
  EXPECT_EQ(plain.encode("ab ab"), (Ids{1, 6, 7}));
  EXPECT_EQ(plain.encode(""), (Ids{1}));
}

TEST(SentencePiece, NamesOfSpecialTokensAreNotMadeByText) {
  for (const std::string& kind : {kBpe, kUnigram}) {
    const Tokenizer made =
        tokenizer(kPieces + piece("<", -9) + piece("s", -9) + piece(">", -9) + kind + kNoPrefix);
    EXPECT_EQ(made.encode("<s>", {.parse_special = false}), (Ids{1, 9, 10, 11}));
    EXPECT_EQ(made.encode("<s>"), (Ids{1, 1}));
  }
}

TEST(SentencePiece, CompanionsDecideWhatIsAdded) {
  const std::string model = kPieces + kBpe + kAsItIs;
  EXPECT_EQ(tokenizer(model, {{"add_bos_token", false}, {"add_eos_token", true}}).encode("ab"),
            (Ids{7, 2}));
  EXPECT_EQ(tokenizer(model, {{"bos_token", nullptr}}).encode("ab"), (Ids{7}));
  EXPECT_EQ(tokenizer(model, {{"add_prefix_space", false}}).encode("ab"), (Ids{1, 6}));
  // A special token of the configuration that no piece has: the next free id.
  const Tokenizer padded = tokenizer(model, {{"pad_token", "<p>"}});
  EXPECT_EQ(padded.pad(), 9);
  EXPECT_EQ(padded.encode("ab<p>b"), (Ids{1, 7, 9, 3, 5}));
  const Json end = {{"content", "<end>"}, {"special", true}};
  EXPECT_EQ(
      tokenizer(model, {{"added_tokens_decoder", {{"20", end}}}, {"eos_token", "<end>"}}).eos(),
      20);
  // legacy false: no space behind a special token, and none before one that is there.
  const Tokenizer later = tokenizer(model, {{"legacy", false}});
  EXPECT_EQ(later.encode("ab<s>ab"), (Ids{1, 7, 1, 6}));
  EXPECT_EQ(tokenizer(model).encode("ab<s>ab"), (Ids{1, 7, 1, 7}));
}

TEST(SentencePiece, RefusesByName) {
  const Json other = {{"content", "other"}};
  const auto refused = [](const std::string& model, ErrorKind kind, const char* word,
                          const Json& config = nullptr) {
    try {
      tokenizer(model, config);
      ADD_FAILURE() << word;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.message();
      EXPECT_NE(error.message().find(word), std::string::npos) << error.message();
      EXPECT_FALSE(error.where().empty());
    }
  };
  const float nan = std::nanf("");
  refused(kPieces + bytes(2, number(3, 3)), ErrorKind::unsupported, "whole words");
  refused(kPieces + bytes(2, number(3, 4)), ErrorKind::unsupported, "characters");
  refused(kPieces + bytes(2, number(3, 9)), ErrorKind::format, "type 9");
  refused(kPieces + bytes(2, number(24, 1)), ErrorKind::unsupported, "suffixes");
  refused(kPieces + bytes(5, bytes(2, "map")), ErrorKind::unsupported, "denormaliser");
  refused(kPieces + kBpe + piece("z", 0, 5), ErrorKind::unsupported, "unused");
  refused(kPieces + piece("z", 0, 7), ErrorKind::format, "type 7");
  refused(kPieces + piece("z", nan), ErrorKind::format, "no number");
  refused(kPieces + piece("", 0), ErrorKind::format, "empty piece");
  refused(kPieces + piece("\xff", 0), ErrorKind::format, "UTF-8");
  refused(kPieces + piece("a", 0), ErrorKind::format, "two ids");
  refused(kPieces + piece("<u>", 0, 2), ErrorKind::format, "2 unknown pieces");
  refused(kPieces + bytes(2, number(35, 1)), ErrorKind::format, "0 of 256");
  refused(kPieces + piece("<0xZZ>", 0, 6), ErrorKind::format, "byte");
  refused(kPieces + number(1, 3), ErrorKind::format, "a message");
  refused(kPieces + bytes(3, bytes(3, "x")), ErrorKind::format, "a whole number");
  refused("IQ== 0\nIg== 1\n", ErrorKind::unsupported, "tiktoken");
  refused("", ErrorKind::format, "0 unknown pieces");
  refused(kPieces, ErrorKind::unsupported, "T5", {{"tokenizer_class", "T5Tokenizer"}});
  refused(kPieces, ErrorKind::mismatch, "'other'", {{"added_tokens_decoder", {{"4", other}}}});
  refused(kPieces, ErrorKind::format, "no id", {{"added_tokens_decoder", {{"4x", other}}}});
}

TEST(SentencePiece, CutAnywhereItIsReadOrRefused) {
  const std::string model = kPieces + kBpe + kAsItIs;
  for (size_t size = 0; size < model.size(); ++size) {
    try {
      tokenizer(model.substr(0, size));
    } catch (const Error& error) {
      EXPECT_FALSE(error.where().empty());
    }
  }
}

}  // namespace
}  // namespace smidgen
