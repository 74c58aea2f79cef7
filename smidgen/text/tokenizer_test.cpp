// Goldens: scripts/golden/tokenizer.py (Hugging Face tokenizers).
#include "smidgen/text/tokenizer.h"

#include <random>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/io/json_file.h"
#include "smidgen/text/bpe.h"
#include "smidgen/text/byte_level.h"

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

TEST(Bpe, FastWaysEqualTheDefinition) {
  const TokenizerSpec spec =
      read_tokenizer_json(golden("digits")["tokenizer"], nullptr, nullptr, "test");
  std::vector<std::string> bytes;
  for (const auto& token : spec.bpe.tokens) bytes.push_back(from_byte_letters(token).value_or(""));
  const Bpe bpe(spec.bpe, bytes, "test");
  std::mt19937 random(7);
  for (int trial = 0; trial < 2000; ++trial) {
    std::string word(1 + random() % 130, 'x');
    for (char& c : word) c = "thecat sond"[random() % 11];
    std::vector<int32_t> ids;
    bpe.encode(word, ids, nullptr);
    EXPECT_EQ(ids, bpe.encode_reference(word)) << word;
  }
}

TEST(Bpe, OneMegabyteWordIsNotQuadratic) {
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

TEST(TokenizerJson, HostileFilesAreRefusedInWords) {
  const Json good = golden("digits")["tokenizer"];
  const auto with = [&](const char* pointer, const Json& value) {
    Json bad = good;
    bad[Json::json_pointer(pointer)] = value;
    return bad;
  };
  refuse(Json::array(), ErrorKind::format, "object");
  refuse(with("/model", 3), ErrorKind::format, "object");
  refuse(with("/model/type", "Unigram"), ErrorKind::unsupported, "Unigram");
  refuse(with("/model/vocab", Json::array()), ErrorKind::format, "model.vocab");
  refuse(with("/model/vocab/zz", -1), ErrorKind::format, "zz");
  refuse(with("/model/vocab/zz", 1.5), ErrorKind::format, "zz");
  refuse(with("/model/vocab/zz", 16000000), ErrorKind::format, "zz");
  refuse(with("/model/vocab/zz", 18446744073709551615u), ErrorKind::format, "zz");
  refuse(with("/model/vocab/zz", 5), ErrorKind::format, "two tokens");
  refuse(with("/model/merges/0", "q w e"), ErrorKind::format, "merge 0");
  refuse(with("/model/merges/0", "nothere t"), ErrorKind::format, "nothere");
  refuse(with("/model/byte_fallback", true), ErrorKind::unsupported, "byte_fallback");
  refuse(with("/model/byte_fallback", "x"), ErrorKind::format, "byte_fallback");
  // An unknown token matters only where a byte has no token.
  Json unknown = with("/model/unk_token", "<|end|>");
  EXPECT_NO_THROW(make(unknown));
  unknown["model"]["vocab"].erase("\u0100");
  refuse(unknown, ErrorKind::unsupported, "no token for byte 0");
  refuse(with("/pre_tokenizer", nullptr), ErrorKind::unsupported, "pre-tokeniser");
  refuse(with("/pre_tokenizer", {{"type", "Metaspace"}}), ErrorKind::unsupported, "Metaspace");
  refuse(with("/normalizer", {{"type", "BertNormalizer"}}), ErrorKind::unsupported,
         "BertNormalizer");
  refuse(with("/decoder", {{"type", "WordPiece"}}), ErrorKind::unsupported, "WordPiece");
  refuse(with("/added_tokens/0/id", 7), ErrorKind::format, "two");
  Json deep = {{"type", "NFC"}};
  for (int i = 0; i < 50; ++i)
    deep = Json{{"type", "Sequence"}, {"normalizers", Json::array({deep})}};
  refuse(with("/normalizer", deep), ErrorKind::unsupported, "nested");
}

}  // namespace
}  // namespace smidgen
