// New rows for new tokens. mergekit's tokensurgeon on the same models:
// tests/parity/test_merge_tokenizers.py.
#include "smidgen/delta/transplant.h"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "smidgen/base/temporary_folder.h"
#include "smidgen/delta/merge/table_source_test.h"
#include "smidgen/io/owned_tensors.h"

namespace smidgen {
namespace {

using Row = std::vector<float>;
using Method = TransplantOptions::Method;
const std::string kEmbedding = "model.embed_tokens.weight", kHead = "lm_head.weight";

std::shared_ptr<const TableSource> model(const std::map<std::string, std::vector<Row>>& tensors) {
  const auto table = std::make_shared<OwnedTensors>("model");
  for (const auto& [name, rows] : tensors) {
    std::vector<int64_t> shape = {static_cast<int64_t>(rows.size())};
    if (rows[0].size() > 1) shape.push_back(static_cast<int64_t>(rows[0].size()));
    const std::span<std::byte> bytes = table->make(name, Format::f32, shape);
    for (size_t i = 0; i < rows.size(); ++i)
      std::memcpy(bytes.data() + i * rows[i].size() * 4, rows[i].data(), rows[i].size() * 4);
  }
  return std::make_shared<const TableSource>("model", table);
}

Tokenizer tokenizer(std::vector<std::string> tokens) {
  TokenizerSpec spec;
  spec.model.tokens = std::move(tokens);
  spec.where = "tokenizer.json";
  return Tokenizer(std::move(spec));
}

Row row_of(const Source& source, const std::string& name, int64_t row) {
  const SourceTensor* tensor = source.find(name);
  Row out(static_cast<size_t>(tensor->columns()));
  source.read(*tensor, row * tensor->columns(), out);
  return out;
}

void expect_near(const Row& got, const Row& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t k = 0; k < got.size(); ++k) EXPECT_NEAR(got[k], want[k], 1e-6) << k;
}

// The model knows a, b, c; the donor b, a, ab, c. Rows of the donor lie on a line.
struct Pair {
  Tokenizer ours = tokenizer({"a", "b", "c"}), theirs = tokenizer({"b", "a", "ab", "c"});
  std::shared_ptr<const Source> to = model({{kEmbedding, {{1, 10}, {2, 20}, {4, 40}}}});
  std::shared_ptr<const Source> from =
      model({{kEmbedding, {{0, 3, 0}, {0, 0, 0}, {0, 1, 0}, {0, 9, 0}}}});

  Transplant with(TransplantOptions options) const {
    return transplant_tokenizer(to, ours, from, theirs, options);
  }
};

TEST(Transplant, KnownTokensKeepTheirRows) {
  const Transplant made = Pair().with({.method = Method::zero});
  EXPECT_EQ(made.rows, 4);
  EXPECT_EQ(made.kept, 3);
  EXPECT_EQ(made.made, 1);
  EXPECT_EQ(row_of(*made.model, kEmbedding, 0), Row({2, 20}));
  EXPECT_EQ(row_of(*made.model, kEmbedding, 1), Row({1, 10}));
  EXPECT_EQ(row_of(*made.model, kEmbedding, 2), Row({0, 0}));
  EXPECT_EQ(row_of(*made.model, kEmbedding, 3), Row({4, 40}));
}

TEST(Transplant, MeanAndSubwords) {
  expect_near(row_of(*Pair().with({.method = Method::mean}).model, kEmbedding, 2),
              {7 / 3.f, 70 / 3.f});
  expect_near(row_of(*Pair().with({.method = Method::subword}).model, kEmbedding, 2), {1.5f, 15});
}

TEST(Transplant, NearestWeighsByDistance) {
  // a at distance 1, b at 2, c at 8.
  expect_near(row_of(*Pair().with({.neighbours = 1}).model, kEmbedding, 2), {1, 10});
  expect_near(row_of(*Pair().with({.neighbours = 2}).model, kEmbedding, 2), {4 / 3.f, 40 / 3.f});
  const Transplant all = Pair().with({.neighbours = 64});
  const float sum = 1 + 1 / 2.f + 1 / 8.f;
  expect_near(row_of(*all.model, kEmbedding, 2), {2.5f / sum, 25 / sum});
  EXPECT_EQ(all.notes, std::vector<std::string>(
                           {"only 3 tokens are shared, fewer than the 64 neighbours asked for"}));
}

TEST(Transplant, CosinesWeighByAngle) {
  Pair pair;
  pair.from = model({{kEmbedding, {{3, 0}, {1, 1}, {1, 0}, {-5, 0}}}});
  // b points the same way, a half aside.
  const float aside = std::sqrt(.5f), sum = 1 + aside;
  expect_near(row_of(*pair.with({.neighbours = 2, .cosine = true}).model, kEmbedding, 2),
              {(2 + aside) / sum, (20 + 10 * aside) / sum});
}

TEST(Transplant, PursuitAddsUpRowsOfTheDonor) {
  Pair pair;
  // ab = 2 a - c exactly; b is alike and not needed.
  pair.from = model({{kEmbedding, {{1, 1, .2f}, {1, 0, 0}, {2, 0, -1}, {0, 0, 1}}}});
  expect_near(row_of(*pair.with({.method = Method::pursuit}).model, kEmbedding, 2), {-2, -20});
  // One row: the best multiple of a.
  expect_near(row_of(*pair.with({.method = Method::pursuit, .neighbours = 1}).model, kEmbedding, 2),
              {2, 20});
}

// As many rows as the donor is wide give the target itself, whichever are picked; fewer leave what
// is orthogonal to all that are picked.
TEST(Transplant, PursuitLeavesWhatIsOrthogonalToItsPicks) {
  constexpr int kShared = 5000, kNew = 40, kWidth = 12;
  std::vector<std::string> known, all;
  std::vector<Row> rows;
  uint32_t state = 7;
  for (int i = 0; i < kShared + kNew; ++i) {
    all.push_back(str("t", i));
    if (i < kShared) known.push_back(all.back());
    Row row;
    for (int k = 0; k < kWidth; ++k) {
      state = state * 1664525 + 1013904223;
      row.push_back(static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1);
    }
    rows.push_back(row);
  }
  // The model's rows are the donor's, so that new rows are what pursuit makes of the targets.
  const std::vector<Row> own(rows.begin(), rows.begin() + kShared);
  const auto made = [&](int64_t count) {
    return transplant_tokenizer(model({{kEmbedding, own}}), tokenizer(known),
                                model({{kEmbedding, rows}}), tokenizer(all),
                                {.method = Method::pursuit, .neighbours = count});
  };
  const Transplant exact = made(64), few = made(3);
  for (int i = kShared; i < kShared + kNew; ++i) {
    const Row same = row_of(*exact.model, kEmbedding, i);
    for (int k = 0; k < kWidth; ++k) EXPECT_NEAR(same[k], rows[i][k], 1e-4);
    const Row part = row_of(*few.model, kEmbedding, i);
    double left = 0, whole = 0, product = 0;
    for (int k = 0; k < kWidth; ++k) {
      left += std::pow(double{rows[i][k]} - double{part[k]}, 2);
      whole += std::pow(double{rows[i][k]}, 2);
      product += (double{rows[i][k]} - double{part[k]}) * double{part[k]};
    }
    EXPECT_LT(left, .5 * whole);
    EXPECT_NEAR(product / whole, 0, 1e-5);
  }
}

TEST(Transplant, ATokenInTheSamePlaceAsAKnownOneTakesItsRow) {
  Pair pair;
  pair.from = model({{kEmbedding, {{1e4f, 3}, {0, 0}, {1e4f, 3}, {9, 9}}}});
  const Row got = row_of(*pair.with({}).model, kEmbedding, 2);
  EXPECT_NEAR(got[0], 2, 1e-4);
  EXPECT_NEAR(got[1], 20, 1e-3);
}

TEST(Transplant, HeadsGoByTheDonorsHeadOrItsEmbedding) {
  Pair pair;
  pair.to = model({{kEmbedding, {{1, 10}, {2, 20}, {4, 40}}},
                   {kHead, {{5, 5}, {6, 6}, {7, 7}}},
                   {"lm_head.bias", {{1}, {2}, {3}}}});
  Transplant made = pair.with({.neighbours = 1});
  EXPECT_EQ(row_of(*made.model, kHead, 2), Row({5, 5}));
  Row bias(4);
  made.model->read(*made.model->find("lm_head.bias"), 0, bias);
  EXPECT_EQ(bias, Row({2, 1, 0, 3}));
  pair.from = model(
      {{kEmbedding, {{0, 3}, {0, 0}, {0, 1}, {0, 9}}}, {kHead, {{0, 0}, {5, 5}, {0, 0}, {9, 9}}}});
  made = pair.with({.neighbours = 1});
  EXPECT_EQ(row_of(*made.model, kHead, 2), Row({6, 6}));
  EXPECT_EQ(row_of(*made.model, kEmbedding, 2), Row({1, 10}));
}

// More shared tokens and targets than one block holds, against a plain search.
TEST(Transplant, BlocksDoNotShow) {
  constexpr int kShared = 4500, kNew = 600, kWidth = 7;
  std::vector<std::string> known, all;
  std::vector<Row> to, from;
  uint32_t state = 1;
  const auto draw = [&] {
    state = state * 1664525 + 1013904223;
    return static_cast<float>(state >> 8) / static_cast<float>(1 << 24);
  };
  for (int i = 0; i < kShared + kNew; ++i) {
    all.push_back(str("t", i));
    Row row;
    for (int k = 0; k < kWidth; ++k) row.push_back(draw());
    from.push_back(row);
    if (i >= kShared) continue;
    known.push_back(all.back());
    to.push_back({draw(), draw()});
  }
  const Transplant made =
      transplant_tokenizer(model({{kEmbedding, to}}), tokenizer(known), model({{kEmbedding, from}}),
                           tokenizer(all), {.neighbours = 3});
  for (int i = kShared; i < kShared + kNew; i += 37) {
    std::vector<std::pair<double, int>> order;
    for (int j = 0; j < kShared; ++j) {
      double sum = 0;
      for (int k = 0; k < kWidth; ++k) sum += std::pow(double{from[i][k]} - double{from[j][k]}, 2);
      order.emplace_back(std::sqrt(sum), j);
    }
    std::sort(order.begin(), order.end());
    double weight = 0, x = 0;
    for (int j = 0; j < 3; ++j) {
      weight += 1 / order[j].first;
      x += to[order[j].second][0] / order[j].first;
    }
    EXPECT_NEAR(row_of(*made.model, kEmbedding, i)[0], x / weight, 1e-6);
  }
}

TEST(Transplant, WhatHasNoRowIsTheMean) {
  Pair pair;
  pair.from =
      model({{kEmbedding, {{0, 3}, {0, 0}}}});  // padding the other way: tokens without rows
  const Transplant made = pair.with({.neighbours = 1});
  expect_near(row_of(*made.model, kEmbedding, 2), {7 / 3.f, 70 / 3.f});
  EXPECT_EQ(made.notes.size(), 1u);
}

TEST(Transplant, RowsBehindTheTokensAreTheMean) {
  const Transplant made = Pair().with({.method = Method::zero, .rows = 6});
  EXPECT_EQ(made.rows, 6);
  for (const int64_t row : {4, 5})
    expect_near(row_of(*made.model, kEmbedding, row), {7 / 4.f, 70 / 4.f});
}

TEST(Transplant, ADryOneChecksAndCounts) {
  const Transplant made = Pair().with({.dry = true});
  EXPECT_EQ(made.made, 1);
  EXPECT_EQ(row_of(*made.model, kEmbedding, 2), Row({0, 0}));
  Pair pair;
  pair.to = model({{kEmbedding, {{1, 10}, {2, 20}, {4, 40}}}, {kHead, {{1, 1}, {1, 1}, {1, 1}}}});
  pair.from = model({{"a.wte.weight", {{0, 3}, {0, 0}, {0, 1}, {0, 9}}},
                     {"b.wte.weight", {{0, 3}, {0, 0}, {0, 1}, {0, 9}}}});
  EXPECT_EQ(error_of([&] { pair.with({.dry = true}); }),
            "mismatch: the donor has nothing like lm_head.weight (model) ");
}

TEST(Transplant, RefusesWhatCannotBe) {
  const Pair pair;
  EXPECT_EQ(error_of([&] { pair.with({.neighbours = 0}); }), "usage: 0 neighbours (neighbours) ");
  EXPECT_EQ(
      error_of([&] { transplant_tokenizer(pair.to, pair.ours, pair.from, tokenizer({"q"}), {}); }),
      "mismatch: the tokenizers have no token in common (model) ");
  EXPECT_EQ(error_of([&] {
              transplant_tokenizer(pair.to, pair.ours, model({{"norm", {{1, 2}}}}), pair.theirs,
                                   {});
            }),
            "mismatch: the donor has no embedding (model) other methods need only its tokenizer");
  EXPECT_EQ(error_of([&] {
              transplant_tokenizer(model({{"norm", {{1, 2}}}}), pair.ours, pair.from, pair.theirs,
                                   {});
            }),
            "mismatch: the model has no embedding (model) ");
}

}  // namespace
}  // namespace smidgen
