#include "smidgen/convert/gguf_vocabulary.h"

#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/base/log.h"
#include "smidgen/text/chat_template.h"
#include "smidgen/text/gguf_tokenizer.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {

namespace {

constexpr const char* kNameLetters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

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

// As gguf's add_chat_template: the default under the plain key, others by name, and their names.
void add_templates(GgufMetadata& m, const NamedTemplates& templates) {
  const std::string key = "tokenizer.chat_template";
  std::vector<std::string> names;
  for (const auto& [name, source] : templates) {
    if (name != "default") names.push_back(name);
  }
  for (const std::string& name : names) {
    if (name.find_first_not_of(kNameLetters) != std::string::npos)
      throw Error(ErrorKind::unsupported,
                  str("GGUF has no word for a chat template called '", name, "'"), {},
                  "names there have letters, digits and _ only");
  }
  for (const auto& [name, source] : templates)
    m.add_string(name == "default" ? key : str(key, ".", name), source);
  if (!names.empty()) m.add_strings("tokenizer.chat_templates", names);
}

}  // namespace

void add_vocabulary(GgufMetadata& metadata, const ModelFiles& files, int64_t vocabulary) {
  if (files.gguf) {
    for (const std::string& key : files.gguf->keys()) {
      if (key.starts_with("tokenizer.")) metadata.copy(key, *files.gguf->find(key));
    }
    return;
  }
  if (has_tokenizer(files)) {
    add_written(metadata, files, vocabulary);
  } else {
    log_note("the folder has no tokenizer, so the GGUF file has none");
  }
  add_templates(metadata, named_templates(files));
}

}  // namespace smidgen
