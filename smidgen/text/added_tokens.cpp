#include "smidgen/text/added_tokens.h"

#include <algorithm>

#include "smidgen/text/characters.h"

namespace smidgen {

void AddedTokenFinder::add(const AddedToken& token, const std::string& content) {
  if (content.empty()) return;
  uint32_t node = 0;
  first_[static_cast<uint8_t>(content[0])] = true;
  for (const char c : content) {
    const auto [edge, is_new] = edges_.emplace(uint64_t{node} << 8 | static_cast<uint8_t>(c),
                                               static_cast<uint32_t>(token_at_.size()));
    if (is_new) token_at_.push_back(-1);
    node = edge->second;
  }
  token_at_[node] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

int32_t AddedTokenFinder::longest(std::string_view text, size_t at, size_t& length) const {
  int32_t best = -1;
  uint32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto edge = edges_.find(uint64_t{node} << 8 | static_cast<uint8_t>(text[i]));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (token_at_[node] >= 0) {
      best = token_at_[node];
      length = i + 1 - at;
    }
  }
  return best;
}

void AddedTokenFinder::split(std::string_view text, bool with_special,
                             std::vector<TokenSegment>& out) const {
  out.clear();
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    size_t length = 0;
    const int32_t found = first_[static_cast<uint8_t>(text[at])] ? longest(text, at, length) : -1;
    if (found < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(found)];
    size_t begin = at, end = at + length;
    at = end;
    if (token.special && !with_special) continue;
    if (token.single_word && ((begin > 0 && is_word(last_character(text.substr(0, begin)))) ||
                              (end < text.size() && is_word(first_character(text.substr(end))))))
      continue;
    if (token.lstrip) begin = std::max(begin - trailing_space(text.substr(0, begin)), done);
    if (token.rstrip) end += leading_space(text.substr(end));
    if (done < begin) out.push_back({done, begin, -1});
    out.push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) out.push_back({done, text.size(), -1});
}

}  // namespace smidgen
