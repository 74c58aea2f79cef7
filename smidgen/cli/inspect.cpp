// What a file or folder is and holds. Opens files only through the readers of io, so a broken one
// is reported in the same words as when it is used.
#include <algorithm>
#include <map>

#include "smidgen/base/error.h"
#include "smidgen/base/fs.h"
#include "smidgen/base/progress.h"
#include "smidgen/cli/command.h"
#include "smidgen/io/adapter_files.h"
#include "smidgen/io/checkpoint.h"
#include "smidgen/io/gguf.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/model_files.h"
#include "smidgen/io/safetensors.h"

namespace smidgen {
namespace {

struct InspectConfig {
  std::filesystem::path path;
  bool digest = false;
};
template <class V>
void fields(V& v, InspectConfig& c) {
  v("path", c.path, {.help = "File or folder, or base+adapter", .required = true});
  v("digest", c.digest, {.help = "Also the SHA-256 of a model's weights, which reads all of them"});
}

void add_tensors(Json& out, const TensorStore& store) {
  Json list = Json::array();
  std::map<std::string, int64_t> formats;
  int64_t elements = 0, bytes = 0;
  for (const std::string& name : store.names()) {
    const TensorView view = store.view(name);
    const std::string format(info(view.format).name);
    list.push_back(
        {{"name", name}, {"format", format}, {"shape", view.shape}, {"bytes", view.bytes.size()}});
    ++formats[format];
    elements += view.elements();
    bytes += static_cast<int64_t>(view.bytes.size());
  }
  out["tensor_count"] = list.size();
  out["elements"] = elements;
  out["tensor_bytes"] = bytes;
  out["formats"] = formats;
  out["tensors"] = std::move(list);
}

// Arrays of a vocabulary's size are named, not listed.
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
        all[key] = {{"array_of", std::string(to_string(value.element))}, {"count", value.count}};
        break;
      default:
        all[key] = file.get_int(key);
    }
  }
  return all;
}

Json inspect_model(const std::string& spec, bool digest) {
  const ModelFiles model = open_model(spec);
  const bool gguf = model.gguf != nullptr;
  Json out = {{"kind", gguf ? "gguf" : "model"}, {"path", model.path.string()}};
  out["family"] = gguf ? model.gguf->get_string("general.architecture", "")
                       : model.config.value("model_type", "");
  if (digest) out["digest"] = model.digest();
  if (gguf) {
    out["version"] = model.gguf->version();
    out["metadata"] = metadata_of(*model.gguf);
  } else {
    out["config"] = model.config;
  }
  out["tied_output"] = model.lm_head_absent;
  out["chat_template"] = model.chat_template.empty() ? Json(nullptr) : Json(model.chat_template);
  for (const fs::path& adapter : model.adapters) out["adapters"].push_back(adapter.string());
  add_tensors(out, *model.tensors);
  return out;
}

Json inspect_adapter(const fs::path& path) {
  const AdapterFiles adapter = read_adapter(path);
  Json out = {{"kind", "adapter"}, {"path", path.string()}};
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

Json inspect_path(const fs::path& path, bool digest) {
  const bool folder = fs::is_directory(path);
  if (!fs::exists(path)) {
    if (path.string().find('+') != std::string::npos) return inspect_model(path.string(), digest);
    throw Error(ErrorKind::not_found, str("there is no file or folder '", path.string(), "'"));
  }
  if (!folder && (path.extension() == ".gguf" || first_bytes(path).starts_with("GGUF"))) {
    return inspect_model(path.string(), digest);
  }
  if (!folder) return inspect_file(path);
  if (path_exists(path / "adapter_config.json")) return inspect_adapter(path);
  if (path_exists(path / "DONE") && path_exists(path / "state.json")) {
    return {
        {"kind", "checkpoint"}, {"path", path.string()}, {"state", read_json(path / "state.json")}};
  }
  if (path_exists(path / "metrics.jsonl") || path_exists(path / "recipe.yaml"))
    return inspect_run(path);
  return inspect_model(path.string(), digest);
}

std::string value_line(const Json& value) {
  std::string text = value.is_string() ? value.get<std::string>()
                                       : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text.size() > 90 ? text.substr(0, 87) + "..." : text;
}

void print_table(const Json& found, const std::string& indent) {
  std::string text;
  for (const auto& [key, value] : found.items()) {
    if (key == "tensors" || (value.is_object() && value.contains("kind"))) continue;
    if (value.is_object() && key != "formats") {
      text += str(indent, key, "\n");
      for (const auto& [name, item] : value.items())
        text += str(indent, "  ", name, ": ", value_line(item), "\n");
      continue;
    }
    const bool bytes = key.ends_with("bytes");
    text +=
        str(indent, key, ": ", bytes ? bytes_text(value.get<int64_t>()) : value_line(value), "\n");
  }
  if (found.contains("tensors")) {
    text += str(indent, "tensors\n");
    for (const Json& tensor : found["tensors"]) {
      text += str(indent, "  ", tensor["name"].get<std::string>(), "  ",
                  tensor["format"].get<std::string>(), " ", tensor["shape"].dump(), "\n");
    }
  }
  print_text(text);
  for (const auto& [key, value] : found.items()) {
    if (!value.is_object() || !value.contains("kind")) continue;
    print_text(str(indent, key, "\n"));
    print_table(value, indent + "  ");
  }
}

void run_inspect(const Invocation& invocation) {
  const auto config = read_config<InspectConfig>(invocation.recipe.values);
  const Json found = inspect_path(config.path, config.digest);
  if (invocation.output.json) return print_json(found);
  print_table(found, "");
}

const VerbEntry kInspect([] {
  return Verb{
      "inspect",
      "Tell what a file or folder is and holds",
      describe<InspectConfig>(),
      "path",
      Json::array(
          {Json::array({"smidgen inspect model.gguf", "tensors, metadata, chat template"}),
           Json::array({"smidgen inspect RUN/adapter --json", "method, rank, base, tensors"})}),
      run_inspect};
});

}  // namespace
}  // namespace smidgen
