#include "smidgen/io/adapter_mlx.h"

#include <algorithm>
#include <array>
#include <map>

#include "smidgen/base/error.h"
#include "smidgen/io/json_file.h"
#include "smidgen/io/owned_tensors.h"

namespace smidgen {

namespace {

constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kTensors = "adapters.safetensors";
constexpr std::array kEmbeddings = {"embed_tokens", "wte", "embed_in", "word_embeddings"};

struct Parameters {
  int64_t rank = 0;
  double scale = 0, dropout = 0;
};

double number(const Json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) {
    throw Error(ErrorKind::format, str("lora_parameters has no number \"", key, "\""), where,
                "mlx-lm writes rank, scale and dropout");
  }
  return found->get<double>();
}

Parameters parameters_of(const Json& config, const std::string& where) {
  const std::string kind = config.value("fine_tune_type", Json("lora")).is_string()
                               ? config.value("fine_tune_type", "lora")
                               : "";
  if (kind != "lora") {
    throw Error(ErrorKind::unsupported, str("an mlx adapter of fine_tune_type '", kind, "'"), where,
                "lora can be read");
  }
  const auto found = config.find("lora_parameters");
  if (found == config.end() || !found->is_object()) {
    throw Error(ErrorKind::format, "the configuration has no object \"lora_parameters\"", where,
                "it names rank and scale");
  }
  Parameters p;
  const double rank = number(*found, "rank", where);
  p.scale = number(*found, "scale", where);
  p.dropout = found->contains("dropout") ? number(*found, "dropout", where) : 0;
  if (!(rank >= 1 && rank <= 1 << 20) || rank != static_cast<double>(static_cast<int64_t>(rank))) {
    throw Error(ErrorKind::format, str("the rank is ", (*found)["rank"].dump()), where);
  }
  p.rank = static_cast<int64_t>(rank);
  // Old releases multiplied the scale by alpha / rank; a file with that key is one of theirs.
  if (found->contains("alpha")) p.scale *= number(*found, "alpha", where) / rank;
  return p;
}

bool is_embedding(const std::string& module) {
  const std::string leaf = module.substr(module.rfind('.') + 1);
  return std::find(kEmbeddings.begin(), kEmbeddings.end(), leaf) != kEmbeddings.end();
}

struct Pair {
  std::optional<TensorView> a, b;
};

std::map<std::string, Pair> pairs_of(const SafetensorsFile& file) {
  std::map<std::string, Pair> pairs;
  for (const std::string& name : file.names()) {
    const bool a = name.ends_with(".lora_a"), b = name.ends_with(".lora_b");
    const std::string where = str(file.where(), ", tensor '", name, "'");
    if (!a && !b) {
      throw Error(ErrorKind::unsupported, "the tensor is neither a lora_a nor a lora_b", where,
                  name.ends_with(".m") ? "DoRA adapters of mlx cannot be read yet" : "");
    }
    const TensorView view = file.view(name);
    if (view.shape.size() != 2 || !info(view.format).readable) {
      throw Error(ErrorKind::unsupported,
                  str("the matrix is ", info(view.format).name, " ", shape_str(view.shape)), where,
                  "a matrix of floating numbers is expected; experts cannot be read yet");
    }
    Pair& pair = pairs[name.substr(0, name.size() - 7)];
    (a ? pair.a : pair.b) = view;
  }
  return pairs;
}

}  // namespace

bool is_mlx_adapter(const fs::path& folder) {
  if (path_exists(folder / kTensors) || path_exists(folder / "adapters.npz")) return true;
  if (!path_exists(folder / kConfig)) return false;
  const Json config = read_json(folder / kConfig);
  return config.is_object() && config.contains("lora_parameters") && !config.contains("peft_type");
}

AdapterFiles read_mlx_adapter(const fs::path& folder) {
  const std::string where = (folder / kConfig).string();
  const Json config = read_json(folder / kConfig);
  if (!config.is_object()) throw Error(ErrorKind::format, "not a JSON object", where);
  const Parameters p = parameters_of(config, where);
  if (!path_exists(folder / kTensors)) {
    throw Error(ErrorKind::not_found, str("the adapter has no ", kTensors), folder.string(),
                path_exists(folder / "adapters.npz")
                    ? "weights as .npz come from an old release; save them again with mlx-lm"
                    : "");
  }
  const SafetensorsFile file(folder / kTensors);
  auto tensors = std::make_shared<OwnedTensors>(file.where());
  Json modules = Json::array();
  for (const auto& [module, pair] : pairs_of(file)) {
    const std::string place = str(file.where(), ", module '", module, "'");
    if (!pair.a || !pair.b)
      throw Error(ErrorKind::mismatch, str("there is no ", pair.a ? "lora_b" : "lora_a"), place);
    if (pair.a->shape[1] != p.rank || pair.b->shape[0] != p.rank) {
      throw Error(ErrorKind::mismatch,
                  str("lora_a is ", shape_str(pair.a->shape), " and lora_b ",
                      shape_str(pair.b->shape), ", but the rank is ", p.rank),
                  place);
    }
    const bool embedding = is_embedding(module);
    const auto put = [&](const TensorView& view, const char* letter) {
      transpose(view, tensors->make(str("base_model.model.", module,
                                        embedding ? ".lora_embedding_" : ".lora_", letter,
                                        embedding ? "" : ".weight"),
                                    view.format, {view.shape[1], view.shape[0]}));
    };
    put(*pair.a, "A");
    put(*pair.b, "B");
    modules.push_back(module);
  }
  AdapterFiles adapter;
  adapter.path = folder;
  adapter.config = {{"peft_type", "LORA"},
                    {"r", p.rank},
                    {"lora_alpha", p.scale * static_cast<double>(p.rank)},
                    {"lora_dropout", p.dropout},
                    {"target_modules", std::move(modules)}};
  if (config.value("model", Json()).is_string())
    adapter.config["base_model_name_or_path"] = config["model"];
  adapter.tensors = std::move(tensors);
  return adapter;
}

}  // namespace smidgen
