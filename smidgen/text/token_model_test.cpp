// Models against their definitions, by brute force on small vocabularies.
#include "smidgen/text/token_model.h"

#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "smidgen/base/error.h"
#include "smidgen/text/bpe.h"
#include "smidgen/text/trie.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

std::string random_word(std::mt19937& random, std::string_view letters, size_t longest) {
  std::string word(1 + random() % longest, 'x');
  for (char& c : word) c = letters[random() % letters.size()];
  return word;
}

TokenModelSpec merging(std::mt19937& random, int merges) {
  TokenModelSpec spec;
  spec.tokens = {"a", "b", "c", "d"};
  while (merges-- > 0) {
    const std::string left = spec.tokens[random() % spec.tokens.size()],
                      right = spec.tokens[random() % spec.tokens.size()], made = left + right;
    spec.merges.emplace_back(left, right);
    if (std::find(spec.tokens.begin(), spec.tokens.end(), made) == spec.tokens.end())
      spec.tokens.push_back(made);
  }
  return spec;
}

TEST(Bpe, FastWaysEqualTheDefinition) {
  std::mt19937 random(7);
  for (int vocabulary = 0; vocabulary < 20; ++vocabulary) {
    const TokenModelSpec spec = merging(random, 40);
    const Bpe bpe(spec, false, "test");
    for (int trial = 0; trial < 200; ++trial) {
      const std::string word = random_word(random, "abcd", 130);
      std::vector<int32_t> ids;
      std::vector<uint32_t> lengths;
      bpe.encode(word, ids, &lengths);
      EXPECT_EQ(ids, bpe.encode_reference(word)) << word;
      size_t total = 0;
      for (const uint32_t length : lengths) total += length;
      EXPECT_EQ(total, word.size());
    }
  }
}

// SentencePiece's definition on texts: merge the neighbours whose joined text has the highest score.
std::vector<int32_t> by_scores(const TokenModelSpec& spec, const std::string& word) {
  std::vector<std::string> parts;
  for (size_t at = 0; at < word.size(); at += parts.back().size())
    parts.emplace_back(word, at, utf8_step(std::string_view(word).substr(at)).length);
  const TokenTable table(spec.tokens);
  for (;;) {
    double best = -std::numeric_limits<double>::infinity();
    size_t at = parts.size();
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const int32_t id = table.find(parts[i] + parts[i + 1]);
      if (id >= 0 && spec.scores[static_cast<size_t>(id)] > best) {
        best = spec.scores[static_cast<size_t>(id)];
        at = i;
      }
    }
    if (at == parts.size()) break;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  std::vector<int32_t> ids;
  for (const std::string& part : parts) {
    const int32_t id = table.find(part);
    if (id >= 0 && !std::isnan(spec.scores[static_cast<size_t>(id)])) {
      ids.push_back(id);
    } else {
      for (const char c : part) ids.push_back(table.find(byte_token(static_cast<uint8_t>(c))));
    }
  }
  return ids;
}

TEST(Bpe, ScoresAreSentencePiecesDefinition) {
  std::mt19937 random(5);
  for (int vocabulary = 0; vocabulary < 20; ++vocabulary) {
    TokenModelSpec spec = merging(random, 30);
    spec.merges.clear();
    spec.tokens.erase(spec.tokens.begin() + 3);  // "d" is only part of pieces
    spec.byte_fallback = true;
    for (size_t id = 0; id < spec.tokens.size(); ++id)
      spec.scores.push_back(-static_cast<double>(random() % 12));  // many ties: leftmost wins
    for (int byte = 0; byte < 256; ++byte) {
      spec.tokens.push_back(byte_token(static_cast<uint8_t>(byte)));
      spec.scores.push_back(std::numeric_limits<double>::quiet_NaN());
    }
    const Bpe bpe(spec, false, "test");
    for (int trial = 0; trial < 300; ++trial) {
      const std::string word = random_word(random, "abcde", 70) + (trial % 3 ? "" : "é");
      std::vector<int32_t> ids;
      bpe.encode(word, ids, nullptr);
      EXPECT_EQ(ids, by_scores(spec, word)) << word;
    }
  }
}

TEST(Bpe, AMillionBytesOfOneLetterAreNotQuadratic) {
  std::mt19937 random(1);
  TokenModelSpec spec = merging(random, 0);
  for (std::string token = "a"; token.size() < 512; token += token) {
    spec.merges.emplace_back(token, token);
    spec.tokens.push_back(token + token);
  }
  std::vector<int32_t> ids;
  Bpe(spec, false, "test").encode(std::string(1u << 20, 'a'), ids, nullptr);
  EXPECT_EQ(ids.size(), (1u << 20) / 512);
}

TEST(Unigram, IsTheBestOfAllCuts) {
  std::mt19937 random(9);
  for (int vocabulary = 0; vocabulary < 20; ++vocabulary) {
    TokenModelSpec spec = merging(random, 20);
    spec.kind = TokenModelSpec::Kind::unigram;
    spec.tokens.insert(spec.tokens.begin(), "<unk>");
    spec.unknown = "<unk>";
    for (size_t id = 0; id < spec.tokens.size(); ++id)
      spec.scores.push_back(-1.0 - static_cast<double>(random() % 1000003) / 99991);
    const auto model = make_unigram(spec, "test");
    const TokenTable table(spec.tokens);
    const auto score = [&](const std::vector<int32_t>& ids) {
      double sum = 0;
      for (const int32_t id : ids) sum += spec.scores[static_cast<size_t>(id)];
      return sum;
    };
    for (int trial = 0; trial < 50; ++trial) {
      const std::string word = random_word(random, "abcd", 10);
      std::vector<int32_t> best;
      for (unsigned cuts = 0; cuts < 1u << (word.size() - 1); ++cuts) {
        std::vector<int32_t> ids;
        for (size_t begin = 0, end = 1; end <= word.size(); ++end) {
          if (end < word.size() && !(cuts >> (end - 1) & 1)) continue;
          ids.push_back(table.find(word.substr(begin, end - begin)));
          begin = end;
        }
        if (std::find(ids.begin(), ids.end(), -1) == ids.end() &&
            (best.empty() || score(ids) > score(best)))
          best = ids;
      }
      std::vector<int32_t> ids;
      model->encode(word, ids, nullptr);
      EXPECT_EQ(ids, best) << word;
    }
  }
}

TEST(Unigram, UnknownNeighboursAreOneTokenOrTheirBytes) {
  TokenModelSpec spec;
  spec.kind = TokenModelSpec::Kind::unigram;
  spec.tokens = {"<unk>", "a"};
  spec.unknown = "<unk>";
  spec.scores = {0, -1};
  std::vector<int32_t> ids;
  std::vector<uint32_t> lengths;
  make_unigram(spec, "test")->encode("aéxa", ids, &lengths);
  EXPECT_EQ(ids, (std::vector<int32_t>{1, 0, 1}));
  EXPECT_EQ(lengths, (std::vector<uint32_t>{1, 3, 1}));
  spec.byte_fallback = true;
  for (int byte = 0; byte < 256; ++byte) {
    spec.tokens.push_back(byte_token(static_cast<uint8_t>(byte)));
    spec.scores.push_back(0);
  }
  ids.clear();
  make_unigram(spec, "test")->encode("aé", ids, nullptr);
  EXPECT_EQ(ids, (std::vector<int32_t>{1, 2 + 0xC3, 2 + 0xA9}));
  spec.unknown.reset();
  EXPECT_THROW(make_unigram(spec, "test")->encode("b", ids, nullptr), Error);
}

TEST(WordPiece, LongestFirstOrUnknown) {
  TokenModelSpec spec;
  spec.kind = TokenModelSpec::Kind::word_piece;
  spec.tokens = {"[UNK]", "un", "unaff", "##aff", "##able", "##a", "##b"};
  spec.unknown = "[UNK]";
  spec.subword_prefix = "##";
  spec.max_word_characters = 10;
  const auto model = make_word_piece(spec, "test");
  const auto encode = [&](const char* word) {
    std::vector<int32_t> ids;
    model->encode(word, ids, nullptr);
    return ids;
  };
  EXPECT_EQ(encode("unaffable"), (std::vector<int32_t>{2, 4}));
  EXPECT_EQ(encode("unab"), (std::vector<int32_t>{1, 5, 6}));
  EXPECT_EQ(encode("unabx"), (std::vector<int32_t>{0}));
  EXPECT_EQ(encode("unaaaaaaaaa"), (std::vector<int32_t>{0}));  // too long
}

TEST(Trie, FindsEveryPrefix) {
  std::mt19937 random(2);
  std::vector<std::string> keys;
  for (int i = 0; i < 3000; ++i) keys.push_back(random_word(random, "ab\xff\x01z", 6));
  std::vector<std::pair<std::string_view, int32_t>> entries;
  for (size_t i = 0; i < keys.size(); ++i) entries.emplace_back(keys[i], static_cast<int32_t>(i));
  const Trie trie(entries);
  for (int trial = 0; trial < 500; ++trial) {
    const std::string text = random_word(random, "ab\xff\x01z", 9);
    std::vector<std::pair<size_t, int32_t>> found, wanted;
    trie.prefixes(text, [&](size_t length, int32_t value) { found.emplace_back(length, value); });
    for (size_t length = 1; length <= text.size(); ++length) {
      int32_t last = -1;
      for (size_t i = 0; i < keys.size(); ++i) {
        if (keys[i] == text.substr(0, length)) last = static_cast<int32_t>(i);
      }
      if (last >= 0) wanted.emplace_back(length, last);
    }
    EXPECT_EQ(found, wanted);
  }
}

}  // namespace
}  // namespace smidgen
