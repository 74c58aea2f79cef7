#include "smidgen/methods/open_model.h"

#include <charconv>
#include <cmath>

#include "smidgen/io/adapter_mlx.h"
#include "smidgen/methods/adapter_gguf.h"

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

AdapterChoice parse_adapter(const std::string& text) {
  AdapterChoice choice{.path = text};
  const size_t equals = text.find('=');
  if (!path_exists(text) && equals != std::string::npos && equals > 0 && text.find('/') > equals) {
    choice.name = text.substr(0, equals);
    choice.path = text.substr(equals + 1);
  }
  const std::string rest = choice.path.string();
  const size_t colon = rest.rfind(':');
  if (!path_exists(rest) && colon != std::string::npos) {
    const std::string digits = rest.substr(colon + 1);
    const auto [end, code] =
        std::from_chars(digits.data(), digits.data() + digits.size(), choice.scale);
    if (code != std::errc() || end != digits.data() + digits.size() ||
        !std::isfinite(choice.scale)) {
      throw Error(ErrorKind::usage, str("'", digits, "' is not a scale"), str("--adapter ", text),
                  "write PATH:SCALE, for example run/adapter:0.5");
    }
    choice.path = rest.substr(0, colon);
  }
  if (choice.name.empty()) {
    const fs::path path = choice.path.filename().empty() ? choice.path.parent_path() : choice.path;
    choice.name = path.filename().string();
    if (choice.name == "adapter" && path.has_parent_path() &&
        !path.parent_path().filename().empty())
      choice.name = path.parent_path().filename().string();
  }
  return choice;
}

AdapterFiles open_adapter(const fs::path& path, const ModelFiles& base) {
  std::error_code ignored;
  if (path.extension() == ".gguf" && !fs::is_directory(path, ignored))
    return read_gguf_adapter(path, base);
  return is_mlx_adapter(path) ? read_mlx_adapter(path) : read_adapter(path);
}

void check_base(const AdapterFiles& adapter, const ModelFiles& base, bool allow_other) {
  const auto recorded =
      adapter.sidecar.is_object() ? adapter.sidecar.find("base_digest") : adapter.sidecar.end();
  if (allow_other || recorded == adapter.sidecar.end() || !recorded->is_string()) return;
  const std::string digest = base.digest();
  if (*recorded == digest) return;
  throw Error(ErrorKind::mismatch,
              str("the adapter was trained on the base with digest ",
                  recorded->get<std::string>().substr(0, 12), ", and ", base.path.string(),
                  " has digest ", digest.substr(0, 12)),
              (adapter.path / "smidgen.json").string(),
              "give it the base it was trained on, or --allow-other-base");
}

LoadedModel open_detached(const ModelChoice& choice, const LoadOptions& options) {
  LoadedModel loaded;
  loaded.files = open_model(choice.model);
  std::vector<AdapterChoice> choices;
  for (const fs::path& folder : loaded.files.adapters)
    choices.push_back(parse_adapter(folder.string()));
  for (const std::string& text : choice.adapter) choices.push_back(parse_adapter(text));
  // Read before the base is: a mistyped name must not cost the time of loading.
  std::vector<AdapterFiles> files;
  for (const AdapterChoice& c : choices) {
    files.push_back(open_adapter(c.path, loaded.files));
    check_base(files.back(), loaded.files, choice.allow_other_base);
  }
  loaded.model = load_model(loaded.files, options);
  loaded.adapters = std::make_unique<AdapterSet>(*loaded.model);
  for (size_t i = 0; i < files.size(); ++i) {
    loaded.adapters->add(
        choices[i].name,
        Adapter::load(*loaded.model, files[i], {.allow_config_keys = choice.allow_config_key}));
    loaded.mix.push_back({choices[i].name, choices[i].scale});
  }
  return loaded;
}

void load_weights(LoadedModel& loaded, const LoadOptions& options) {
  loaded.adapters.reset();
  loaded.model.reset();
  loaded.model = load_model(loaded.files, options);
  loaded.adapters = std::make_unique<AdapterSet>(*loaded.model);
}

LoadedModel open(const ModelConfig& config) {
  LoadedModel loaded =
      open_detached(config.choice, {.dtype = config.dtype, .base_format = config.base_format});
  loaded.slot = loaded.adapters->slot(loaded.mix);
  return loaded;
}

std::vector<int32_t> chat_ids(LoadedModel& loaded, const Json& messages) {
  const ChatTemplate* chat = loaded.chat_template();
  if (!chat) {
    throw Error(ErrorKind::unsupported, "the model has no chat template",
                loaded.files.path.string(), "generate --raw continues a text without one");
  }
  const Tokenizer& tokenizer = loaded.tokenizer();
  Json variables = template_variables(tokenizer);
  variables["add_generation_prompt"] = true;
  std::vector<int32_t> ids =
      tokenizer.encode(chat->render(messages, variables), {.add_special = false});
  if (tokenizer.adds_bos() && (ids.empty() || ids.front() != *tokenizer.bos()))
    ids.insert(ids.begin(), *tokenizer.bos());
  return ids;
}

}  // namespace smidgen
