#include <algorithm>

#include "smidgen/base/error.h"
#include "smidgen/base/sha256.h"
#include "smidgen/delta/diff/subject.h"
#include "smidgen/io/adapter_files.h"
#include "smidgen/io/adapter_mlx.h"
#include "smidgen/io/gguf.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/little_endian.h"
#include "smidgen/io/model_files.h"
#include "smidgen/io/safetensors.h"
#include "smidgen/text/tokenizer.h"

namespace smidgen {

namespace {

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// Something too long to be listed: how much it is, and what tells it apart.
Json digest_of(size_t count, std::string_view text) {
  return {{"count", count}, {"sha256", sha256(text)}};
}
Json digest_of(const Json& value) {
  return digest_of(value.size(), value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Json scalar_of(const GgufFile& file, const std::string& key, const GgufValue& value) {
  switch (value.type) {
    case GgufType::string:
      return file.get_string(key);
    case GgufType::boolean:
      return file.get_bool(key);
    case GgufType::f32:
    case GgufType::f64:
      return file.get_float(key);
    case GgufType::u64:
      return load<uint64_t>(value.bytes.data());
    default:
      return file.get_int(key);
  }
}

Json metadata_of(const GgufFile& file) {
  Json all = Json::object();
  for (const std::string& key : file.keys()) {
    const GgufValue& value = *file.find(key);
    if (value.type != GgufType::array) {
      all[key] = scalar_of(file, key, value);
      continue;
    }
    all[key] = {{"array_of", std::string(to_string(value.element))},
                {"count", value.count},
                {"sha256", sha256(value.bytes)}};
  }
  return all;
}

// tokenizer.json, its long lists as digests.
Json tokenizer_document(const fs::path& path) {
  Json json = read_json(path);
  if (!json.is_object() || !json.contains("model") || !json["model"].is_object()) return json;
  for (const char* list : {"vocab", "merges"}) {
    if (json["model"].contains(list)) json["model"][list] = digest_of(json["model"][list]);
  }
  return json;
}

// The same of a tokenizer of any file, for sides that do not have the same kind of files.
Json common_tokenizer(const ModelFiles& files) {
  if (!has_tokenizer(files)) return nullptr;
  const auto tokenizer = load_tokenizer(files);
  std::string tokens;
  for (int64_t id = 0; id < tokenizer->vocabulary_size(); ++id)
    tokens += tokenizer->token(static_cast<int32_t>(id)) + "\n";
  const auto id = [](std::optional<int32_t> token) { return token ? Json(*token) : Json(); };
  return {{"vocabulary", digest_of(static_cast<size_t>(tokenizer->vocabulary_size()), tokens)},
          {"bos", id(tokenizer->bos())},
          {"eos", id(tokenizer->eos())},
          {"adds_bos", tokenizer->adds_bos()}};
}

Subject adapter_subject(const fs::path& path) {
  const AdapterFiles files = is_mlx_adapter(path) ? read_mlx_adapter(path) : read_adapter(path);
  Subject subject{.kind = Subject::Kind::adapter, .label = path.string()};
  subject.tensors = store_source(path.string(), files.tensors);
  subject.documents = {{"adapter_config.json", files.config}, {"smidgen.json", files.sidecar}};
  return subject;
}

Subject gguf_subject(const fs::path& path) {
  const auto file = std::make_shared<GgufFile>(path);
  Subject subject{.kind = Subject::Kind::gguf, .label = path.string()};
  subject.tensors = store_source(path.string(), file);
  subject.documents = {{"metadata", metadata_of(*file)}};
  return subject;
}

Subject safetensors_subject(const fs::path& path) {
  const auto file = std::make_shared<SafetensorsFile>(path);
  Subject subject{.kind = Subject::Kind::safetensors, .label = path.string()};
  subject.tensors = store_source(path.string(), file);
  subject.documents = {{"metadata", Json(file->metadata())}};
  return subject;
}

Subject folder_subject(const ModelFiles& files) {
  Subject subject{.label = files.path.string()};
  subject.tensors = store_source(files.path.string(), files.tensors);
  subject.documents = {{"config.json", files.config},
                       {"generation_config.json", files.generation_config},
                       {"tokenizer_config.json", files.tokenizer_config},
                       {"special_tokens_map.json", files.special_tokens_map}};
  Json templates = Json::object();
  for (const auto& [name, source] : files.chat_templates) templates[name] = source;
  subject.documents.emplace_back("chat template", std::move(templates));
  if (files.tokenizer_json)
    subject.documents.emplace_back("tokenizer.json", tokenizer_document(*files.tokenizer_json));
  if (files.tokenizer_model)
    subject.documents.emplace_back("tokenizer.model",
                                   Json{{"sha256", sha256_file(*files.tokenizer_model)}});
  return subject;
}

// A model of any kind in HF's words.
Subject common_subject(const std::string& spec, bool allow_other_base) {
  const ModelFiles files = open_model(spec);
  Subject subject{.kind = Subject::Kind::sum, .label = spec};
  subject.tensors = open_source(spec, allow_other_base);
  subject.documents = {{"config.json", subject.tensors->config()},
                       {"tokenizer", common_tokenizer(files)}};
  return subject;
}

bool is_gguf(const fs::path& path) {
  return path.extension() == ".gguf" && !is_folder(path);
}

Subject open_subject(const std::string& spec) {
  const fs::path path = spec;
  if (path_exists(path)) {
    if (is_folder(path) && is_adapter_path(path)) return adapter_subject(path);
    if (is_gguf(path)) return gguf_subject(path);
    if (path.extension() == ".safetensors" && !is_folder(path)) return safetensors_subject(path);
  }
  const ModelFiles files = open_model(spec);
  if (!files.adapters.empty() || files.gguf) return {.kind = Subject::Kind::sum, .label = spec};
  return folder_subject(files);
}

bool adapter_like(const Subject& subject) {
  return subject.kind == Subject::Kind::adapter ||
         (subject.kind == Subject::Kind::gguf && is_adapter_path(subject.label));
}

const char* word(const Subject& subject) {
  return adapter_like(subject)                        ? "an adapter"
         : subject.kind == Subject::Kind::safetensors ? "a safetensors file"
                                                      : "a model";
}

Json document_of(const Subject& subject, const std::string& name) {
  for (const auto& [file, json] : subject.documents) {
    if (file == name && !json.is_null()) return json;
  }
  return Json::object();
}

}  // namespace

bool is_adapter_path(const fs::path& path) {
  if (is_folder(path)) {
    if (path_exists(path / "config.json")) return false;
    return path_exists(path / "adapter_config.json") || is_mlx_adapter(path);
  }
  return is_gguf(path) && path_exists(path) &&
         GgufFile(path).get_string("general.type", "model") == "adapter";
}

bool Difference::equal() const {
  return keys.empty() && std::all_of(tensors.begin(), tensors.end(),
                                     [](const TensorDifference& t) { return t.equal(); });
}

Json Difference::to_json() const {
  Json out = {{"a", first}, {"b", second}, {"equal", equal()}};
  out["keys"] = Json::array();
  for (const KeyDifference& key : keys) out["keys"].push_back(key.to_json());
  out["tensors"] = Json::array();
  for (const TensorDifference& tensor : tensors) {
    if (!tensor.equal()) out["tensors"].push_back(tensor.to_json());
  }
  out["tensor_count"] = tensors.size();
  return out;
}

Difference difference(const std::string& first, const std::string& second, bool allow_other_base,
                      const std::function<void(int64_t done, int64_t total)>& progress) {
  Subject a = open_subject(first), b = open_subject(second);
  if (std::string_view(word(a)) != word(b))
    throw Error(ErrorKind::mismatch, str(first, " is ", word(a), ", and ", second, " is ", word(b)),
                "", "give two of one kind; BASE+ADAPTER is a model");
  if (a.kind != b.kind || a.kind == Subject::Kind::sum) {
    if (adapter_like(a))
      throw Error(ErrorKind::unsupported,
                  "an adapter folder and a GGUF adapter name their tensors differently",
                  str(first, ", ", second), "write both in one layout with smidgen export");
    a = common_subject(first, allow_other_base);
    b = common_subject(second, allow_other_base);
  }
  Difference out{.first = first, .second = second};
  std::vector<std::string> files;
  for (const auto* subject : {&a, &b}) {
    for (const auto& [file, json] : subject->documents) {
      if (std::find(files.begin(), files.end(), file) == files.end()) files.push_back(file);
    }
  }
  for (const std::string& file : files) {
    for (KeyDifference& key : key_differences(file, document_of(a, file), document_of(b, file)))
      out.keys.push_back(std::move(key));
  }
  out.tensors = tensor_differences(*a.tensors, *b.tensors, progress);
  return out;
}

}  // namespace smidgen
