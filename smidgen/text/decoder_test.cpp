// Expected texts: decoders of Hugging Face tokenizers 0.23.
#include "smidgen/text/decoder.h"

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

using Words = std::vector<std::string>;

// What each token made certain, then the rest.
Words pieces_of(const Json& json, const Words& tokens) {
  auto run =
      (json.is_null() ? TokenDecoder() : TokenDecoder(JsonNode(json, "decoder", "test"))).start();
  Words out;
  for (const std::string& token : tokens) out.push_back(run.push(token));
  out.push_back(run.flush());
  for (const std::string& piece : out) EXPECT_TRUE(is_utf8(piece));
  return out;
}

Json sequence(const Json& decoders) {
  return {{"type", "Sequence"}, {"decoders", decoders}};
}
const Json kMarks = {{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}};

TEST(TokenDecoder, WordsAreJoined) {
  EXPECT_EQ(pieces_of(nullptr, {"a", "b"}), (Words{"a", " b", ""}));
  EXPECT_EQ(pieces_of({{"type", "WordPiece"}}, {"he", "##llo", ".", "do", "not"}),
            (Words{"he", "llo", ".", " do", " not", ""}));
  EXPECT_EQ(pieces_of({{"type", "Metaspace"}, {"prepend_scheme", "first"}}, {"▁a", "▁b", "c"}),
            (Words{"a", " b", "c", ""}));
  EXPECT_EQ(pieces_of({{"type", "BPEDecoder"}}, {"lo", "w</w>", "est</w>"}),
            (Words{"", "lo", "w ", "est"}));
  EXPECT_EQ(pieces_of({{"type", "CTC"}}, {"<pad>", "h", "h", "<pad>", "|", "e"}),
            (Words{"", "h", "", "", " ", "e", ""}));
}

TEST(TokenDecoder, CharactersWaitForTheirBytes) {
  EXPECT_EQ(pieces_of({{"type", "ByteLevel"}}, {"Ã", "©", "Ġx", "Ã"}),
            (Words{"", "é", " x", "", "\uFFFD"}));
  const Json llama = sequence({kMarks,
                               {{"type", "ByteFallback"}},
                               {{"type", "Fuse"}},
                               {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}});
  EXPECT_EQ(pieces_of(llama, {"▁", "▁a", "<0xC3>", "<0xA9>", "b", "<0xC3>", "c"}),
            (Words{"", " a", "", "", "éb", "", "\uFFFDc", ""}));
}

TEST(TokenDecoder, StagesBehindFuseSeeOneToken) {
  const Json fuse = {{"type", "Fuse"}};
  EXPECT_EQ(
      pieces_of(sequence({fuse, {{"type", "Strip"}, {"content", "x"}, {"start", 2}, {"stop", 2}}}),
                {"x", "xx", "a", "xx", "xx"}),
      (Words{"", "", "xa", "", "xx", ""}));
  EXPECT_EQ(
      pieces_of(
          sequence(
              {fuse, {{"type", "Replace"}, {"pattern", {{"String", "abc"}}}, {"content", "-"}}}),
          {"xa", "b", "c", "ab"}),
      (Words{"x", "", "-", "", "ab"}));
}

TEST(TokenDecoder, RefusesInWords) {
  EXPECT_THROW(pieces_of({{"type", "Morse"}}, {}), Error);
  EXPECT_THROW(pieces_of({{"type", "Strip"}, {"content", " "}, {"start", -1}}, {}), Error);
  EXPECT_THROW(pieces_of({{"type", "Replace"}, {"content", " "}}, {}), Error);
}

}  // namespace
}  // namespace smidgen
