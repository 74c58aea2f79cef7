#include "smidgen/text/token_match.h"

#include <array>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include "smidgen/base/str.h"
#include "smidgen/text/token_model.h"

namespace smidgen {
namespace {

using Roles = std::array<std::optional<int32_t>, 4>;

Roles roles(const Tokenizer& tokenizer) {
  return {tokenizer.bos(), tokenizer.eos(), tokenizer.unk(), tokenizer.pad()};
}

std::unordered_map<std::string, int32_t> by_bytes(const Tokenizer& tokenizer) {
  std::unordered_map<std::string, int32_t> ids;
  for (const bool single : {false, true}) {
    for (int32_t id = 0; id < tokenizer.vocabulary_size(); ++id) {
      const std::string& token = tokenizer.token(id);
      if (token.empty() || tokenizer.is_special(id)) continue;
      if ((byte_of_token(token) >= 0) != single) continue;
      ids.emplace(std::string(tokenizer.bytes(id)), id);
    }
  }
  return ids;
}

}  // namespace

std::vector<int32_t> match_tokens(const Tokenizer& donor, const Tokenizer& other) {
  std::vector<int32_t> out(static_cast<size_t>(donor.vocabulary_size()), -1);
  const auto ids = by_bytes(other);
  for (int32_t id = 0; id < donor.vocabulary_size(); ++id) {
    const std::string& token = donor.token(id);
    if (token.empty()) continue;
    int32_t& match = out[static_cast<size_t>(id)];
    const std::optional<int32_t> same = other.find(token);
    if (donor.is_special(id)) {
      if (same && other.is_special(*same)) match = *same;
    } else if (same && !other.is_special(*same) && other.bytes(*same) == donor.bytes(id)) {
      match = *same;
    } else if (const auto at = ids.find(std::string(donor.bytes(id))); at != ids.end()) {
      match = at->second;
    }
  }
  const Roles theirs = roles(donor), ours = roles(other);
  // The first role of a token counts: many models have one token as end and padding.
  for (size_t role = theirs.size(); role-- > 0;) {
    if (theirs[role] && ours[role]) out[static_cast<size_t>(*theirs[role])] = *ours[role];
  }
  return out;
}

void move_token_ids(Json& config, const Tokenizer& from, const Tokenizer& to,
                    std::vector<std::string>& notes) {
  if (!config.is_object()) return;
  const auto moved = [&](const Json& id) -> std::optional<int32_t> {
    if (!id.is_number_integer() || id < 0 || id >= from.vocabulary_size()) return {};
    const std::string& token = from.token(id.get<int32_t>());
    return token.empty() ? std::nullopt : to.find(token);
  };
  const std::map<std::string_view, std::optional<int32_t>> own = {{"bos_token_id", to.bos()},
                                                                  {"eos_token_id", to.eos()},
                                                                  {"pad_token_id", to.pad()},
                                                                  {"unk_token_id", to.unk()}};
  for (const char* key :
       {"bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id",
        "cls_token_id", "mask_token_id", "decoder_start_token_id"}) {
    const auto at = config.find(key);
    if (at == config.end() || at->is_null()) continue;
    Json ids = Json::array();
    for (const Json& id : at->is_array() ? *at : Json::array({*at})) {
      if (const std::optional<int32_t> new_id = moved(id)) {
        ids.push_back(*new_id);
      } else {
        notes.push_back(
            str(key, " ", id.dump(), " names no token of the merged tokenizer; left out"));
      }
    }
    if (const auto role = own.find(key); ids.empty() && role != own.end() && role->second) {
      ids.push_back(*role->second);
      notes.push_back(str(key, " is now ", *role->second, ", ", to.token(*role->second)));
    }
    if (at->is_array()) {
      *at = ids;
    } else {
      *at = ids.empty() ? Json() : ids[0];
    }
  }
}

}  // namespace smidgen
