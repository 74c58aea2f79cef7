// Expected pieces: pre_tokenize_str of Hugging Face tokenizers 0.23.
#include "smidgen/text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include "smidgen/base/error.h"

namespace smidgen {
namespace {

using Words = std::vector<std::string>;

Words pieces_of(const std::string& text, const Json& json, size_t base = 0) {
  const PreTokenizer splitter(JsonNode(json, "pre_tokenizer", "test"), true);
  AlignedText aligned(text, base, true);
  std::vector<Piece> pieces;
  splitter.split(aligned, pieces);
  Words out;
  for (const Piece& piece : pieces)
    out.emplace_back(aligned.text().substr(piece.begin, piece.end - piece.begin));
  return out;
}

Json sequence(const Json& steps) {
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}
Json digits(bool individual, bool use_regex) {
  return sequence({{{"type", "Digits"}, {"individual_digits", individual}},
                   {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", use_regex}}});
}
Json split(const char* behavior, const Json& pattern, bool invert = false) {
  return {{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}};
}

TEST(PreTokenizer, DigitsAloneOrInRuns) {
  const std::string text = "  42 x7²³Ⅷ½٣٤a";
  EXPECT_EQ(pieces_of(text, digits(true, false)),
            (Words{"  ", "4", "2", " x", "7", "²", "³", "Ⅷ", "½", "٣", "٤", "a"}));
  EXPECT_EQ(pieces_of(text, digits(false, false)), (Words{"  ", "42", " x", "7²³Ⅷ½٣٤", "a"}));
}

// The space before a number is a piece of its own, which is where GPT-2's pre-tokeniser alone
// differs.
TEST(PreTokenizer, WordsWithinWhatDigitsLeave) {
  EXPECT_EQ(pieces_of("  42 it's 7", digits(true, true)),
            (Words{"  ", "4", "2", " it", "'s", " ", "7"}));
  EXPECT_EQ(pieces_of("  42 it's 7", digits(false, true)),
            (Words{"  ", "42", " it", "'s", " ", "7"}));
}

TEST(PreTokenizer, WhatBecomesOfMatches) {
  const Json dash = {{"String", "-"}};
  const std::string text = "a--b-c";
  EXPECT_EQ(pieces_of(text, split("Removed", dash)), (Words{"a", "b", "c"}));
  EXPECT_EQ(pieces_of(text, split("Removed", dash, true)), (Words{"-", "-", "-"}));
  EXPECT_EQ(pieces_of(text, split("Isolated", dash)), (Words{"a", "-", "-", "b", "-", "c"}));
  EXPECT_EQ(pieces_of(text, split("MergedWithPrevious", dash)), (Words{"a-", "-", "b-", "c"}));
  EXPECT_EQ(pieces_of(text, split("MergedWithNext", dash)), (Words{"a", "-", "-b", "-c"}));
  EXPECT_EQ(pieces_of(text, split("Contiguous", dash)), (Words{"a", "--", "b", "-", "c"}));
  EXPECT_EQ(pieces_of("12345678", split("Isolated", {{"Regex", R"((?=(\d{3})+(?!\d)))"}})),
            (Words{"12", "345", "678"}));
}

TEST(PreTokenizer, CharacterClasses) {
  EXPECT_EQ(pieces_of("Hé, b_c 1!", {{"type", "Whitespace"}}), (Words{"Hé", ",", "b_c", "1", "!"}));
  EXPECT_EQ(pieces_of("a\tb\u3000 c", {{"type", "WhitespaceSplit"}}), (Words{"a", "b", "c"}));
  EXPECT_EQ(pieces_of("a.b $c", {{"type", "BertPreTokenizer"}}), (Words{"a", ".", "b", "$", "c"}));
  EXPECT_EQ(pieces_of("a..b", {{"type", "Punctuation"}, {"behavior", "Contiguous"}}),
            (Words{"a", "..", "b"}));
  EXPECT_EQ(pieces_of("a|b", {{"type", "CharDelimiterSplit"}, {"delimiter", "|"}}),
            (Words{"a", "b"}));
  EXPECT_EQ(pieces_of("éabcd", {{"type", "FixedLength"}, {"length", 2}}),
            (Words{"éa", "bc", "d"}));
}

TEST(PreTokenizer, MetaspacePrepends) {
  const auto metaspace = [](const Json& more) {
    Json json = {{"type", "Metaspace"}, {"replacement", "▁"}};
    json.update(more);
    return json;
  };
  EXPECT_EQ(pieces_of("a  b", metaspace({{"prepend_scheme", "always"}})), (Words{"▁a", "▁", "▁b"}));
  EXPECT_EQ(pieces_of(" a", metaspace({{"prepend_scheme", "always"}})), (Words{"▁a"}));
  EXPECT_EQ(pieces_of("a b", metaspace({{"prepend_scheme", "first"}}), 3), (Words{"a", "▁b"}));
  EXPECT_EQ(pieces_of("a b", metaspace({{"prepend_scheme", "first"}, {"split", false}})),
            (Words{"▁a▁b"}));
  EXPECT_EQ(pieces_of("a b", metaspace({{"add_prefix_space", false}, {"str_rep", "▁"}})),
            (Words{"a", "▁b"}));
  EXPECT_EQ(pieces_of("a b", sequence({{{"type", "WhitespaceSplit"}},
                                       metaspace({{"prepend_scheme", "first"}})})),
            (Words{"▁a", "b"}));
}

TEST(PreTokenizer, OriginsSurviveRewriting) {
  const PreTokenizer splitter(JsonNode(Json{{"type", "Metaspace"}}, "", "test"), false);
  AlignedText text("ab cd", 7, true);
  std::vector<Piece> pieces;
  splitter.split(text, pieces);
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(text.begin(pieces[0].begin), 7u);
  EXPECT_EQ(text.end(pieces[0].end), 9u);
  EXPECT_EQ(text.begin(pieces[1].begin), 9u);
  EXPECT_EQ(text.end(pieces[1].end), 12u);
}

TEST(PreTokenizer, RefusesInWords) {
  const auto refused = [](const Json& json) {
    EXPECT_THROW(pieces_of("a", json), Error) << json.dump();
  };
  refused({{"type", "UnicodeScripts"}});
  refused({{"type", "FixedLength"}, {"length", 0}});
  refused({{"type", "CharDelimiterSplit"}, {"delimiter", "ab"}});
  refused({{"type", "Metaspace"}, {"prepend_scheme", "sometimes"}});
  refused(split("Removed", {{"Regex", "(a"}}));
  refused(split("Gone", {{"String", "a"}}));
  refused(split("Removed", {{"Regex", "[a&&b]"}}));
  Json deep = {{"type", "Digits"}};
  for (int i = 0; i < 40; ++i) deep = sequence(Json::array({deep}));
  refused(deep);
}

}  // namespace
}  // namespace smidgen
