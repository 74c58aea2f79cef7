#include "smidgen/text/tokenizer_merge.h"

#include <algorithm>
#include <unordered_map>

#include "smidgen/base/error.h"
#include "smidgen/text/growing_vocabulary.h"
#include "smidgen/text/json_node.h"
#include "smidgen/text/tokenizer_compare.h"

namespace smidgen {
namespace {

using From = TokenizerSetting::From;
using Fill = TokenFill::Kind;

std::vector<AddedToken> by_id(std::vector<AddedToken> added) {
  std::sort(added.begin(), added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return added;
}

bool same_settings(const AddedToken& a, const AddedToken& b) {
  return a.single_word == b.single_word && a.lstrip == b.lstrip && a.rstrip == b.rstrip &&
         a.normalized == b.normalized && a.special == b.special;
}

class Merge {
 public:
  Merge(const std::vector<TokenizerInput>& inputs, size_t base, const TokenizerSetting& setting)
      : inputs_(inputs), base_(base), setting_(setting) {
    SMIDGEN_ASSERT(base < inputs.size() && setting.model < inputs.size());
    out_.donor = setting.from == From::model ? setting.model : base;
    const TokenizerInput& donor = inputs[out_.donor];
    if (!donor.tokenizer)
      throw Error(ErrorKind::not_found,
                  "the merged model should have this model's tokenizer, and it has none",
                  donor.label, "name one with a tokenizer: tokenizer: {source: MODEL}");
    // A model without a tokenizer takes the base's, which need not be the donor's.
    if (!inputs[base].tokenizer)
      note("the base ", inputs[base].label, " has no tokenizer; it is taken to have that of ",
           donor.label);
  }

  MergedVocabulary run() {
    TokenizerSpec spec = tokenizer(out_.donor).spec();
    const bool cut = setting_.from != From::model && has_more(out_.donor);
    if (cut) cut_vocabulary(spec, inputs_[out_.donor].rows);
    GrowingVocabulary vocabulary(std::move(spec));
    if (setting_.from == From::everyone) unite(vocabulary);
    for (const auto& [token, fill] : setting_.tokens) {
      if (token.empty())
        throw Error(ErrorKind::usage, "a token without a letter", "tokenizer: tokens");
      if (!vocabulary.has(token)) vocabulary.add_plain(token);
    }
    out_.unchanged = !cut && !vocabulary.grown();
    out_.ids = vocabulary.size();
    if (out_.ids == 0)
      throw Error(ErrorKind::format, "the merged tokenizer would have no token",
                  inputs_[out_.donor].label);
    out_.rows = padded(out_.ids);
    if (out_.unchanged) {
      out_.tokenizer = inputs_[out_.donor].tokenizer;
    } else {
      out_.tokenizer = std::make_shared<const Tokenizer>(std::move(vocabulary).finish(out_.notes));
    }
    for (size_t i = 0; i < inputs_.size(); ++i) out_.old_ids.push_back(old_ids(i));
    configure();
    compare();
    return std::move(out_);
  }

 private:
  template <class... Parts>
  void note(const Parts&... parts) {
    out_.notes.push_back(str(parts...));
  }

  const Tokenizer& tokenizer(size_t input) const {
    if (inputs_[input].tokenizer) return *inputs_[input].tokenizer;
    return inputs_[base_].tokenizer ? *inputs_[base_].tokenizer : *inputs_[out_.donor].tokenizer;
  }
  bool has_more(size_t input) const {
    return inputs_[input].rows > 0 && tokenizer(input).vocabulary_size() > inputs_[input].rows;
  }
  bool has_row(size_t input, int64_t id) const {
    return !inputs_[input].outside && (inputs_[input].rows <= 0 || id < inputs_[input].rows);
  }

  void unite(GrowingVocabulary& out) {
    std::unordered_map<std::string, AddedToken> added;
    std::vector<const AddedToken*> in_order;
    std::vector<std::vector<AddedToken>> lists;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const size_t input = i == 0 ? base_ : i <= base_ ? i - 1 : i;
      lists.push_back(inputs_[input].tokenizer ? by_id(tokenizer(input).spec().added)
                                               : std::vector<AddedToken>());
      std::erase_if(lists.back(),
                    [&](const AddedToken& token) { return !has_row(input, token.id); });
    }
    for (const auto& list : lists) {
      for (const AddedToken& token : list) {
        const auto [at, first] = added.emplace(token.content, token);
        if (first) {
          in_order.push_back(&token);
        } else if (!same_settings(at->second, token)) {
          conflicts_.push_back(token.content);
        }
      }
    }
    for (size_t input = 0; input < inputs_.size(); ++input) {
      if (input == base_ || !inputs_[input].tokenizer) continue;
      const Tokenizer& other = tokenizer(input);
      int64_t count = 0;
      for (int32_t id = 0; id < other.vocabulary_size() && has_row(input, id); ++id) {
        const std::string& token = other.token(id);
        if (token.empty() || out.has(token) || added.count(token)) continue;
        out.add_plain(token);
        ++count;
      }
      if (count)
        note(count, " tokens of ", inputs_[input].label,
             " are new; text is searched for them before it is cut into words");
    }
    for (const AddedToken* token : in_order) out.add(*token);
    std::sort(conflicts_.begin(), conflicts_.end());
    conflicts_.erase(std::unique(conflicts_.begin(), conflicts_.end()), conflicts_.end());
    if (!conflicts_.empty())
      note("added with different settings, the first model's count: ", join(conflicts_, ", ", 5));
  }

  int64_t padded(int64_t ids) const {
    const int64_t multiple = setting_.pad_to_multiple_of;
    if (multiple < 0)
      throw Error(ErrorKind::usage, str("rows cannot be padded to a multiple of ", multiple),
                  "tokenizer: pad_to_multiple_of");
    if (multiple == 0 || ids % multiple == 0) return ids;
    if (multiple > kMaxTokenId || (ids / multiple + 1) * multiple > kMaxTokenId)
      throw Error(ErrorKind::usage,
                  str("padding ", ids, " tokens to a multiple of ", multiple, " makes more than ",
                      kMaxTokenId, " rows"),
                  "tokenizer: pad_to_multiple_of", "64 suits most machines");
    return (ids / multiple + 1) * multiple;
  }

  std::vector<int32_t> old_ids(size_t input) const {
    const Tokenizer& from = tokenizer(input);
    std::vector<int32_t> ids(static_cast<size_t>(out_.ids), -1);
    for (int32_t id = 0; id < out_.ids; ++id) {
      const std::string& token = out_.tokenizer->token(id);
      if (token.empty()) continue;
      const std::optional<int32_t> old = from.find(token);
      if (old && has_row(input, *old)) ids[static_cast<size_t>(id)] = *old;
    }
    return ids;
  }

  void configure() {
    for (const auto& [token, fill] : setting_.tokens) {
      const std::string where = str("tokenizer: tokens: ", token);
      if (fill.kind == Fill::automatic) {
        if (fill.force)
          throw Error(ErrorKind::usage, "a row is to be replaced, and nothing says by what", where,
                      "force needs a source");
        continue;
      }
      MergedVocabulary::Row row{.id = *out_.tokenizer->find(token), .kind = fill.kind};
      row.model = fill.model;
      row.force = fill.force;
      if (fill.kind == Fill::same_token) {
        row.old_id = out_.old_ids.at(fill.model)[static_cast<size_t>(row.id)];
        if (row.old_id < 0)
          throw Error(ErrorKind::mismatch,
                      str(inputs_[fill.model].label, " has no such token to take the row from"),
                      where, "{kind: model_token, model: M, token: T} takes another token's row");
      } else if (fill.kind == Fill::other_token) {
        row.old_id = other_token(fill, where);
      }
      out_.configured.push_back(row);
    }
    std::sort(out_.configured.begin(), out_.configured.end(),
              [](const auto& a, const auto& b) { return a.id < b.id; });
  }

  int32_t other_token(const TokenFill& fill, const std::string& where) const {
    SMIDGEN_ASSERT(fill.model < inputs_.size());
    const Tokenizer& from = tokenizer(fill.model);
    const std::string& label = inputs_[fill.model].label;
    if (fill.id >= 0 || fill.token.empty()) {
      const int64_t rows =
          inputs_[fill.model].rows > 0 ? inputs_[fill.model].rows : from.vocabulary_size();
      if (fill.id < 0 || fill.id >= rows)
        throw Error(ErrorKind::usage,
                    str("token_id ", fill.id, " of ", label, ", which has ", rows, " rows"), where);
      return static_cast<int32_t>(fill.id);
    }
    const std::optional<int32_t> id = from.find(fill.token);
    if (!id || !has_row(fill.model, *id))
      throw Error(ErrorKind::mismatch, str(label, " has no token '", fill.token, "'"), where,
                  "tokens are spelt as in the vocabulary: a space is often U+0120 or U+2581");
    return *id;
  }

  void compare() {
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const std::string& label = inputs_[i].label;
      if (!inputs_[i].tokenizer) {
        if (i != base_)
          note(label, " has no tokenizer; it is taken to have the base's, of ",
               inputs_[base_].label);
      } else if (i != out_.donor) {
        for (const std::string& difference : tokenizer_differences(*out_.tokenizer, tokenizer(i)))
          note(label, " against the merged tokenizer: ", difference);
      }
      if (has_more(i)) {
        int64_t count = 0;
        const int64_t size = tokenizer(i).vocabulary_size();
        for (int64_t id = inputs_[i].rows; id < size; ++id)
          count += !tokenizer(i).token(static_cast<int32_t>(id)).empty();
        if (count)
          note(count, " tokens of ", label, " have ids from ", inputs_[i].rows,
               " on, for which it has no row: they count as absent");
      }
    }
    std::vector<std::string> nowhere;
    size_t at = 0;
    for (int32_t id = 0; id < out_.ids; ++id) {
      while (at < out_.configured.size() && out_.configured[at].id < id) ++at;
      if (at < out_.configured.size() && out_.configured[at].id == id) continue;
      const auto owns = [&](const auto& ids) { return ids[static_cast<size_t>(id)] >= 0; };
      if (!out_.tokenizer->token(id).empty() &&
          std::none_of(out_.old_ids.begin(), out_.old_ids.end(), owns))
        nowhere.push_back(out_.tokenizer->token(id));
    }
    if (!nowhere.empty()) note("no model has a row for ", join(nowhere, ", ", 5), ": zeros");
  }

  const std::vector<TokenizerInput>& inputs_;
  const size_t base_;
  const TokenizerSetting& setting_;
  MergedVocabulary out_;
  std::vector<std::string> conflicts_;
};

}  // namespace

MergedVocabulary merge_tokenizers(const std::vector<TokenizerInput>& inputs, size_t base,
                                  const TokenizerSetting& setting) {
  return Merge(inputs, base, setting).run();
}

}  // namespace smidgen
