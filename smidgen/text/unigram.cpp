// Unigram: the cut of a word whose tokens' log probabilities sum to the most (Kudo 2018,
// arXiv:1804.10959), by Viterbi over its bytes, in double (tokenizers) or float (SentencePiece: in
// cuts such as "* **" and "** *", whose scores are the same, rounding decides).
//   best[0] = 0,  best[j] = max over tokens that end at j of best[i] + score
// A place where no token of one character begins also has an unknown one, with the lowest score of
// the vocabulary minus 10. A later candidate replaces an earlier one only when strictly better.
// Neighbouring unknown characters are one unknown token, or their bytes. A token whose score is NaN
// is never found in text.
#include <algorithm>
#include <cmath>
#include <limits>

#include "smidgen/base/error.h"
#include "smidgen/text/token_model.h"
#include "smidgen/text/trie.h"
#include "smidgen/text/utf8.h"

namespace smidgen {
namespace {

constexpr double kUnknownPenalty = 10;

std::vector<std::pair<std::string_view, int32_t>> keys_of(const TokenModelSpec& spec) {
  std::vector<std::pair<std::string_view, int32_t>> keys;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (id >= spec.scores.size() || !std::isnan(spec.scores[id]))
      keys.emplace_back(spec.tokens[id], static_cast<int32_t>(id));
  }
  return keys;
}

class Unigram final : public TokenModel {
 public:
  Unigram(const TokenModelSpec& spec, const std::string& where)
      : table_(spec.tokens),
        trie_(keys_of(spec)),
        scores_(spec.scores),
        single_(spec.single_sums),
        where_(where) {
    if (scores_.size() != spec.tokens.size())
      throw Error(ErrorKind::format,
                  str(scores_.size(), " scores for ", spec.tokens.size(), " tokens"), where);
    double lowest = std::numeric_limits<double>::infinity();
    for (const double score : scores_) {
      if (score < lowest) lowest = score;
    }
    unknown_score_ = lowest - kUnknownPenalty;
    if (single_) unknown_score_ = static_cast<float>(unknown_score_);
    unknown_ = spec.unknown ? table_.find(*spec.unknown) : -1;
    if (spec.byte_fallback) {
      bytes_ = byte_tokens(table_);
    } else {
      bytes_.fill(-1);
    }
  }

  void encode(std::string_view word, std::vector<int32_t>& ids,
              std::vector<uint32_t>* lengths) const override {
    struct Node {
      double score;
      uint32_t begin;
      int32_t id;
    };
    constexpr uint32_t kUnreached = ~uint32_t{0};
    thread_local std::vector<Node> best;
    best.assign(word.size() + 1, {0, kUnreached, 0});
    const auto offer = [&](size_t begin, size_t end, double score, int32_t id) {
      Node& node = best[end];
      double total = score + best[begin].score;
      if (single_) total = static_cast<float>(total);
      if (node.begin == kUnreached || total > node.score)
        node = {total, static_cast<uint32_t>(begin), id};
    };
    for (size_t at = 0; at < word.size();) {
      const size_t character = utf8_step(word.substr(at)).length;
      bool alone = false;
      trie_.prefixes(word.substr(at), [&](size_t length, int32_t id) {
        offer(at, at + length, scores_[static_cast<size_t>(id)], id);
        alone |= length == character;
      });
      if (!alone) {
        if (unknown_ < 0)
          throw Error(
              ErrorKind::data,
              str("'", word.substr(at, character), "' is unknown, and the model has no unk_id"),
              where_);
        offer(at, at + character, unknown_score_, unknown_);
      }
      at += character;
    }
    // From the end; unknown neighbours are joined.
    thread_local std::vector<Piece> pieces;
    pieces.clear();
    for (size_t end = word.size(); end > 0; end = best[end].begin) {
      const Node& node = best[end];
      const bool unknown = unknown_ >= 0 && node.id == unknown_;
      if (unknown && !pieces.empty() && pieces.back().id == unknown_) {
        pieces.back().begin = node.begin;
      } else {
        pieces.push_back({node.begin, static_cast<uint32_t>(end), node.id});
      }
    }
    for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece)
      put(word.substr(piece->begin, piece->end - piece->begin), piece->id, ids, lengths);
  }

 private:
  struct Piece {
    uint32_t begin, end;
    int32_t id;
  };

  void put(std::string_view text, int32_t id, std::vector<int32_t>& ids,
           std::vector<uint32_t>* lengths) const {
    if (id == unknown_) {
      int32_t whole = table_.find(text);  // joined unknowns may be a token after all
      if (whole >= 0 && std::isnan(scores_[static_cast<size_t>(whole)])) whole = -1;
      const bool bytes =
          whole < 0 && std::all_of(
                           text.begin(), text.end(),
                           [&](char c) { return bytes_[static_cast<uint8_t>(c)] >= 0; });
      if (bytes) {
        for (const char c : text) {
          ids.push_back(bytes_[static_cast<uint8_t>(c)]);
          if (lengths) lengths->push_back(1);
        }
        return;
      }
      if (whole >= 0) id = whole;
    }
    ids.push_back(id);
    if (lengths) lengths->push_back(static_cast<uint32_t>(text.size()));
  }

  TokenTable table_;
  Trie trie_;
  std::vector<double> scores_;
  bool single_;
  double unknown_score_ = 0;
  int32_t unknown_ = -1;
  std::array<int32_t, 256> bytes_{};
  std::string where_;
};

}  // namespace

std::unique_ptr<TokenModel> make_unigram(const TokenModelSpec& spec, const std::string& where) {
  return std::make_unique<Unigram>(spec, where);
}

}  // namespace smidgen
