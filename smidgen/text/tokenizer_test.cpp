// Goldens: scripts/golden/tokenizer.py (Hugging Face tokenizers).
#include "smidgen/text/tokenizer.h"

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/io/json_file.h"

namespace smidgen {
namespace {

Json golden(const std::string& name) {
  return read_json(str(SMIDGEN_SOURCE_DIR, "/smidgen/text/testdata/tokenizer_", name, ".json"));
}
Tokenizer make(const Json& json) {
  return Tokenizer(read_tokenizer_json(json, nullptr, nullptr, "test"));
}

class TokenizerGolden : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerGolden, IdsAndTextEqualTheReference) {
  const Json file = golden(GetParam());
  const Tokenizer tokenizer = make(file["tokenizer"]);
  const Tokenizer again = make(tokenizer_json(tokenizer));
  ASSERT_GT(file["cases"].size(), 20u);
  for (const Json& item : file["cases"]) {
    const auto text = item["text"].get<std::string>();
    const auto ids = item["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.encode(text), ids) << text;
    EXPECT_EQ(again.encode(text), ids) << text;
    EXPECT_EQ(tokenizer.encode(text, {.add_special = false}),
              item["plain"].get<std::vector<int32_t>>())
        << text;
    EXPECT_EQ(tokenizer.decode(ids), item["decoded"].get<std::string>()) << text;
    const Encoding encoding = tokenizer.encode_with_offsets(text);
    EXPECT_EQ(encoding.ids, ids);
    StreamDecoder stream(tokenizer);
    std::string pieces;
    for (const int32_t id : ids) pieces += stream.push(id);
    EXPECT_EQ(pieces + stream.flush(), tokenizer.decode(ids));
  }
}
INSTANTIATE_TEST_SUITE_P(All, TokenizerGolden, testing::Values("digits", "prefix", "split"));

TEST(Tokenizer, SpecialTokensAreTextWhenAsked) {
  const Tokenizer tokenizer = make(golden("digits")["tokenizer"]);
  EXPECT_EQ(tokenizer.encode("<|end|>"), std::vector<int32_t>{*tokenizer.find("<|end|>")});
  const auto plain = tokenizer.encode("<|end|>", {.parse_special = false});
  EXPECT_GT(plain.size(), 1u);
  EXPECT_EQ(tokenizer.decode(plain), "<|end|>");
}

TEST(Tokenizer, OffsetsAreTheBytesOfTheToken) {
  const Tokenizer tokenizer = make(golden("digits")["tokenizer"]);
  const std::string text = "the cat 12 \xC3\xA9<|end|>x";
  const Encoding e = tokenizer.encode_with_offsets(text);
  for (size_t i = 0; i < e.ids.size(); ++i)
    EXPECT_EQ(text.substr(e.begins[i], e.ends[i] - e.begins[i]), tokenizer.bytes(e.ids[i]));
}

TEST(Tokenizer, BrokenUtf8IsReadAsReplacementCharacters) {
  const Tokenizer tokenizer = make(golden("digits")["tokenizer"]);
  EXPECT_EQ(tokenizer.encode("a\xFF\xE2\x82z"), tokenizer.encode("a\xEF\xBF\xBD\xEF\xBF\xBDz"));
  EXPECT_EQ(tokenizer.encode("\xED\xA0\x80"),
            tokenizer.encode("\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"));
}

TEST(Tokenizer, StreamNeverEmitsHalfACharacter) {
  const Tokenizer tokenizer = make(golden("digits")["tokenizer"]);
  StreamDecoder stream(tokenizer);
  const auto ids = tokenizer.encode("\xF0\x9F\x98\x80");
  ASSERT_EQ(ids.size(), 4u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(stream.push(ids[i]), "");
  EXPECT_EQ(stream.push(ids[3]), "\xF0\x9F\x98\x80");
  EXPECT_EQ(stream.push(ids[0]), "");
  EXPECT_EQ(stream.flush(), "\xEF\xBF\xBD");
}

TEST(Tokenizer, OneMegabyteWordIsNotQuadratic) {
  const Tokenizer tokenizer = make(golden("digits")["tokenizer"]);
  std::string word;
  while (word.size() < (1u << 20)) word += "thecatsat";
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(word)), word);
}

void refuse(const Json& json, ErrorKind kind, const std::string& part) {
  try {
    make(json);
    FAIL() << "accepted; wanted " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_NE(str(error.what(), error.hint()).find(part), std::string::npos) << error.what();
  }
}

TEST(TokenizerJson, RulesThatMultiplyAreStopped) {
  Json json = golden("digits")["tokenizer"];
  const Json more = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aaaa"}};
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::vector<Json>(40, more)}};
  EXPECT_THROW(make(json).encode("a"), Error);
  json["normalizer"] = nullptr;
  json["decoder"] = {{"type", "Sequence"}, {"decoders", std::vector<Json>(40, more)}};
  const Tokenizer tokenizer = make(json);
  EXPECT_THROW(tokenizer.decode(tokenizer.encode("a")), Error);
  json["decoder"]["decoders"] = std::vector<Json>(100, more);
  refuse(json, ErrorKind::unsupported, "decoders");
}

TEST(TokenizerJson, HostileFilesAreRefusedInWords) {
  const Json good = golden("digits")["tokenizer"];
  const auto with = [&](const char* pointer, const Json& value) {
    Json bad = good;
    bad[Json::json_pointer(pointer)] = value;
    return bad;
  };
  refuse(Json::array(), ErrorKind::format, "object");
  refuse(with("/model", 3), ErrorKind::format, "object");
  refuse(with("/model/type", "Unigram"), ErrorKind::format, "vocab");
  refuse(with("/model/type", "Markov"), ErrorKind::unsupported, "Markov");
  refuse(with("/model/vocab", Json::array()), ErrorKind::format, "vocab");
  refuse(with("/model/vocab/zz", -1), ErrorKind::format, "zz");
  refuse(with("/model/vocab/zz", 1.5), ErrorKind::format, "zz");
  refuse(with("/model/vocab/zz", 16000000), ErrorKind::format, "zz");
  refuse(with("/model/vocab/zz", 18446744073709551615u), ErrorKind::format, "zz");
  refuse(with("/model/vocab/zz", 5), ErrorKind::format, "two tokens");
  refuse(with("/model/merges/0", "q w e"), ErrorKind::format, "merge 0");
  refuse(with("/model/merges/0", "nothere t"), ErrorKind::format, "nothere");
  refuse(with("/model/byte_fallback", "x"), ErrorKind::format, "byte_fallback");
  refuse(with("/model/dropout", 0.1), ErrorKind::unsupported, "dropout");
  // An unknown token that does not exist matters only where a byte has no token.
  Json unknown = with("/model/unk_token", "nothere");
  EXPECT_NO_THROW(make(unknown));
  unknown["model"]["vocab"].erase("\u0100");
  EXPECT_NO_THROW(make(unknown).encode("a"));
  EXPECT_THROW(make(unknown).encode(std::string_view("\0", 1)), Error);
  refuse(with("/pre_tokenizer", {{"type", "UnicodeScripts"}}), ErrorKind::unsupported,
         "UnicodeScripts");
  refuse(with("/normalizer", {{"type", "Append"}}), ErrorKind::unsupported, "Append");
  refuse(with("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "////fwAA"}}),
         ErrorKind::format, "trie");
  refuse(with("/decoder", {{"type", "Cut"}}), ErrorKind::unsupported, "Cut");
  refuse(with("/post_processor", {{"type", "Cut"}}), ErrorKind::unsupported, "Cut");
  refuse(with("/added_tokens/0/id", 7), ErrorKind::format, "two");
  Json deep = {{"type", "NFC"}};
  for (int i = 0; i < 50; ++i)
    deep = Json{{"type", "Sequence"}, {"normalizers", Json::array({deep})}};
  refuse(with("/normalizer", deep), ErrorKind::unsupported, "nested");
}

}  // namespace
}  // namespace smidgen
