// Expected pieces: pre_tokenize_str of Hugging Face tokenizers 0.23.
#include "smidgen/text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

std::vector<std::string> pieces_of(const std::string& text, bool individual, bool use_regex) {
  PreTokenizerStep digits, bytes;
  digits.kind = PreTokenizerStep::Kind::digits;
  digits.individual_digits = individual;
  bytes.use_regex = use_regex;
  const PreTokenizer splitter({digits, bytes}, "test");
  std::vector<Piece> pieces;
  std::string rewritten;
  Alignment alignment;
  EXPECT_FALSE(splitter.split(text, pieces, rewritten, alignment));
  std::vector<std::string> out;
  for (const Piece& piece : pieces)
    out.push_back(text.substr(piece.begin, piece.end - piece.begin));
  return out;
}

using Words = std::vector<std::string>;

TEST(PreTokenizer, DigitsAloneOrInRuns) {
  const std::string text = "  42 x7²³Ⅷ½٣٤a";
  EXPECT_EQ(pieces_of(text, true, false),
            (Words{"  ", "4", "2", " x", "7", "²", "³", "Ⅷ", "½", "٣", "٤", "a"}));
  EXPECT_EQ(pieces_of(text, false, false), (Words{"  ", "42", " x", "7²³Ⅷ½٣٤", "a"}));
}

// The space before a number is a piece of its own, which is where GPT-2's pre-tokeniser alone
// differs.
TEST(PreTokenizer, WordsWithinWhatDigitsLeave) {
  EXPECT_EQ(pieces_of("  42 it's 7", true, true), (Words{"  ", "4", "2", " it", "'s", " ", "7"}));
  EXPECT_EQ(pieces_of("  42 it's 7", false, true), (Words{"  ", "42", " it", "'s", " ", "7"}));
}

TEST(PreTokenizer, BytesMustBeLast) {
  PreTokenizerStep digits;
  digits.kind = PreTokenizerStep::Kind::digits;
  EXPECT_THROW(PreTokenizer({digits}, "test"), Error);
  EXPECT_THROW(PreTokenizer({PreTokenizerStep{}, digits}, "test"), Error);
  EXPECT_THROW(PreTokenizer({}, "test"), Error);
}

}  // namespace
}  // namespace smidgen
