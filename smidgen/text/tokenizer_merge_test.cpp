// One vocabulary out of several. What mergekit makes of the same tokenizers is compared in
// tests/parity/test_merge_tokenizers.py.
#include "smidgen/text/tokenizer_merge.h"

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"

namespace smidgen {
namespace {

using From = TokenizerSetting::From;
using Kind = TokenFill::Kind;

AddedToken special(int32_t id, const std::string& content) {
  return {.id = id, .content = content};
}

// Ordinary tokens by place (empty: a hole), and added ones.
TokenizerSpec spec(std::vector<std::string> tokens, std::vector<AddedToken> added = {}) {
  TokenizerSpec made;
  made.model.tokens = std::move(tokens);
  made.added = std::move(added);
  made.where = "tokenizer.json";
  return made;
}

TokenizerInput input(const std::string& label, TokenizerSpec made, int64_t rows = 0) {
  return {.label = label,
          .tokenizer = std::make_shared<const Tokenizer>(std::move(made)),
          .rows = rows};
}

std::vector<std::string> tokens(const MergedVocabulary& merged) {
  std::vector<std::string> out;
  for (int32_t id = 0; id < merged.ids; ++id) out.push_back(merged.tokenizer->token(id));
  return out;
}

bool noted(const MergedVocabulary& merged, const std::string& part) {
  return std::any_of(merged.notes.begin(), merged.notes.end(),
                     [&](const std::string& note) { return note.find(part) != std::string::npos; });
}

using Strings = std::vector<std::string>;
using Ids = std::vector<int32_t>;

const std::vector<TokenizerInput> kTwo = {
    input("one", spec({"a", "b"}, {special(2, "</s>")})),
    input("two", spec({"d", "b", "c"}, {special(3, "<x>"), special(4, "</s>")}))};

TEST(TokenizerMerge, AUnionKeepsTheBasesIds) {
  const MergedVocabulary merged = merge_tokenizers(kTwo, 0, {});
  EXPECT_EQ(tokens(merged), Strings({"a", "b", "</s>", "d", "c", "<x>"}));
  EXPECT_EQ(merged.old_ids[0], Ids({0, 1, 2, -1, -1, -1}));
  EXPECT_EQ(merged.old_ids[1], Ids({-1, 1, 4, 0, 2, 3}));
  EXPECT_EQ(merged.rows, 6);
  EXPECT_FALSE(merged.unchanged);
  EXPECT_TRUE(merged.tokenizer->is_special(5));
  EXPECT_FALSE(merged.tokenizer->is_special(3));
  EXPECT_TRUE(noted(merged, "2 tokens of two are new"));
  EXPECT_TRUE(noted(merged, "special tokens with other ids: </s> (4, not 2)"));
}

TEST(TokenizerMerge, TheBaseNeedNotBeTheFirst) {
  const MergedVocabulary merged = merge_tokenizers(kTwo, 1, {});
  EXPECT_EQ(tokens(merged), Strings({"d", "b", "c", "<x>", "</s>", "a"}));
  EXPECT_EQ(merged.old_ids[0], Ids({-1, 1, -1, -1, 2, 0}));
}

TEST(TokenizerMerge, EveryTokenOfEveryModelIsThereOnce) {
  const MergedVocabulary merged = merge_tokenizers(kTwo, 0, {});
  for (size_t i = 0; i < kTwo.size(); ++i) {
    const Tokenizer& own = *kTwo[i].tokenizer;
    std::vector<int32_t> seen;
    for (int32_t id = 0; id < merged.ids; ++id) {
      const int32_t old = merged.old_ids[i][static_cast<size_t>(id)];
      if (old < 0) continue;
      EXPECT_EQ(own.token(old), merged.tokenizer->token(id));
      seen.push_back(old);
    }
    std::sort(seen.begin(), seen.end());
    Ids all(static_cast<size_t>(own.vocabulary_size()));
    for (size_t k = 0; k < all.size(); ++k) all[k] = static_cast<int32_t>(k);
    EXPECT_EQ(seen, all);
  }
}

TEST(TokenizerMerge, BaseAndModelTakeOneTokenizer) {
  MergedVocabulary merged = merge_tokenizers(kTwo, 0, {.from = From::base});
  EXPECT_EQ(tokens(merged), Strings({"a", "b", "</s>"}));
  EXPECT_TRUE(merged.unchanged);
  EXPECT_EQ(merged.old_ids[1], Ids({-1, 1, 4}));
  merged = merge_tokenizers(kTwo, 0, {.from = From::model, .model = 1});
  EXPECT_EQ(merged.donor, 1u);
  EXPECT_EQ(tokens(merged), Strings({"d", "b", "c", "<x>", "</s>"}));
}

TEST(TokenizerMerge, TokensWithoutARowAreAbsent) {
  std::vector<TokenizerInput> inputs = kTwo;
  inputs[0].rows = 2;  // no row for </s>
  inputs[1].rows = 2;  // none for c, <x> and </s>
  MergedVocabulary merged = merge_tokenizers(inputs, 0, {});
  EXPECT_EQ(tokens(merged), Strings({"a", "b", "d"}));
  EXPECT_TRUE(noted(merged, "1 tokens of one have ids from 2 on"));
  merged = merge_tokenizers(inputs, 0, {.from = From::model, .model = 1});
  EXPECT_EQ(merged.old_ids[1], Ids({0, 1, -1, -1, -1}));
  EXPECT_TRUE(noted(merged, "no model has a row for c, <x>, </s>: zeros"));
}

TEST(TokenizerMerge, MergesOfTokensThatAreLeftOutGo) {
  TokenizerSpec base = spec({"a", "b", "ab", "c", "bc", "abc"});
  base.model.merges = {{"a", "b"}, {"b", "c"}, {"ab", "c"}};
  base.special.pad = "abc";
  const MergedVocabulary merged =
      merge_tokenizers({input("one", base, 4)}, 0, {.from = From::base});
  const auto& merges = merged.tokenizer->spec().model.merges;
  ASSERT_EQ(merges.size(), 1u);
  EXPECT_EQ(merges[0], std::make_pair(std::string("a"), std::string("b")));
  EXPECT_FALSE(merged.tokenizer->pad());
  EXPECT_TRUE(noted(merged, "the pad token 'abc'"));
  EXPECT_FALSE(merged.unchanged);
}

TEST(TokenizerMerge, HolesStayHoles) {
  const MergedVocabulary merged = merge_tokenizers(
      {input("one", spec({"a", "", "c"}, {special(7, "</s>")})), input("two", spec({"a", "d"}))}, 0,
      {});
  EXPECT_EQ(tokens(merged), Strings({"a", "", "c", "", "", "", "", "</s>", "d"}));
  EXPECT_EQ(merged.old_ids[0], Ids({0, -1, 2, -1, -1, -1, -1, 7, -1}));
  EXPECT_FALSE(noted(merged, "no model has a row"));
}

TEST(TokenizerMerge, AModelWithoutATokenizerHasTheBases) {
  const MergedVocabulary merged = merge_tokenizers({kTwo[0], {.label = "bare", .rows = 2}}, 0, {});
  EXPECT_EQ(merged.old_ids[1], Ids({0, 1, -1}));
  EXPECT_TRUE(noted(merged, "bare has no tokenizer"));
  EXPECT_EQ(
      error_of([] { merge_tokenizers({{.label = "bare"}, kTwo[0]}, 0, {}); }),
      "not_found: the merged model should have this model's tokenizer, and it has none (bare) "
      "name one with a tokenizer: tokenizer: {source: MODEL}");
  // A source of its own makes up for it.
  EXPECT_TRUE(
      noted(merge_tokenizers({{.label = "bare"}, kTwo[0]}, 0, {.from = From::model, .model = 1}),
            "the base bare has no tokenizer"));
}

TEST(TokenizerMerge, SettingsAddTokensAndSayWhereRowsComeFrom) {
  TokenizerSetting setting{.from = From::base};
  setting.tokens = {{"<new>", {.kind = Kind::other_token, .model = 1, .token = "d"}},
                    {"b", {.kind = Kind::same_token, .model = 1, .force = true}},
                    {"a", {}},
                    {"<zero>", {.kind = Kind::zeros}},
                    {"<third>", {.kind = Kind::other_token, .model = 1, .id = 2}}};
  const MergedVocabulary merged = merge_tokenizers(kTwo, 0, setting);
  EXPECT_EQ(tokens(merged), Strings({"a", "b", "</s>", "<new>", "<zero>", "<third>"}));
  ASSERT_EQ(merged.configured.size(), 4u);
  const auto is = [&](size_t at, int32_t id, Kind kind, int32_t old, bool force) {
    const MergedVocabulary::Row& row = merged.configured[at];
    return row.id == id && row.kind == kind && row.old_id == old && row.force == force;
  };
  EXPECT_TRUE(is(0, 1, Kind::same_token, 1, true));
  EXPECT_TRUE(is(1, 3, Kind::other_token, 0, false));
  EXPECT_TRUE(is(2, 4, Kind::zeros, -1, false));
  EXPECT_TRUE(is(3, 5, Kind::other_token, 2, false));
}

TEST(TokenizerMerge, RefusesSettingsThatCannotBe) {
  const auto with = [](const std::string& token, TokenFill fill, int64_t pad = 0) {
    TokenizerSetting setting{
        .from = From::base, .tokens = {{token, fill}}, .pad_to_multiple_of = pad};
    return error_of([&] { merge_tokenizers(kTwo, 0, setting); });
  };
  EXPECT_EQ(with("b", {.force = true}),
            "usage: a row is to be replaced, and nothing says by what (tokenizer: tokens: b) force "
            "needs a source");
  EXPECT_EQ(with("a", {.kind = Kind::same_token, .model = 1}),
            "mismatch: two has no such token to take the row from (tokenizer: tokens: a) {kind: "
            "model_token, model: M, token: T} takes another token's row");
  EXPECT_EQ(with("a", {.kind = Kind::other_token, .model = 1, .token = "q"}).substr(0, 29),
            "mismatch: two has no token 'q");
  EXPECT_EQ(with("a", {.kind = Kind::other_token, .model = 1, .id = 5}).substr(0, 45),
            "usage: token_id 5 of two, which has 5 rows (t");
  EXPECT_EQ(with("", {.kind = Kind::zeros}).substr(0, 6), "usage:");
  EXPECT_EQ(with("a", {.kind = Kind::zeros}, INT64_MAX).substr(0, 26),
            "usage: padding 3 tokens to");
  EXPECT_EQ(with("a", {.kind = Kind::zeros}, int64_t{1} << 24), "no error");
  EXPECT_EQ(with("a", {.kind = Kind::zeros}, -8).substr(0, 6), "usage:");
}

TEST(TokenizerMerge, PadsRowsAndNotIds) {
  const MergedVocabulary merged =
      merge_tokenizers(kTwo, 0, {.from = From::base, .pad_to_multiple_of = 8});
  EXPECT_EQ(merged.ids, 3);
  EXPECT_EQ(merged.rows, 8);
  EXPECT_EQ(merge_tokenizers(kTwo, 0, {.from = From::base, .pad_to_multiple_of = 3}).rows, 3);
}

TEST(TokenizerMerge, SaysWhereTokenizersDiffer) {
  TokenizerSpec other = spec({"a"});
  other.normalizer = {{"type", "NFC"}};
  MergedVocabulary merged = merge_tokenizers({kTwo[0], input("two", other)}, 0, {});
  EXPECT_TRUE(noted(merged, "its normaliser is NFC, not none"));
  other.normalizer = nullptr;
  other.model.kind = TokenModelSpec::Kind::word_level;
  merged = merge_tokenizers({kTwo[0], input("two", other)}, 0, {});
  EXPECT_TRUE(noted(merged, "it is WordLevel, not BPE"));
  other = spec({"a"}, {{.id = 2, .content = "</s>", .lstrip = true}});
  merged = merge_tokenizers({kTwo[0], input("two", other)}, 0, {});
  EXPECT_TRUE(noted(merged, "added with different settings, the first model's count: </s>"));
  EXPECT_FALSE(merged.tokenizer->spec().added[0].lstrip);
}

TEST(TokenizerMerge, AnEmptyVocabularyIsRefused) {
  EXPECT_EQ(error_of([] { merge_tokenizers({input("one", spec({}))}, 0, {}); }),
            "format: the merged tokenizer would have no token (one) ");
}

}  // namespace
}  // namespace smidgen
