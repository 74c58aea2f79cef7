#include "smidgen/delta/merge/tokenizer_files.h"

#include "smidgen/convert/hf_folder.h"
#include "smidgen/io/json_file.h"

namespace smidgen {

namespace {

void write_json(const fs::path& path, const Json& json) {
  write_file(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

// What the donor's configuration says about tokens, brought up to date.
void write_changed(const fs::path& folder, const Tokenizer& tokenizer) {
  for (const char* name : {"tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json"})
    remove_tree(folder / name);
  write_json(folder / "tokenizer.json", tokenizer_json(tokenizer));
  const Json special = special_tokens_map(tokenizer);
  write_json(folder / "special_tokens_map.json", special);
  const fs::path path = folder / "tokenizer_config.json";
  const Json made = tokenizer_config(tokenizer, {});
  Json config = path_exists(path) ? read_json(path) : Json();
  if (!config.is_object()) return write_json(path, made);
  config["added_tokens_decoder"] = made["added_tokens_decoder"];
  for (const char* role : {"bos_token", "eos_token", "pad_token", "unk_token"}) {
    if (!special.contains(role)) config.erase(role);
  }
  write_json(path, config);
}

}  // namespace

void write_chat_template(const fs::path& folder, const std::string& chat_template) {
  remove_tree(folder / "additional_chat_templates");
  remove_tree(folder / "chat_template.json");
  // transformers reads this file first; versions before 4.50 know only the configuration.
  write_file(folder / "chat_template.jinja", chat_template);
  const fs::path path = folder / "tokenizer_config.json";
  if (!path_exists(path)) return;
  Json config = read_json(path);
  if (!config.is_object()) return;
  config["chat_template"] = chat_template;
  write_json(path, config);
}

void write_merged_tokenizer(const fs::path& folder, const MergedVocabulary& merged,
                            const ModelFiles& donor,
                            const std::optional<std::string>& chat_template) {
  write_tokenizer_files(donor, folder);
  if (!merged.unchanged) write_changed(folder, *merged.tokenizer);
  if (chat_template) write_chat_template(folder, *chat_template);
}

}  // namespace smidgen
