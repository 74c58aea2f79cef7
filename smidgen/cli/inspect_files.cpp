// What a file or folder is and holds, as JSON. Opens files only through the readers of io, so a
// broken one is reported in the same words as when it is used.
#include "smidgen/cli/inspect_files.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "smidgen/base/error.h"
#include "smidgen/base/sha256.h"
#include "smidgen/io/adapter_files.h"
#include "smidgen/io/adapter_mlx.h"
#include "smidgen/io/checkpoint.h"
#include "smidgen/io/delta_files.h"
#include "smidgen/io/gguf.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/little_endian.h"
#include "smidgen/io/model_files.h"
#include "smidgen/io/safetensors.h"

namespace smidgen {
namespace {

constexpr uint64_t kListed = 8;  // elements of an array that are shown

struct FormatShare {
  int64_t tensors = 0, elements = 0, bytes = 0;
};

// Floating values in the file: the parameters of a model whose tied matrices are stored once.
// `memory` is what they take once loaded: block formats have no products of their own yet and are
// unpacked.
void add_tensors(Json& out, const TensorStore& store) {
  Json list = Json::array();
  std::map<std::string, FormatShare> shares;
  FormatShare all, numbers;
  const auto add = [](FormatShare& share, const TensorView& view) {
    ++share.tensors;
    share.elements += view.elements();
    share.bytes += static_cast<int64_t>(view.bytes.size());
  };
  for (const std::string& name : store.names()) {
    const TensorView view = store.view(name);
    const FormatInfo& format = info(view.format);
    list.push_back({{"name", name},
                    {"format", format.name},
                    {"shape", view.shape},
                    {"bytes", view.bytes.size()}});
    add(shares[std::string(format.name)], view);
    add(all, view);
    if (format.floating) add(numbers, view);
  }
  out["tensor_count"] = list.size();
  out["elements"] = all.elements;
  out["tensor_bytes"] = all.bytes;
  out["parameters"] = numbers.elements;
  if (numbers.elements > 0) {
    out["bits_per_parameter"] = std::round(800.0 * static_cast<double>(numbers.bytes) /
                                           static_cast<double>(numbers.elements)) /
                                100;
    out["memory"] = {{"fp32_bytes", 4 * numbers.elements}, {"bf16_bytes", 2 * numbers.elements}};
  }
  out["formats"] = Json::object();
  for (const auto& [name, share] : shares) {
    out["formats"][name] = {
        {"tensors", share.tensors}, {"elements", share.elements}, {"bytes", share.bytes}};
  }
  out["tensors"] = std::move(list);
}

Json array_of(const GgufFile& file, const std::string& key, const GgufValue& value) {
  // Arrays of a vocabulary's size are named, not listed.
  if (value.count > kListed || value.element == GgufType::boolean || value.element == GgufType::u64)
    return {{"array_of", std::string(to_string(value.element))}, {"count", value.count}};
  if (value.element == GgufType::string) return file.get_strings(key);
  if (value.element == GgufType::f32 || value.element == GgufType::f64) return file.get_floats(key);
  return file.get_ints(key);
}

Json metadata_of(const GgufFile& file) {
  Json all = Json::object();
  for (const std::string& key : file.keys()) {
    const GgufValue& value = *file.find(key);
    switch (value.type) {
      case GgufType::string:
        all[key] = file.get_string(key);
        break;
      case GgufType::boolean:
        all[key] = file.get_bool(key);
        break;
      case GgufType::f32:
      case GgufType::f64:
        all[key] = file.get_float(key);
        break;
      case GgufType::array:
        all[key] = array_of(file, key, value);
        break;
      case GgufType::u64:
        all[key] = load<uint64_t>(value.bytes.data());
        break;
      default:
        all[key] = file.get_int(key);
    }
  }
  return all;
}

// A file of any kind: a model, one part of a split one, an adapter, a vocabulary.
Json inspect_gguf(const fs::path& path, bool digest) {
  const GgufFile file(path);
  const bool adapter = file.get_string("general.type", "model") == "adapter";
  Json out = {{"kind", adapter ? "gguf adapter" : "gguf"}, {"path", path.string()}};
  out["family"] = file.get_string("general.architecture", "");
  if (digest) out["digest"] = sha256_file(path);
  out["version"] = file.version();
  out["alignment"] = file.alignment();
  out["metadata"] = metadata_of(file);
  if (!adapter) {
    out["tied_output"] = !file.contains("output.weight");
    const std::string chat = file.get_string("tokenizer.chat_template", "");
    out["chat_template"] = chat.empty() ? Json(nullptr) : Json(chat);
  }
  add_tensors(out, file);
  return out;
}

Json inspect_model(const std::string& spec, bool digest) {
  const ModelFiles model = open_model(spec);
  Json out = {{"kind", "model"}, {"path", model.path.string()}};
  if (model.gguf) out = inspect_gguf(model.path, digest);
  for (const fs::path& adapter : model.adapters) out["adapters"].push_back(adapter.string());
  if (model.gguf) return out;
  out["family"] = model.config.value("model_type", "");
  if (digest) out["digest"] = model.digest();
  out["config"] = model.config;
  if (!model.generation_config.is_null()) out["generation_config"] = model.generation_config;
  out["weight_files"] = model.weight_files.size();
  out["tied_output"] = model.lm_head_absent;
  out["chat_template"] = model.chat_template.empty() ? Json(nullptr) : Json(model.chat_template);
  for (const auto& [name, source] : model.chat_templates) out["chat_templates"][name] = source;
  add_tensors(out, *model.tensors);
  return out;
}

Json inspect_adapter(const fs::path& path) {
  const bool mlx = is_mlx_adapter(path);
  const AdapterFiles adapter = mlx ? read_mlx_adapter(path) : read_adapter(path);
  Json out = {{"kind", "adapter"}, {"path", path.string()}, {"layout", mlx ? "mlx" : "peft"}};
  const Json& config = adapter.config;
  const auto take = [&](const char* name, const char* key) {
    if (config.contains(key)) out[name] = config[key];
  };
  take("method", "peft_type");
  take("rank", "r");
  take("alpha", "lora_alpha");
  take("targets", "target_modules");
  take("base", "base_model_name_or_path");
  if (adapter.sidecar.is_object() && adapter.sidecar.contains("base_digest")) {
    out["base_digest"] = adapter.sidecar["base_digest"];
  }
  if (is_delta(adapter.path)) {
    const Json delta = read_json(adapter.path / "delta.json");
    for (const char* key :
         {"of", "kind", "codec", "elements", "kept", "density", "alpha", "scale"}) {
      if (delta.contains(key)) out["compressed"][key] = delta[key];
    }
  }
  out["config"] = config;
  if (!adapter.sidecar.is_null()) out["sidecar"] = adapter.sidecar;
  add_tensors(out, *adapter.tensors);
  return out;
}

Json inspect_run(const fs::path& path) {
  Json out = {{"kind", "run"}, {"path", path.string()}, {"checkpoints", Json::array()}};
  for (const Checkpoint& checkpoint : CheckpointStore(path / "checkpoints").list()) {
    out["checkpoints"].push_back(checkpoint.step);
  }
  if (path_exists(path / "adapter" / "adapter_config.json"))
    out["adapter"] = inspect_adapter(path / "adapter");
  return out;
}

std::string first_bytes(const fs::path& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes().first(std::min<size_t>(file.bytes().size(), 16));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Json inspect_file(const fs::path& path) {
  const uint64_t size = fs::file_size(path);
  Json out = {{"kind", "file"}, {"path", path.string()}, {"bytes", size}};
  if (path.extension() == ".safetensors") {
    const SafetensorsFile file(path);
    out["kind"] = "safetensors";
    out["metadata"] = file.metadata();
    add_tensors(out, file);
  } else if (path.extension() == ".json") {
    const Json json = read_json(path);
    out["kind"] = "json";
    if (json.is_object()) {
      out["keys"] = Json::array();
      for (const auto& [key, value] : json.items()) out["keys"].push_back(key);
    }
  } else if (path.extension() == ".jsonl") {
    const MappedFile file(path);
    const auto bytes = file.bytes();
    out["kind"] = "jsonl";
    out["lines"] =
        std::count(bytes.begin(), bytes.end(), std::byte{'\n'}) + (bytes.back() != std::byte{'\n'});
  }
  return out;
}

}  // namespace

Json inspect_path(const fs::path& path, bool digest) {
  const bool folder = fs::is_directory(path);
  if (!fs::exists(path)) {
    if (path.string().find('+') != std::string::npos) return inspect_model(path.string(), digest);
    throw Error(ErrorKind::not_found, str("there is no file or folder '", path.string(), "'"));
  }
  if (!folder && (path.extension() == ".gguf" || first_bytes(path).starts_with("GGUF"))) {
    return inspect_gguf(path, digest);
  }
  if (!folder) return inspect_file(path);
  if (path_exists(path / "adapter_config.json") || is_mlx_adapter(path))
    return inspect_adapter(path);
  if (path_exists(path / "DONE") && path_exists(path / "state.json")) {
    return {
        {"kind", "checkpoint"}, {"path", path.string()}, {"state", read_json(path / "state.json")}};
  }
  if (path_exists(path / "metrics.jsonl") || path_exists(path / "recipe.yaml"))
    return inspect_run(path);
  return inspect_model(path.string(), digest);
}

}  // namespace smidgen
