#include "smidgen/cli/core/model_config.h"

#include "smidgen/convert/gguf_adapter.h"

namespace smidgen {

const Tokenizer& LoadedModel::tokenizer() {
  if (!tokenizer_) tokenizer_ = load_tokenizer(files);
  return *tokenizer_;
}

const ChatTemplate* LoadedModel::chat_template(const std::string& choice) {
  if (!template_read_ && choice != "none")
    template_ = load_chat_template(files, choice == "auto" ? "" : choice);
  template_read_ = true;
  return template_.get();
}

LoadedModel open_detached(const ModelChoice& choice, const LoadOptions& options) {
  LoadedModel loaded;
  loaded.files = open_model(choice.model);
  std::vector<fs::path> folders = loaded.files.adapters;
  folders.insert(folders.end(), choice.adapter.begin(), choice.adapter.end());
  // Read before the base is: a mistyped name must not cost the time of loading.
  std::vector<AdapterFiles> files;
  for (const fs::path& folder : folders) files.push_back(open_adapter(folder, loaded.files));
  loaded.model = load_model(loaded.files, options);
  for (const AdapterFiles& f : files) {
    loaded.adapters.push_back(
        Adapter::load(*loaded.model, f, {.allow_config_keys = choice.allow_config_key}));
  }
  return loaded;
}

LoadedModel open(const ModelConfig& config) {
  LoadedModel loaded =
      open_detached(config.choice, {.dtype = config.dtype, .base_format = config.base_format});
  loaded.slot = loaded.adapters.empty() ? 0 : 1;
  for (const auto& adapter : loaded.adapters) adapter->attach(*loaded.model, loaded.slot);
  return loaded;
}

}  // namespace smidgen
