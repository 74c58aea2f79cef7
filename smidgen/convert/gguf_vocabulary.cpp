#include "smidgen/convert/gguf_vocabulary.h"

#include <algorithm>

#include "smidgen/base/log.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/gguf_tokenizer.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {

namespace {

// Beside eos; GGUF has places for two.
std::vector<std::pair<std::string, uint32_t>> other_stops(const ModelFiles& files,
                                                          const Tokenizer& tokenizer,
                                                          const GgufTokenizer& written) {
  std::vector<int32_t> stops = stop_tokens(files, tokenizer);
  for (const auto& [key, id] : written.ids) {
    if (key == "eos_token_id") std::erase(stops, static_cast<int32_t>(id));
  }
  std::vector<std::pair<std::string, uint32_t>> out;
  for (size_t i = 0; i < std::min<size_t>(2, stops.size()); ++i)
    out.emplace_back(i == 0 ? "eot_token_id" : "eom_token_id", static_cast<uint32_t>(stops[i]));
  if (stops.size() > 2)
    log_note("GGUF has places for three stop tokens; left out: ", stops.size() - 2);
  return out;
}

void add_written(GgufMetadata& m, const ModelFiles& files, int64_t vocabulary) {
  const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(files);
  const GgufTokenizer t = gguf_tokenizer(*tokenizer, vocabulary);
  const std::string prefix = "tokenizer.ggml.";
  m.add_string(prefix + "model", t.model);
  if (!t.pre.empty()) m.add_string(prefix + "pre", t.pre);
  m.add_strings(prefix + "tokens", t.tokens);
  if (!t.scores.empty()) m.add_array(prefix + "scores", t.scores);
  if (!t.token_type.empty()) m.add_array(prefix + "token_type", t.token_type);
  if (!t.merges.empty()) m.add_strings(prefix + "merges", t.merges);
  for (const auto& [key, id] : t.ids) m.add<uint32_t>(prefix + key, id);
  for (const auto& [key, id] : other_stops(files, *tokenizer, t)) m.add<uint32_t>(prefix + key, id);
  for (const auto& [key, value] : t.flags) m.add<bool>(prefix + key, value);
  if (!t.precompiled_charsmap.empty()) {
    m.add_array(prefix + "precompiled_charsmap",
                std::vector<uint8_t>(t.precompiled_charsmap.begin(), t.precompiled_charsmap.end()));
  }
}

}  // namespace

void add_vocabulary(GgufMetadata& metadata, const ModelFiles& files, int64_t vocabulary) {
  if (files.gguf) {
    for (const std::string& key : files.gguf->keys()) {
      if (key.starts_with("tokenizer.")) metadata.copy(key, *files.gguf->find(key));
    }
    return;
  }
  if (files.tokenizer_json) {
    add_written(metadata, files, vocabulary);
  } else {
    log_note("the folder has no tokenizer.json, so the GGUF file has no tokenizer");
  }
  if (!files.chat_template.empty())
    metadata.add_string("tokenizer.chat_template", files.chat_template);
}

}  // namespace smidgen
