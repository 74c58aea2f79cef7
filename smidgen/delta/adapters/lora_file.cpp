#include "smidgen/delta/adapters/lora_file.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <torch/torch.h>

#include "smidgen/io/adapter_mlx.h"
#include "smidgen/io/dequantise.h"
#include "smidgen/methods/placement.h"
#include "smidgen/methods/registry.h"

namespace smidgen {

namespace {

constexpr std::string_view kPrefix = "base_model.model.";

fs::path config_path(const AdapterFiles& files) {
  return files.path / "adapter_config.json";
}

AdapterFiles open_files(const fs::path& path) {
  std::error_code ignored;
  if (path.extension() == ".gguf" && !fs::is_directory(path, ignored)) {
    throw Error(ErrorKind::unsupported,
                "a GGUF adapter names its tensors in llama.cpp's way, and only its base says which "
                "modules they are",
                path.string(),
                "write it as a folder first: smidgen export --model BASE --adapter FILE --format "
                "peft --out FOLDER");
  }
  return is_mlx_adapter(path) ? read_mlx_adapter(path) : read_adapter(path);
}

bool switched_on(const Json& config, const char* key) {
  const auto found = config.find(key);
  return found != config.end() && !found->is_null() && *found != false;
}

// Its configuration in the words of our own LoRA, which refuses what changes the meaning of A and
// B.
Json settings_of(const AdapterFiles& files, const std::vector<std::string>& allow) {
  const std::string where = config_path(files).string();
  const std::string type = files.config.at("peft_type").get<std::string>();
  if (type != "LORA") {
    throw Error(ErrorKind::unsupported,
                str("only LoRA adapters can be combined without their base, and this is ", type),
                where, "merge each adapter into the base, and the models with smidgen merge");
  }
  for (const auto& [key, name] : {std::pair{"use_dora", "DoRA"}, {"kasa_config", "KaSA"}}) {
    if (!switched_on(files.config, key)) continue;
    throw Error(ErrorKind::unsupported,
                str("the adapter uses ", name, ", whose update depends on the base's weights: ",
                    "updates like that have no weighted sum"),
                where,
                "merge it into its base with the program that trained it; smidgen extract then "
                "makes a plain LoRA of the difference");
  }
  Json config = files.config;
  // Rows of tokens are whole rows, not updates; which table they belong to plays no part here.
  config.erase("trainable_token_indices");
  return methods().find("lora").from_peft(config, {}, allow, where);
}

// The module whose factor this is, empty when it is none.
std::string module_of(const std::string& name, std::string_view suffix) {
  if (!name.starts_with(kPrefix) || !name.ends_with(suffix) ||
      name.size() <= kPrefix.size() + suffix.size())
    return {};
  return name.substr(kPrefix.size(), name.size() - kPrefix.size() - suffix.size());
}

at::Tensor read_finite(const TensorStore& tensors, const std::string& name) {
  const TensorView view = tensors.view(name);
  at::Tensor values = at::empty(view.shape, at::kFloat);
  to_f32(view, {values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
  if (!at::isfinite(values).all().item<bool>()) {
    throw Error(ErrorKind::data, str("tensor ", name, " holds NaN or infinity"), tensors.where(),
                "the run that trained it diverged, or the file is damaged");
  }
  return values;
}

}  // namespace

std::string LoraPlace::a_name() const {
  return str(kPrefix, module, embedding ? ".lora_embedding_A" : ".lora_A.weight");
}
std::string LoraPlace::b_name() const {
  return str(kPrefix, module, embedding ? ".lora_embedding_B" : ".lora_B.weight");
}
std::string LoraPlace::bias_name() const {
  return str(kPrefix, module, ".lora_B.bias");
}

LoraFile::LoraFile(const fs::path& path, const std::vector<std::string>& allow_config_keys)
    : files_(open_files(path)), settings_(settings_of(files_, allow_config_keys)) {
  find_places();
}

void LoraFile::find_places() {
  std::set<std::string> used;
  for (const std::string& name : files_.tensors->names()) {
    for (const bool embedding : {false, true}) {
      const std::string module =
          module_of(name, embedding ? ".lora_embedding_A" : ".lora_A.weight");
      if (module.empty()) continue;
      const LoraPlace place = place_of(module, embedding);
      used.insert(place.a_name());
      used.insert(place.b_name());
      if (place.bias) used.insert(place.bias_name());
      places_.push_back(place);
    }
  }
  std::sort(places_.begin(), places_.end(),
            [](const LoraPlace& a, const LoraPlace& b) { return a.module < b.module; });
  for (const std::string& name : files_.tensors->names()) {
    if (used.contains(name)) continue;
    if (name.find("lora_") != std::string::npos || !name.starts_with(kPrefix)) {
      throw Error(ErrorKind::mismatch, str("tensor ", name, " is no part of a plain LoRA adapter"),
                  files_.tensors->where(),
                  "names are base_model.model.MODULE.lora_A.weight and so on, without an adapter's "
                  "name, as PEFT's save_pretrained writes them");
    }
    others_.push_back(name);
  }
  if (places_.empty()) {
    throw Error(ErrorKind::mismatch, "the adapter has no low-rank factors", files_.tensors->where(),
                "expected tensors such as base_model.model.MODULE.lora_A.weight");
  }
}

LoraPlace LoraFile::place_of(const std::string& module, bool embedding) const {
  const TensorStore& tensors = *files_.tensors;
  LoraPlace place{.module = module, .embedding = embedding};
  const std::vector<int64_t> a = tensors.view(place.a_name()).shape;
  const std::vector<int64_t> b = tensors.view(place.b_name()).shape;
  const auto bad = [&](const std::string& message, const std::string& hint) {
    throw Error(ErrorKind::mismatch, message, tensors.where(), hint);
  };
  // A convolution's A has the kernel behind its channels, and B ones.
  bool fits = a.size() >= 2 && a.size() == b.size() && a[0] == b[1];
  for (size_t i = 2; fits && i < b.size(); ++i) fits = b[i] == 1;
  for (const int64_t size : a) fits = fits && size > 0;
  if (!fits || b[0] < 1) {
    bad(str(place.a_name(), " has shape ", shape_str(a), " and lora_B ", shape_str(b),
            ", which do not fit together"),
        "expected [rank, in] and [out, rank]");
  }
  place.rank = a[0];
  place.out = b[0];
  place.in = 1;
  for (size_t i = 1; i < a.size(); ++i) place.in *= a[i];
  place.kernel.assign(a.begin() + 2, a.end());
  const auto patterns = [&]<class T>(const char* key, T standard) {
    return by_pattern(FieldType<OrderedMap<T>>::read(settings_.at(key)), module, standard);
  };
  const auto rank = patterns("rank_pattern", settings_.at("rank").get<int64_t>());
  const auto alpha = patterns("alpha_pattern", settings_.at("alpha").get<double>());
  if (rank != place.rank) {
    bad(str(place.a_name(), " has rank ", place.rank, " where the configuration gives ", rank),
        "its scale depends on the rank: was adapter_config.json edited?");
  }
  const auto r = static_cast<double>(rank);
  place.scale = alpha / (settings_.at("rslora").get<bool>() ? std::sqrt(r) : r);
  place.bias = !embedding && tensors.contains(place.bias_name());
  if (place.bias && tensors.view(place.bias_name()).shape != std::vector<int64_t>{place.out})
    bad(str(place.bias_name(), " is not a vector of ", place.out), "");
  return place;
}

const LoraPlace* LoraFile::find(const std::string& module) const {
  const auto at = std::lower_bound(
      places_.begin(), places_.end(), module,
      [](const LoraPlace& place, const std::string& name) { return place.module < name; });
  return at != places_.end() && at->module == module ? &*at : nullptr;
}

LoraValues LoraFile::read(const LoraPlace& place) const {
  LoraValues values;
  values.a = read_finite(*files_.tensors, place.a_name()).view({place.rank, place.in});
  values.b = read_finite(*files_.tensors, place.b_name()).view({place.out, place.rank});
  if (place.bias) values.bias = read_finite(*files_.tensors, place.bias_name());
  return values;
}

std::string LoraFile::base_digest() const {
  if (!files_.sidecar.is_object()) return {};
  const auto digest = files_.sidecar.find("base_digest");
  return digest != files_.sidecar.end() && digest->is_string() ? digest->get<std::string>() : "";
}

}  // namespace smidgen
