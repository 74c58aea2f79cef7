#include "smidgen/io/adapter_files.h"

#include <algorithm>
#include <unistd.h>

#include "smidgen/base/unfinished_folder.h"
#include "smidgen/io/delta_files.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/python_json.h"

namespace smidgen {

namespace {

constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kTensors = "adapter_model.safetensors";
constexpr const char* kSidecar = "smidgen.json";

std::vector<fs::path> adapters_in(const fs::path& path) {
  std::vector<fs::path> inside;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(path, ignored)) {
    if (path_exists(entry.path() / kConfig)) inside.push_back(entry.path());
  }
  std::sort(inside.begin(), inside.end());
  return inside;
}

[[noreturn]] void not_an_adapter(const fs::path& path) {
  std::error_code ignored;
  if (!path_exists(path))
    throw Error(ErrorKind::not_found, "there is no such adapter folder", path.string());
  if (!fs::is_directory(path, ignored)) {
    throw Error(ErrorKind::usage, "an adapter is a folder, this is a file", path.string(),
                path.extension() == ".gguf"
                    ? "a GGUF file is a base model"
                    : str("name the folder: ", path.parent_path().string()));
  }
  if (path_exists(path / "config.json")) {
    throw Error(ErrorKind::mismatch, "this is a base model, and an adapter is needed",
                path.string(), "give it as the model, and name an adapter folder here");
  }
  std::vector<std::string> inside;
  for (const fs::path& folder : adapters_in(path)) inside.push_back(folder.string());
  throw Error(ErrorKind::not_found,
              inside.empty() ? str("the folder has no ", kConfig)
                             : str("the folder has no ", kConfig, " but several adapters"),
              path.string(),
              inside.empty() ? "is this an adapter folder?" : str("name one: ", join(inside)));
}

}  // namespace

fs::path find_adapter(const fs::path& path) {
  if (path_exists(path / kConfig)) return path;
  std::error_code ignored;
  if (fs::is_directory(path, ignored) && !path_exists(path / "config.json")) {
    const std::vector<fs::path> inside = adapters_in(path);
    if (inside.size() == 1) return inside.front();
  }
  not_an_adapter(path);
}

AdapterFiles read_adapter(const fs::path& given) {
  const fs::path path = find_adapter(given);
  AdapterFiles adapter;
  adapter.path = path;
  adapter.config = read_json(path / kConfig);
  const std::string config = (path / kConfig).string();
  if (!adapter.config.is_object()) throw Error(ErrorKind::format, "not a JSON object", config);
  const auto type = adapter.config.find("peft_type");
  if (type == adapter.config.end() || !type->is_string()) {
    throw Error(ErrorKind::format, "the configuration has no \"peft_type\"", config,
                "it names the method, for example \"LORA\"");
  }
  const bool compressed = is_delta(path);
  if (compressed && path_exists(path / kTensors)) {
    throw Error(ErrorKind::mismatch, str("the folder has ", kTensors, " and a compressed delta"),
                path.string(), "keep one of them: which of the two is the adapter?");
  }
  if (!compressed && !path_exists(path / kTensors)) {
    if (path_exists(path / "adapter_model.bin")) {
      throw Error(
          ErrorKind::unsupported,
          "the weights are pickled (adapter_model.bin), and unpickling runs code from the file",
          path.string(),
          str("convert once in Python: safetensors.torch.save_file(torch.load('adapter_model.bin', "
              "weights_only=True), '",
              kTensors, "', metadata={'format': 'pt'})"));
    }
    throw Error(ErrorKind::not_found, str("the adapter has no ", kTensors), path.string());
  }
  if (compressed) {
    const auto delta = std::make_shared<DeltaFiles>(read_delta(path));
    if (delta->adapter == (*type == kModelDeltaType)) {
      throw Error(ErrorKind::mismatch,
                  str("delta.json is ", delta->adapter ? "an adapter's" : "a model's",
                      ", and the configuration's peft_type is ", type->get<std::string>()),
                  config, "the two files are from different folders");
    }
    if (delta->adapter) {
      adapter.tensors = expand_adapter(*delta);
    } else {
      adapter.tensors = delta->file;
      adapter.delta = delta;
    }
  } else {
    adapter.tensors = std::make_shared<SafetensorsFile>(path / kTensors);
  }
  if (path_exists(path / kSidecar)) adapter.sidecar = read_json(path / kSidecar);
  return adapter;
}

void write_adapter(const fs::path& given, const Json& config,
                   const std::vector<NamedTensor>& tensors, const Json& sidecar,
                   WriteAdapterOptions options) {
  const fs::path path = given.filename().empty() ? given.parent_path() : given;
  std::error_code ignored;
  if (path_exists(path) && !fs::is_directory(path, ignored)) {
    throw Error(ErrorKind::usage, "an adapter is a folder, and there is a file of that name",
                path.string());
  }
  if (path_exists(path) && !fs::is_empty(path, ignored) && !options.replace) {
    throw Error(ErrorKind::usage, "the folder exists and is not empty", path.string(),
                "choose another name, or remove it first");
  }
  // Only an adapter is ever swapped out: a slip of the pen must not cost somebody's folder.
  if (path_exists(path) && !fs::is_empty(path, ignored) && !path_exists(path / kConfig)) {
    throw Error(ErrorKind::usage,
                str("the folder exists and holds no ", kConfig, ", so it is not replaced"),
                path.string());
  }
  if (path.has_parent_path()) make_folder(path.parent_path());
  const UnfinishedFolder temporary(path.parent_path() /
                                   str(".", path.filename().string(), ".tmp-", ::getpid()));
  write_file(temporary.path / kConfig, python_json(config));
  write_safetensors(temporary.path / kTensors, tensors);
  if (!sidecar.is_null()) write_file(temporary.path / kSidecar, sidecar.dump(2) + "\n");
  sync_tree(temporary.path);
  replace_folder(temporary.path, path);
}

}  // namespace smidgen
