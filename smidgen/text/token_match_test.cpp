#include "smidgen/text/token_match.h"

#include <gtest/gtest.h>

namespace smidgen {
namespace {

AddedToken special(int32_t id, const std::string& content) {
  return {.id = id, .content = content};
}

Tokenizer made(std::vector<std::string> tokens, std::vector<AddedToken> added, SpecialTokens roles,
               Json decoder) {
  TokenizerSpec spec;
  spec.model.tokens = std::move(tokens);
  spec.added = std::move(added);
  spec.special = std::move(roles);
  spec.decoder = std::move(decoder);
  spec.where = "tokenizer.json";
  return Tokenizer(std::move(spec));
}

const Json kByteLevel = {{"type", "ByteLevel"}};
const Json kPieces = Json::parse(
    R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"}]})");

TEST(TokenMatch, SpellingsOfSpacesAndBytesAreTheSame) {
  const Tokenizer level = made({"Ġthe", "the", "Ċ", "é", "Ã©", "Ġnew"}, {}, {}, kByteLevel);
  const Tokenizer pieces = made({"the", "<0x0A>", "▁the", "<0x20>", "é", "▁"}, {}, {}, kPieces);
  EXPECT_EQ(match_tokens(level, pieces), std::vector<int32_t>({2, 0, 1, -1, 4, -1}));
  // A space as a piece of its own comes before the byte.
  EXPECT_EQ(match_tokens(made({"Ġ"}, {}, {}, kByteLevel), pieces), std::vector<int32_t>({5}));
  EXPECT_EQ(match_tokens(pieces, level), std::vector<int32_t>({1, 2, 0, -1, 4, -1}));
}

TEST(TokenMatch, SpecialTokensMatchByRoleThenBySpelling) {
  const Tokenizer one =
      made({"a"}, {special(1, "<end>"), special(2, "<both>"), special(3, "<only>")},
           {.eos = "<end>", .pad = "<end>"}, nullptr);
  const Tokenizer two =
      made({"<only>", "a"}, {special(2, "</s>"), special(3, "<both>"), special(4, "<pad>")},
           {.eos = "</s>", .pad = "<pad>"}, nullptr);
  // An ordinary token that looks like a special one is not it.
  EXPECT_EQ(match_tokens(one, two), std::vector<int32_t>({1, 2, 3, -1}));
  EXPECT_EQ(match_tokens(two, one), std::vector<int32_t>({-1, 0, 1, 2, 1}));
}

TEST(TokenMatch, HolesMatchNothing) {
  const Tokenizer one = made({"a", "", "b"}, {}, {}, nullptr);
  EXPECT_EQ(match_tokens(one, one), std::vector<int32_t>({0, -1, 2}));
}

TEST(TokenMatch, MovesTheIdsOfConfigurations) {
  const Tokenizer from = made({"a", "b"}, {special(2, "</s>")}, {}, nullptr);
  const Tokenizer to = made({"d", "b", "c"}, {special(4, "</s>")}, {}, nullptr);
  Json config = {{"bos_token_id", nullptr},
                 {"eos_token_id", Json::array({2, 1, 9})},
                 {"pad_token_id", 0},
                 {"unk_token_id", -1},
                 {"vocab_size", 2}};
  std::vector<std::string> notes;
  move_token_ids(config, from, to, notes);
  EXPECT_EQ(config.dump(), R"({"bos_token_id":null,"eos_token_id":[4,1],"pad_token_id":null,)"
                           R"("unk_token_id":null,"vocab_size":2})");
  ASSERT_EQ(notes.size(), 3u);
  EXPECT_EQ(notes[0], "eos_token_id 9 names no token of the merged tokenizer; left out");
}

TEST(TokenMatch, ARoleWithoutATokenTakesTheOneOfTheTokenizer) {
  const Tokenizer from = made({"a"}, {special(1, "<old>")}, {}, nullptr);
  const Tokenizer to = made({"a"}, {special(1, "</s>")}, {.eos = "</s>"}, nullptr);
  Json config = {{"eos_token_id", Json::array({1})}, {"pad_token_id", 1}};
  std::vector<std::string> notes;
  move_token_ids(config, from, to, notes);
  EXPECT_EQ(config.dump(), R"({"eos_token_id":[1],"pad_token_id":null})");
  ASSERT_EQ(notes.size(), 3u);
  EXPECT_EQ(notes[1], "eos_token_id is now 1, </s>");
}

TEST(TokenMatch, TheSameSpellingComesBeforeTheLowestId) {
  const Tokenizer one = made({"<0x41>", "A", "<0x41>b"}, {}, {}, kPieces);
  EXPECT_EQ(match_tokens(one, one), std::vector<int32_t>({0, 1, 2}));
}

}  // namespace
}  // namespace smidgen
