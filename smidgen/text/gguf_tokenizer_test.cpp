// Tokenizers through GGUF metadata and back: the same ids. What llama.cpp's own files look like is
// compared in tests/parity/test_tokenizer_gguf.py.
#include "smidgen/text/gguf_tokenizer.h"

#include <cstring>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/io/gguf.h"
#include "smidgen/io/json_file.h"
#include "smidgen/text/base64.h"
#include "smidgen/text/gguf_pre.h"
#include "smidgen/text/token_model.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {
namespace {

// A GGUF file without tensors.
class Metadata {
 public:
  void text(const std::string& key, const std::string& value) {
    head(key, 8);
    put(value);
  }
  void texts(const std::string& key, const std::vector<std::string>& values) {
    array(key, 8, values.size());
    for (const std::string& value : values) put(value);
  }
  template <class T>
  void numbers(const std::string& key, uint32_t type, const std::vector<T>& values) {
    array(key, type, values.size());
    for (const T value : values) put_raw(value);
  }
  template <class T>
  void number(const std::string& key, uint32_t type, T value) {
    head(key, type);
    put_raw(value);
  }
  GgufFile open() const {
    std::string bytes = "GGUF";
    const auto add = [&](auto value) {
      bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    };
    add(uint32_t{3});
    add(uint64_t{0});
    add(count_);
    bytes += bytes_;
    bytes.resize((bytes.size() + 31) / 32 * 32);
    const fs::path path = fs::path(testing::TempDir()) / "tokenizer.gguf";
    write_file(path, bytes);
    return GgufFile(path);
  }

 private:
  void head(const std::string& key, uint32_t type) {
    ++count_;
    put("tokenizer.ggml." + key);
    put_raw(type);
  }
  void array(const std::string& key, uint32_t type, size_t count) {
    head(key, 9);
    put_raw(type);
    put_raw(static_cast<uint64_t>(count));
  }
  void put(const std::string& value) {
    put_raw(static_cast<uint64_t>(value.size()));
    bytes_ += value;
  }
  template <class T>
  void put_raw(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  std::string bytes_;
  uint64_t count_ = 0;
};

Tokenizer through_gguf(const Tokenizer& tokenizer) {
  const GgufTokenizer made = gguf_tokenizer(tokenizer, 0);
  Metadata out;
  out.text("model", made.model);
  out.text("pre", made.pre);
  out.texts("tokens", made.tokens);
  out.numbers("token_type", 5, made.token_type);
  if (!made.scores.empty()) out.numbers("scores", 6, made.scores);
  if (!made.merges.empty()) out.texts("merges", made.merges);
  for (const auto& [key, id] : made.ids) out.number(key, 4, id);
  for (const auto& [key, flag] : made.flags) out.number(key, 7, static_cast<uint8_t>(flag));
  if (!made.precompiled_charsmap.empty())
    out.numbers(
        "precompiled_charsmap", 0,
        std::vector<uint8_t>(made.precompiled_charsmap.begin(), made.precompiled_charsmap.end()));
  return Tokenizer(read_tokenizer_gguf(out.open()));
}

const std::vector<std::string> kTexts = {
    "",          " ",        "the cat", " the  cat ", "don't 12345 x2y", "Grüße é 日本 😀",
    "a<|end|>b", "\t\n\n x", "<s>▁",    "ab ba abab"};

void expect_same(const Tokenizer& before, const Tokenizer& after, bool space_in_front = true) {
  for (const std::string& text : kTexts) {
    if (!space_in_front && text.starts_with(" ")) continue;
    EXPECT_EQ(before.encode(text), after.encode(text)) << text;
    EXPECT_EQ(before.decode(before.encode(text), true), after.decode(after.encode(text), true));
  }
  EXPECT_EQ(before.bos(), after.bos());
  EXPECT_EQ(before.eos(), after.eos());
}

Json golden(const std::string& name) {
  return read_json(
      str(SMIDGEN_SOURCE_DIR, "/smidgen/text/testdata/tokenizer_", name, ".json"))["tokenizer"];
}
Tokenizer make(const Json& json, const Json& config = nullptr) {
  return Tokenizer(read_tokenizer_json(json, config, nullptr, "test"));
}
void without_odd_tokens(Json& json) {
  Json& added = json["added_tokens"];
  added.erase(std::remove_if(added.begin(), added.end(),
                             [](const Json& t) { return t["single_word"] || t["lstrip"]; }),
              added.end());
}

TEST(GgufTokenizer, ByteLevel) {
  Json json = golden("digits");
  EXPECT_THROW(gguf_tokenizer(make(json), 0), Error);  // tokens that look at their neighbours
  without_odd_tokens(json);
  const Json config = {{"eos_token", "<|end|>"}};
  expect_same(make(json, config), through_gguf(make(json, config)));
  const GgufTokenizer made = gguf_tokenizer(make(json, config), 500);
  EXPECT_EQ(made.pre, "smollm");
  EXPECT_EQ(made.tokens.size(), 500u);
  EXPECT_EQ(made.tokens[499], "[PAD499]");
  EXPECT_EQ(made.token_type[499], 5);
  EXPECT_EQ(made.token_type[0], 3);

  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<|end|>"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair", Json::array()},
      {"special_tokens",
       {{"<|end|>", {{"id", "<|end|>"}, {"ids", {0}}, {"tokens", {"<|end|>"}}}}}}};
  const Json bos = {{"bos_token", "<|end|>"}};
  EXPECT_TRUE(through_gguf(make(json, bos)).adds_bos());
  expect_same(make(json, bos), through_gguf(make(json, bos)));
}

TEST(GgufTokenizer, EveryNamedPreTokenizerComesBack) {
  Json json = golden("digits");
  without_odd_tokens(json);
  for (const GgufPre& pre : gguf_pre_tokenizers()) {
    json["pre_tokenizer"] = pre.pre_tokenizer;
    json["normalizer"] = pre.normalizer;
    json["model"]["ignore_merges"] = pre.ignore_merges;
    const Tokenizer tokenizer = make(json);
    const GgufPre* found = find_gguf_pre(gguf_tokenizer(tokenizer, 0).pre);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->pre_tokenizer, pre.pre_tokenizer);
    expect_same(tokenizer, through_gguf(tokenizer));
  }
  json["pre_tokenizer"] = {{"type", "Whitespace"}};
  EXPECT_THROW(gguf_tokenizer(make(json), 0), Error);
}

TokenizerSpec sentence_piece(bool prefix) {
  TokenizerSpec spec;
  TokenModelSpec& model = spec.model;
  model.tokens = {"<unk>", "<s>", "</s>"};
  for (int byte = 0; byte < 256; ++byte)
    model.tokens.push_back(byte_token(static_cast<uint8_t>(byte)));
  for (const char* piece : {"ab",  "▁a",   "▁ab", "aba", "▁t", "th", "▁th", "▁the", "▁c", "at",
                            "cat", "▁cat", "▁",   "a",   "b",  "t",  "h",   "e",    "c",  "é"})
    model.tokens.emplace_back(piece);
  model.scores.assign(259, std::numeric_limits<double>::quiet_NaN());
  while (model.scores.size() < model.tokens.size())
    model.scores.push_back(-static_cast<double>(model.scores.size()));
  model.unknown = "<unk>";
  model.byte_fallback = model.fuse_unknown = true;
  const Json mark = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}};
  spec.normalizer = mark;
  if (prefix)
    spec.normalizer = {{"type", "Sequence"},
                       {"normalizers", {{{"type", "Prepend"}, {"prepend", "▁"}}, mark}}};
  spec.decoder = {{"type", "Sequence"},
                  {"decoders",
                   {{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
                    {{"type", "ByteFallback"}},
                    {{"type", "Fuse"}}}}};
  if (prefix)
    spec.decoder["decoders"].push_back(
        {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  for (int32_t id = 0; id < 3; ++id) {
    AddedToken token;
    token.id = id;
    token.content = model.tokens[static_cast<size_t>(id)];
    spec.added.push_back(token);
  }
  spec.special.bos = "<s>";
  spec.special.eos = "</s>";
  spec.where = "test";
  return spec;
}

TEST(GgufTokenizer, SentencePieceByScoresAndByMerges) {
  for (const bool prefix : {true, false}) {
    const Tokenizer scores(sentence_piece(prefix));
    expect_same(scores, through_gguf(scores));
    // tokenizer.json knows only merges; they say the same, and lead back to scores.
    const Json json = tokenizer_json(scores);
    const Json config = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
    const Tokenizer merges = make(json, config);
    EXPECT_FALSE(merges.spec().model.merges.empty());
    expect_same(scores, merges);
    expect_same(scores, through_gguf(merges));
    Json fewer = json;
    fewer["model"]["merges"].erase(2);
    EXPECT_THROW(gguf_tokenizer(make(fewer, config), 0), Error);
  }
}

TEST(GgufTokenizer, WordPieceAndUnigram) {
  TokenizerSpec bert;
  bert.model.kind = TokenModelSpec::Kind::word_piece;
  bert.model.tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat",
                       "##s",   "a",     "##b",   "x",     "##2", "##y"};
  bert.model.unknown = "[UNK]";
  bert.model.subword_prefix = "##";
  bert.normalizer = {{"type", "BertNormalizer"},
                     {"clean_text", true},
                     {"handle_chinese_chars", true},
                     {"strip_accents", nullptr},
                     {"lowercase", true}};
  bert.pre_tokenizer = {{"type", "BertPreTokenizer"}};
  bert.post_processor = {{"type", "BertProcessing"}, {"sep", {"[SEP]", 3}}, {"cls", {"[CLS]", 2}}};
  bert.decoder = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  for (int32_t id = 0; id < 4; ++id) {
    AddedToken token;
    token.id = id;
    token.content = bert.model.tokens[static_cast<size_t>(id)];
    bert.added.push_back(token);
  }
  bert.special = {"[CLS]", "[SEP]", "[PAD]", "[UNK]"};
  bert.where = "test";
  expect_same(Tokenizer(bert), through_gguf(Tokenizer(bert)));
  bert.normalizer["lowercase"] = false;
  EXPECT_THROW(gguf_tokenizer(Tokenizer(bert), 0), Error);

  TokenizerSpec t5;
  t5.model.kind = TokenModelSpec::Kind::unigram;
  t5.model.tokens = {"<pad>", "</s>", "<unk>", "▁the", "▁", "c", "at", "▁cat", "a", "b", "ab"};
  t5.model.scores = {0, 0, 0, -2, -3, -4, -4.5, -5, -5.5, -6, -6.5};
  t5.model.unknown = "<unk>";
  t5.pre_tokenizer = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}, {"split", true}};
  t5.decoder = t5.pre_tokenizer;
  t5.post_processor = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
        {{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}}}},
      {"special_tokens", {{"</s>", {{"id", "</s>"}, {"ids", {1}}, {"tokens", {"</s>"}}}}}}};
  for (int32_t id = 0; id < 3; ++id) {
    AddedToken token;
    token.id = id;
    token.content = t5.model.tokens[static_cast<size_t>(id)];
    t5.added.push_back(token);
  }
  t5.special.eos = "</s>";
  t5.where = "test";
  // Metaspace takes a space at the front for the prefix; what reads GGUF puts one before it.
  expect_same(Tokenizer(t5), through_gguf(Tokenizer(t5)), false);
}

TEST(GgufTokenizer, BrokenMetadataIsRefusedInWords) {
  const auto refused = [](const Metadata& metadata, const std::string& part) {
    try {
      read_tokenizer_gguf(metadata.open());
      FAIL() << "accepted; wanted " << part;
    } catch (const Error& error) {
      EXPECT_NE(str(error.what(), error.hint()).find(part), std::string::npos) << error.what();
    }
  };
  Metadata unknown;
  unknown.texts("tokens", {"a"});
  unknown.text("model", "gpt2");
  unknown.text("pre", "smolm");
  refused(unknown, "smollm");
  Metadata kind;
  kind.texts("tokens", {"a"});
  kind.text("model", "rwkv");
  refused(kind, "rwkv");
  Metadata scores;
  scores.texts("tokens", {"a", "b"});
  scores.text("model", "llama");
  scores.numbers<float>("scores", 6, {1.0f});
  refused(scores, "1 scores for 2 tokens");
  Metadata types;
  types.texts("tokens", {"a", "b"});
  types.text("model", "llama");
  types.numbers<int32_t>("token_type", 5, {1});
  refused(types, "1 token types");
}

TEST(Base64, BothWays) {
  std::mt19937 random(4);
  for (size_t size = 0; size < 40; ++size) {
    std::string bytes(size, 0);
    for (char& c : bytes) c = static_cast<char>(random());
    EXPECT_EQ(from_base64(to_base64(bytes), "test"), bytes);
  }
  EXPECT_EQ(to_base64("foob"), "Zm9vYg==");
  for (const char* bad : {"abc", "ab=c", "a===", "ab*d", "=abc", "Zg==Zg=="})
    EXPECT_THROW(from_base64(bad, "test"), Error) << bad;
}

}  // namespace
}  // namespace smidgen
