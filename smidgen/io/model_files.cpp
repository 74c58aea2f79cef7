#include "smidgen/io/model_files.h"

#include <algorithm>
#include <mutex>

#include "smidgen/base/sha256.h"
#include "smidgen/base/user_cache.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/safetensors.h"

namespace smidgen {

struct ModelFiles::DigestCache {
  std::mutex mutex;
  std::string value;
};

namespace {

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::vector<std::string> entries(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator at(folder, code), end; !code && at != end; at.increment(code)) {
    names.push_back(at->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

[[noreturn]] void missing(const fs::path& path) {
  const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::string hint = "models are folders or GGUF files on this machine; nothing is downloaded";
  throw Error(ErrorKind::not_found, "there is no such model file or folder", path.string(),
              did_you_mean(path.filename().string(), entries(parent), hint));
}

// BASE+ADAPTER[+ADAPTER]: from the left, always the longest piece that exists as written.
std::vector<fs::path> split_spec(const std::string& spec) {
  if (spec.empty()) throw Error(ErrorKind::usage, "no model is given");
  if (path_exists(spec)) return {spec};
  std::vector<fs::path> parts;
  for (size_t start = 0; start <= spec.size();) {
    size_t best = std::string::npos;
    for (size_t end = spec.size() + 1; end-- > start;) {
      if (end < spec.size() && spec[end] != '+') continue;
      if (end > start && path_exists(spec.substr(start, end - start))) {
        best = end;
        break;
      }
    }
    if (best == std::string::npos) {
      best = std::min(spec.find('+', start), spec.size());
      missing(spec.substr(start, best - start));
    }
    parts.emplace_back(spec.substr(start, best - start));
    start = best + 1;
  }
  return parts;
}

Json optional_json(const fs::path& path) {
  return path_exists(path) ? read_json(path) : Json();
}

using NamedTemplates = std::vector<std::pair<std::string, std::string>>;

// "chat_template" of tokenizer_config.json and chat_template.json: a string, or a list of {name,
// template}.
NamedTemplates configured_templates(const Json& config) {
  NamedTemplates all;
  const auto found = config.is_object() ? config.find("chat_template") : config.end();
  if (!config.is_object() || found == config.end()) return all;
  if (found->is_string()) all.emplace_back("default", found->get<std::string>());
  if (!found->is_array()) return all;
  for (const Json& entry : *found) {
    if (entry.is_object() && entry.value("name", Json()).is_string() &&
        entry.value("template", Json()).is_string())
      all.emplace_back(entry["name"].get<std::string>(), entry["template"].get<std::string>());
  }
  return all;
}

// Files win over what stands inside of tokenizer_config.json, as in transformers:
// chat_template.jinja is the default, additional_chat_templates/NAME.jinja the others.
NamedTemplates folder_templates(const fs::path& folder, const Json& tokenizer_config) {
  NamedTemplates all;
  if (path_exists(folder / "chat_template.jinja"))
    all.emplace_back("default", read_file(folder / "chat_template.jinja"));
  const fs::path more = folder / "additional_chat_templates";
  if (is_folder(more)) {
    for (const std::string& name : entries(more)) {
      if (name.ends_with(".jinja"))
        all.emplace_back(name.substr(0, name.size() - 6), read_file(more / name));
    }
  }
  if (all.empty()) all = configured_templates(tokenizer_config);
  if (all.empty()) all = configured_templates(optional_json(folder / "chat_template.json"));
  return all;
}

// tokenizer.chat_template, and tokenizer.chat_template.NAME.
NamedTemplates gguf_templates(const GgufFile& file) {
  constexpr std::string_view kKey = "tokenizer.chat_template";
  NamedTemplates all;
  for (const std::string& key : file.keys()) {
    if (key == kKey) all.emplace_back("default", file.get_string(key));
    if (key.starts_with(std::string(kKey) + "."))
      all.emplace_back(key.substr(kKey.size() + 1), file.get_string(key));
  }
  return all;
}

void take_templates(ModelFiles& model, NamedTemplates all) {
  for (const auto& [name, source] : all) {
    if (name == "default") model.chat_template = source;
  }
  const bool only_default = all.size() == 1 && all[0].first == "default";
  if (!only_default) model.chat_templates = std::move(all);
}

void open_weights(ModelFiles& model) {
  const fs::path& folder = model.path;
  if (path_exists(folder / kWeights)) {
    model.tensors = std::make_shared<SafetensorsFile>(folder / kWeights);
    model.weight_files = {folder / kWeights};
    return;
  }
  if (path_exists(folder / kIndex)) {
    model.tensors = open_sharded(folder / kIndex);
    const nlohmann::json index = read_json_table(folder / kIndex);
    for (const auto& item : index["weight_map"].items()) {
      model.weight_files.push_back(folder / item.value().get<std::string>());
    }
    std::sort(model.weight_files.begin(), model.weight_files.end());
    model.weight_files.erase(std::unique(model.weight_files.begin(), model.weight_files.end()),
                             model.weight_files.end());
    return;
  }
  for (const std::string& name : entries(folder)) {
    if (name.rfind("pytorch_model", 0) == 0 || name.ends_with(".pt") || name.ends_with(".pth")) {
      throw Error(
          ErrorKind::unsupported,
          str("the weights are pickled (", name, "), and unpickling runs code from the file"),
          folder.string(),
          "convert once in Python: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW), "
          "which writes model.safetensors");
    }
  }
  throw Error(ErrorKind::not_found, "the folder has no weights", folder.string(),
              did_you_mean(kWeights, entries(folder), str("expected ", kWeights, " or ", kIndex)));
}

void open_folder(ModelFiles& model) {
  const fs::path& folder = model.path;
  if (!path_exists(folder / "config.json")) {
    if (path_exists(folder / "adapter_config.json")) {
      throw Error(ErrorKind::mismatch, "this is an adapter, and a base model is needed",
                  folder.string(), str("write BASE+", folder.string()));
    }
    for (const std::string& name : entries(folder)) {
      if (name.ends_with(".gguf")) {
        throw Error(ErrorKind::not_found, "the folder has no config.json", folder.string(),
                    str("name the GGUF file itself: ", (folder / name).string()));
      }
    }
    throw Error(ErrorKind::not_found, "the folder has no config.json", folder.string(),
                did_you_mean("config.json", entries(folder), "is this a model folder?"));
  }
  model.config = read_json(folder / "config.json");
  if (!model.config.is_object()) {
    throw Error(ErrorKind::format, "the configuration is not a JSON object",
                (folder / "config.json").string());
  }
  model.generation_config = optional_json(folder / "generation_config.json");
  model.tokenizer_config = optional_json(folder / "tokenizer_config.json");
  model.special_tokens_map = optional_json(folder / "special_tokens_map.json");
  if (path_exists(folder / "tokenizer.json")) model.tokenizer_json = folder / "tokenizer.json";
  if (path_exists(folder / "tokenizer.model")) model.tokenizer_model = folder / "tokenizer.model";
  take_templates(model, folder_templates(folder, model.tokenizer_config));
  open_weights(model);
  model.lm_head_absent = !model.tensors->contains("lm_head.weight");
}

void open_gguf(ModelFiles& model) {
  model.kind = ModelFiles::Kind::gguf;
  if (model.path.extension() == ".safetensors") {
    throw Error(ErrorKind::usage,
                "a single safetensors file is not a model: its configuration is missing",
                model.path.string(), "name the folder that holds it and config.json");
  }
  model.gguf = std::make_shared<GgufFile>(model.path);
  const int64_t parts = model.gguf->get_int("split.count", 1);
  if (parts > 1) {
    throw Error(ErrorKind::unsupported,
                str("this is one of ", parts, " parts of a split GGUF model"), model.path.string(),
                "join them first with llama.cpp's gguf-split --merge");
  }
  if (model.gguf->get_string("general.type", "model") == "adapter") {
    throw Error(ErrorKind::mismatch, "this is an adapter, and a base model is needed",
                model.path.string());
  }
  model.tensors = model.gguf;
  model.weight_files = {model.path};
  take_templates(model, gguf_templates(*model.gguf));
  model.lm_head_absent = !model.gguf->contains("output.weight");
}

}  // namespace

ModelFiles open_model(const std::string& spec) {
  std::vector<fs::path> parts = split_spec(spec);
  ModelFiles model;
  model.path = parts.front();
  model.digest_cache = std::make_shared<ModelFiles::DigestCache>();
  if (is_folder(model.path)) {
    open_folder(model);
  } else {
    open_gguf(model);
  }
  for (size_t i = 1; i < parts.size(); ++i) {
    const bool gguf_file = parts[i].extension() == ".gguf" && !is_folder(parts[i]);
    if (!gguf_file && !path_exists(parts[i] / "adapter_config.json")) {
      throw Error(ErrorKind::mismatch,
                  path_exists(parts[i] / "config.json")
                      ? "this is a base model, and an adapter is needed after '+'"
                      : "the folder has no adapter_config.json",
                  parts[i].string(), "write BASE+ADAPTER");
    }
    model.adapters.push_back(parts[i]);
  }
  return model;
}

std::string ModelFiles::digest() const {
  SMIDGEN_ASSERT(digest_cache);
  const std::lock_guard<std::mutex> lock(digest_cache->mutex);
  std::string& value = digest_cache->value;
  if (!value.empty()) return value;
  if (kind == Kind::gguf) return value = cached_file_digest(path);
  std::string lines;
  for (const fs::path& file : weight_files) {
    lines += str(cached_file_digest(file), "  ", file.filename().string(), "\n");
  }
  return value = sha256(lines);
}

}  // namespace smidgen
