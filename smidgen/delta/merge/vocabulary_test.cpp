// Rows of merged vocabularies. What mergekit makes of the same models is compared in
// tests/parity/test_merge_tokenizers.py.
#include "smidgen/delta/merge/vocabulary.h"

#include <cstring>
#include <thread>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/row_mapped.h"
#include "smidgen/delta/merge/table_source_test.h"
#include "smidgen/io/owned_tensors.h"

namespace smidgen {
namespace {

constexpr int64_t kWidth = 3;
const std::string kEmbedding = "model.embed_tokens.weight", kHead = "lm_head.weight";
using Row = std::vector<float>;

// Row r of the tensor is (tag + r, tag + r + .25, ...).
float value(float tag, int64_t row, int64_t column) {
  return tag + static_cast<float>(row) + .25f * static_cast<float>(column);
}

struct Tagged {
  std::string name;
  int64_t rows;
  float tag;
  int64_t width = kWidth;  // 0: a bias
};

std::shared_ptr<const TableSource> model(const std::string& label,
                                         const std::vector<Tagged>& tensors) {
  const auto table = std::make_shared<OwnedTensors>(label);
  for (const Tagged& each : tensors) {
    std::vector<int64_t> shape = {each.rows};
    if (each.width) shape.push_back(each.width);
    const std::span<std::byte> bytes = table->make(each.name, Format::f32, shape);
    std::vector<float> values;
    for (int64_t row = 0; row < each.rows; ++row) {
      for (int64_t k = 0; k < std::max<int64_t>(1, each.width); ++k)
        values.push_back(value(each.tag, row, k));
    }
    std::memcpy(bytes.data(), values.data(), bytes.size());
  }
  return std::make_shared<const TableSource>(label, table);
}

Row row_of(const Source& source, const std::string& name, int64_t row) {
  const SourceTensor* tensor = source.find(name);
  Row out(static_cast<size_t>(tensor->columns()));
  source.read(*tensor, row * tensor->columns(), out);
  return out;
}

Row made(float tag, int64_t row) {
  return {value(tag, row, 0), value(tag, row, 1), value(tag, row, 2)};
}

std::shared_ptr<const Tokenizer> tokenizer(std::vector<std::string> tokens) {
  TokenizerSpec spec;
  spec.model.tokens = std::move(tokens);
  spec.where = "tokenizer.json";
  return std::make_shared<const Tokenizer>(std::move(spec));
}

// Output ids: a 0, b 1, c 2, d 3, e 4.
//   one: a b c        two: b c d        three: d e a
struct Three {
  std::vector<TokenizerInput> inputs = {{"one", tokenizer({"a", "b", "c"}), 3},
                                        {"two", tokenizer({"b", "c", "d"}), 3},
                                        {"three", tokenizer({"d", "e", "a"}), 3}};
  Models models = {model("one", {{kEmbedding, 3, 100}, {"norm", 1, 7}}),
                   model("two", {{kEmbedding, 3, 200}}), model("three", {{kEmbedding, 3, 300}})};
  TokenizerSetting setting;

  Models mapped(std::optional<size_t> base = std::nullopt) const {
    return with_merged_rows(models, {0, 1, 2}, merge_tokenizers(inputs, base.value_or(0), setting),
                            base);
  }
};

TEST(Vocabulary, OwnRowsMoveToTheirTokens) {
  const Models mapped = Three().mapped();
  EXPECT_EQ(mapped[0]->find(kEmbedding)->shape, std::vector<int64_t>({5, kWidth}));
  for (const int64_t id : {0, 1, 2}) EXPECT_EQ(row_of(*mapped[0], kEmbedding, id), made(100, id));
  for (const int64_t id : {1, 2, 3})
    EXPECT_EQ(row_of(*mapped[1], kEmbedding, id), made(200, id - 1));
  EXPECT_EQ(row_of(*mapped[2], kEmbedding, 3), made(300, 0));
  EXPECT_EQ(row_of(*mapped[2], kEmbedding, 4), made(300, 1));
  EXPECT_EQ(row_of(*mapped[2], kEmbedding, 0), made(300, 2));
  EXPECT_EQ(row_of(*mapped[0], "norm", 0), made(7, 0));
}

TEST(Vocabulary, MissingRowsComeFromTheOnlyOwnerTheBaseOrAllOwners) {
  // e is three's alone; a is in one and three, of which one is the base or nobody is.
  Models mapped = Three().mapped(0);
  EXPECT_EQ(row_of(*mapped[0], kEmbedding, 4), made(300, 1));
  EXPECT_EQ(row_of(*mapped[1], kEmbedding, 0), made(100, 0));
  EXPECT_EQ(row_of(*mapped[2], kEmbedding, 2), made(100, 2));
  EXPECT_EQ(row_of(*mapped[0], kEmbedding, 3), made(251, 0));  // mean of 202 and 300
  mapped = Three().mapped();
  EXPECT_EQ(row_of(*mapped[1], kEmbedding, 0), made(201, 0));  // mean of 100 and 302
  EXPECT_EQ(row_of(*mapped[2], kEmbedding, 1)[0], (101 + 200) / 2.f);
}

TEST(Vocabulary, ConfiguredRows) {
  using Kind = TokenFill::Kind;
  Three three;
  three.setting.tokens = {{"a", {.kind = Kind::zeros}},
                          {"b", {.kind = Kind::same_token, .model = 1, .force = true}},
                          {"c", {.kind = Kind::zeros, .force = true}},
                          {"f", {.kind = Kind::other_token, .model = 2, .id = 1}},
                          {"g", {}}};
  const Models mapped = three.mapped(0);
  EXPECT_EQ(row_of(*mapped[0], kEmbedding, 0), made(100, 0));
  EXPECT_EQ(row_of(*mapped[1], kEmbedding, 0), Row(kWidth, 0));
  for (const auto& each : mapped) {
    EXPECT_EQ(row_of(*each, kEmbedding, 1), made(200, 0));
    EXPECT_EQ(row_of(*each, kEmbedding, 2), Row(kWidth, 0));
    EXPECT_EQ(row_of(*each, kEmbedding, 5), made(300, 1));
    EXPECT_EQ(row_of(*each, kEmbedding, 6), Row(kWidth, 0));
  }
}

TEST(Vocabulary, RowsWithoutATokenAreTheMean) {
  Three three;
  three.setting.from = TokenizerSetting::From::base;
  three.setting.pad_to_multiple_of = 8;
  const Models mapped = three.mapped(0);
  EXPECT_EQ(mapped[0]->find(kEmbedding)->shape[0], 8);
  for (const int64_t id : {3, 7}) {
    EXPECT_EQ(row_of(*mapped[0], kEmbedding, id), made(101, 0));
    EXPECT_EQ(row_of(*mapped[1], kEmbedding, id)[0], (100 + 200 + 201) / 3.f);
  }
}

TEST(Vocabulary, EveryModelKeepsItsLogitsOnItsTokens) {
  const Three three;
  const MergedVocabulary merged = merge_tokenizers(three.inputs, 0, {});
  const Models mapped = three.mapped();
  const Row hidden = {.5f, -2, 3};
  const auto logit = [&](const Row& row) {
    return row[0] * hidden[0] + row[1] * hidden[1] + row[2] * hidden[2];
  };
  for (size_t m = 0; m < 3; ++m) {
    for (int32_t old = 0; old < 3; ++old) {
      const std::optional<int32_t> id =
          merged.tokenizer->find(three.inputs[m].tokenizer->token(old));
      ASSERT_TRUE(id);
      EXPECT_EQ(logit(row_of(*mapped[m], kEmbedding, *id)),
                logit(row_of(*three.models[m], kEmbedding, old)));
    }
  }
}

TEST(Vocabulary, AnUnmovedTensorIsStillBytesOfTheFile) {
  Three three;
  three.setting.from = TokenizerSetting::From::base;
  const Models mapped = three.mapped(0);
  EXPECT_EQ(mapped[0]->stored(*mapped[0]->find(kEmbedding))->bytes.data(),
            three.models[0]->stored(*three.models[0]->find(kEmbedding))->bytes.data());
  EXPECT_FALSE(mapped[1]->stored(*mapped[1]->find(kEmbedding)));
  mapped[0]->release(*mapped[0]->find(kEmbedding));
  mapped[1]->release(*mapped[1]->find(kEmbedding));
  const auto released = [&](size_t i) {
    return static_cast<const TableSource&>(*three.models[i]).released();
  };
  EXPECT_EQ(released(0), three.models[0]->find(kEmbedding)->elements());
  EXPECT_EQ(released(1), 0);  // its rows were never anybody's bytes
  EXPECT_TRUE(mapped[0]->stored(*mapped[0]->find("norm")));
}

TEST(Vocabulary, ATiedModelShowsItsEmbeddingAsHeadWhereAnotherHasOne) {
  Three three;
  three.models[1] =
      model("two", {{kEmbedding, 3, 200}, {kHead, 3, 500}, {"lm_head.bias", 3, 900, 0}});
  const Models mapped = three.mapped(0);
  EXPECT_EQ(row_of(*mapped[0], kHead, 0), made(100, 0));
  // d, that one lacks: two's row of the head and three's of the embedding.
  EXPECT_EQ(row_of(*mapped[0], kHead, 3), made(401, 0));
  EXPECT_EQ(row_of(*mapped[0], kEmbedding, 3), made(251, 0));
  EXPECT_EQ(mapped[0]->find("lm_head.bias"), nullptr);
  // Only two has a bias: what it lacks, nobody has.
  Row bias(5);
  mapped[1]->read(*mapped[1]->find("lm_head.bias"), 0, bias);
  EXPECT_EQ(bias, Row({0, 900, 901, 902, 0}));
  EXPECT_EQ(Three().mapped(0)[0]->find(kHead), nullptr);
}

TEST(Vocabulary, ReadsOnlyTheRowsThatAreAskedFor) {
  std::vector<std::string> many, reversed;
  for (int i = 0; i < 1000; ++i) many.push_back(str("t", i));
  reversed.assign(many.rbegin(), many.rend());
  const auto one = model("one", {{kEmbedding, 1000, 0}}),
             two = model("two", {{kEmbedding, 1000, 0}});
  const MergedVocabulary merged =
      merge_tokenizers({{"one", tokenizer(many), 1000}, {"two", tokenizer(reversed), 1000}}, 0, {});
  const Models mapped = with_merged_rows({one, two}, {0, 1}, merged, 0);
  std::vector<float> block(10 * kWidth);
  const SourceTensor& tensor = *mapped[1]->find(kEmbedding);
  mapped[1]->read(tensor, 500 * kWidth, block);
  EXPECT_EQ(block[0], value(0, 499, 0));
  EXPECT_EQ(two->elements_read(), 10 * kWidth);
  EXPECT_EQ(one->elements_read(), 0);
}

TEST(Vocabulary, OtherRowsHaveAnotherDigest) {
  Three three;
  const auto digest = [&](std::optional<size_t> base) {
    return static_cast<const RowMapped&>(*three.mapped(base)[1]).row_digest();
  };
  EXPECT_EQ(digest(0), digest(0));
  EXPECT_NE(digest(0), digest(std::nullopt));
  const std::string before = digest(0);
  three.setting.tokens = {{"a", {.kind = TokenFill::Kind::zeros, .force = true}}};
  EXPECT_NE(digest(0), before);
}

TEST(Vocabulary, ManyThreadsReadTheSame) {
  Three three;
  three.setting.pad_to_multiple_of = 64;
  const Models mapped = three.mapped();
  const SourceTensor& tensor = *mapped[1]->find(kEmbedding);
  std::vector<Row> got(4, Row(static_cast<size_t>(tensor.elements())));
  std::vector<std::thread> threads;
  for (Row& out : got) threads.emplace_back([&] { mapped[1]->read(tensor, 0, out); });
  for (std::thread& thread : threads) thread.join();
  for (const Row& out : got) EXPECT_EQ(out, got[0]);
}

TEST(Vocabulary, SizesMustMatchWithoutATokenizer) {
  const Models models = {model("one", {{kEmbedding, 3, 0}}),
                         model("two", {{kEmbedding, 5, 0}, {kHead, 5, 0}}),
                         model("bare", {{"norm", 1, 0}})};
  EXPECT_EQ(
      error_of([&] { check_vocabulary_rows(models); }),
      "mismatch: the models have vocabularies of different sizes: one 3, two 5 (tokenizer) write "
      "in the recipe  tokenizer: {source: union}  to keep all tokens, or  source: base  for the "
      "base's; --unsafe-truncate-embeddings cuts all to the shortest");
  check_vocabulary_rows({models[0], models[2]});
  EXPECT_EQ(
      error_of([] { vocabulary_rows(*model("odd", {{kEmbedding, 3, 0}, {kHead, 4, 0}})); }),
      "mismatch: model.embed_tokens.weight has 3 rows and lm_head.weight has 4: a vocabulary has "
      "one size (odd) ");
}

TEST(Vocabulary, CutsToTheShortest) {
  const Models models = {model("one", {{kEmbedding, 3, 100}}),
                         model("two", {{kEmbedding, 5, 200}, {kHead, 5, 300}})};
  std::vector<std::string> notes;
  const Models cut = with_truncated_rows(models, notes);
  for (const std::string& name : {kEmbedding, kHead})
    EXPECT_EQ(cut[1]->find(name)->shape[0], 3) << name;
  EXPECT_EQ(row_of(*cut[1], kHead, 2), made(300, 2));
  EXPECT_TRUE(cut[0]->stored(*cut[0]->find(kEmbedding)));
  EXPECT_EQ(notes.size(), 1u);
  notes.clear();
  EXPECT_EQ(with_truncated_rows({models[0], models[0]}, notes)[1], models[0]);
  EXPECT_TRUE(notes.empty());
}

TEST(Vocabulary, RefusesRowsThatDoNotFit) {
  Three three;
  three.models[1] = model("two", {{kEmbedding, 3, 200, 4}});
  EXPECT_EQ(error_of([&] { three.mapped(0); }).substr(0, 70),
            "mismatch: model.embed_tokens.weight of two has the shape [3, 4], model");
  three = {};
  three.models[2] = model("three", {{kEmbedding, 2, 300}});
  EXPECT_EQ(error_of([&] { three.mapped(0); }).substr(0, 60),
            "mismatch: row 2 is needed, and three has 2 rows there (model");
  three = {};
  three.setting.tokens = {{"e", {.kind = TokenFill::Kind::same_token, .model = 2}}};
  three.models[2] = model("three", {{"norm", 3, 300}});
  EXPECT_EQ(error_of([&] { three.mapped(0); }).substr(0, 32), "mismatch: a token's row is to co");
}

TEST(Vocabulary, NamesTellTheRole) {
  using enum VocabularyRole;
  for (const auto& [name, role] : std::vector<std::pair<std::string, VocabularyRole>>{
           {"model.embed_tokens.weight", embedding},
           {"transformer.wte.weight", embedding},
           {"gpt_neox.embed_in.weight", embedding},
           {"shared.weight", embedding},
           {"lm_head.weight", head},
           {"embed_out.weight", head},
           {"language_model.lm_head.bias", head_bias},
           {"model.embed_tokens.bias", none},
           {"model.embed_tokens_per_layer.weight", none},
           {"model.layers.0.mlp.gate_proj.weight", none},
           {"weight", none},
           {".weight", none},
           {"lm_head", none},
           {"", none}})
    EXPECT_EQ(vocabulary_role(name), role) << name;
}

}  // namespace
}  // namespace smidgen
