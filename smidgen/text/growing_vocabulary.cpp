#include "smidgen/text/growing_vocabulary.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/text/json_node.h"

namespace smidgen {

void cut_vocabulary(TokenizerSpec& spec, int64_t rows) {
  TokenModelSpec& model = spec.model;
  const auto most = static_cast<size_t>(rows);
  std::unordered_set<std::string> gone;
  for (size_t id = most; id < model.tokens.size(); ++id) gone.insert(model.tokens[id]);
  if (most < model.tokens.size()) model.tokens.resize(most);
  if (most < model.scores.size()) model.scores.resize(most);
  std::erase_if(spec.added, [&](const AddedToken& token) { return token.id >= rows; });
  if (model.unknown && gone.count(*model.unknown)) model.unknown.reset();
  const size_t mark = model.subword_prefix.size();
  std::erase_if(model.merges, [&](const auto& merge) {
    const auto& [left, right] = merge;
    const std::string made =
        left + (right.starts_with(model.subword_prefix) ? right.substr(mark) : right);
    return gone.count(left) || gone.count(right) || gone.count(made);
  });
}

GrowingVocabulary::GrowingVocabulary(TokenizerSpec spec) : spec_(std::move(spec)) {
  const auto& tokens = spec_.model.tokens;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].empty()) put(tokens[id], static_cast<int32_t>(id));
  }
  for (const AddedToken& token : spec_.added) {
    put(token.content, token.id);
    added_.insert(token.content);
  }
}

void GrowingVocabulary::put(const std::string& token, int32_t id) {
  ids_.emplace(token, id);
  next_ = std::max<int64_t>(next_, int64_t{id} + 1);
}

void GrowingVocabulary::add(AddedToken token) {
  if (!added_.insert(token.content).second) return;
  const auto found = ids_.find(token.content);
  if (found == ids_.end() && next_ >= kMaxTokenId)
    throw Error(ErrorKind::usage, str("a merged vocabulary of more than ", kMaxTokenId, " ids"),
                spec_.where);
  token.id = found == ids_.end() ? static_cast<int32_t>(next_) : found->second;
  put(token.content, token.id);
  spec_.added.push_back(std::move(token));
  grown_ = true;
}

void GrowingVocabulary::add_plain(const std::string& token) {
  add({.content = token, .normalized = true, .special = false});
}

TokenizerSpec GrowingVocabulary::finish(std::vector<std::string>& notes) && {
  const auto check = [&](std::optional<std::string>& token, const char* role) {
    if (!token || has(*token)) return;
    notes.push_back(str("the ", role, " token '", *token, "' of ", spec_.where,
                        " has no row; the merged tokenizer has no such token"));
    token.reset();
  };
  check(spec_.special.bos, "bos");
  check(spec_.special.eos, "eos");
  check(spec_.special.pad, "pad");
  check(spec_.special.unk, "unk");
  return std::move(spec_);
}

}  // namespace smidgen
