#include "smidgen/delta/adapters/combine_checks.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "smidgen/base/log.h"

namespace smidgen {

namespace {

Json value_of(const LoraFile& file, const char* key) {
  const auto found = file.config().find(key);
  return found == file.config().end() ? Json(nullptr) : *found;
}

// What stands before a path's first number, "model.layers" of "model.layers.0.mlp.up_proj":
// adapters that both have layers, and no such stem in common, were made for different
// architectures. What lies outside of layers, an embedding or a head, says nothing.
std::set<std::string> stems(const LoraFile& file) {
  std::set<std::string> found;
  for (const LoraPlace& place : file.places()) {
    const std::string& path = place.module;
    for (size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.', dot + 1)) {
      if (dot + 1 >= path.size() || !std::isdigit(static_cast<unsigned char>(path[dot + 1])))
        continue;
      found.insert(path.substr(0, dot));
      break;
    }
  }
  return found;
}

template <class Set>
bool meet(const Set& a, const Set& b) {
  return std::any_of(a.begin(), a.end(), [&](const auto& item) { return b.contains(item); });
}

void check_shapes(const LoraFile& first, const LoraFile& second) {
  for (const LoraPlace& place : second.places()) {
    const LoraPlace* other = first.find(place.module);
    if (!other) continue;
    if (other->in == place.in && other->out == place.out && other->kernel == place.kernel &&
        other->embedding == place.embedding)
      continue;
    throw Error(ErrorKind::mismatch,
                str("module ", place.module, " has a weight of ",
                    shape_str(std::vector<int64_t>{other->out, other->in}), " for ", first.label(),
                    " and of ", shape_str(std::vector<int64_t>{place.out, place.in}), " for ",
                    second.label()),
                place.a_name(), "adapters of different bases cannot be combined");
  }
}

void check_pair(const LoraFile& first, const LoraFile& second, bool allow_other_base) {
  check_shapes(first, second);
  if (allow_other_base) return;
  const std::string a = first.base_digest(), b = second.base_digest();
  if (!a.empty() && !b.empty()) {
    if (a == b) return;
    throw Error(ErrorKind::mismatch,
                str(first.label(), " was trained on the base with digest ", a.substr(0, 12),
                    ", and ", second.label(), " on that with digest ", b.substr(0, 12)),
                (second.files().path / "smidgen.json").string(),
                "combine adapters of one base, or --allow-other-base");
  }
  const Json x = value_of(first, "base_model_name_or_path");
  const Json y = value_of(second, "base_model_name_or_path");
  const bool named = x.is_string() && y.is_string() && x != "" && y != "";
  if (named && x == y) return;
  const std::set<std::string> layers = stems(first), others = stems(second);
  if (!layers.empty() && !others.empty() && !meet(layers, others)) {
    throw Error(ErrorKind::mismatch,
                str("the adapters have no layers in common: ", first.label(), " has ",
                    *layers.begin(), ", ", second.label(), " has ", *others.begin()),
                second.label(),
                "they look like adapters of different architectures; --allow-other-base where they "
                "are not");
  }
  if (named) {
    log_note("the adapters name different bases, ", x.dump(), " and ", y.dump(),
             ": make sure that they are the same model");
  }
}

bool same(const TensorView& a, const TensorView& b) {
  return a.format == b.format && a.shape == b.shape &&
         std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0;
}

}  // namespace

void check_settings(const Combination& type, const CombineOptions& options) {
  const auto needless = [&](bool given, bool used, const char* flag, const char* used_by) {
    if (!given || used) return;
    throw Error(ErrorKind::usage, str("the combination '", type.name, "' has no use for it"), flag,
                str("it belongs to ", used_by));
  };
  const bool product = type.over == Combination::Over::product;
  needless(options.density.has_value(), type.sparse(), "density",
           "the types of magnitude_prune, ties and dare");
  needless(options.sign.has_value(), type.elects(), "majority_sign", "the types of ties");
  needless(options.rank.has_value(), product, "rank", "svd and the types that end in _svd");
  needless(options.clamp.has_value(), product, "clamp", "svd and the types that end in _svd");
  needless(options.seed.has_value(), type.random(), "seed", "the types of dare");
  if (type.sparse() && !options.density) {
    throw Error(ErrorKind::usage, str("'", type.name, "' needs a density"), "density",
                "the share of elements that is kept, for example --density 0.5");
  }
  if (options.density && !(*options.density >= 0 && *options.density <= 1))
    throw Error(ErrorKind::usage, str(*options.density, " is no share"), "density", "0 to 1");
  if (options.clamp && !(*options.clamp > 0 && *options.clamp <= 1))
    throw Error(ErrorKind::usage, str(*options.clamp, " is no quantile"), "clamp", "0 to 1");
  if (options.rank && *options.rank < 1)
    throw Error(ErrorKind::usage, str("the rank is ", *options.rank), "rank", "1 or more");
  if (options.sign && *options.sign != "total" && *options.sign != "frequency")
    throw Error(ErrorKind::usage, str("there is no majority '", *options.sign, "'"),
                "majority_sign", "total or frequency");
}

void check_same_base(const std::vector<WeightedAdapter>& adapters, bool allow_other_base) {
  for (size_t i = 1; i < adapters.size(); ++i) {
    for (size_t k = 0; k < i; ++k)
      check_pair(*adapters[k].file, *adapters[i].file, allow_other_base);
  }
}

Json common_sidecar(const std::vector<WeightedAdapter>& adapters) {
  Json common = Json::object();
  for (const char* key : {"base_digest", "base", "chat_template", "stop_tokens"}) {
    Json value;
    bool agree = true;
    for (const WeightedAdapter& adapter : adapters) {
      const Json& sidecar = adapter.file->files().sidecar;
      if (!sidecar.is_object() || !sidecar.contains(key)) continue;
      agree = agree && (value.is_null() || value == sidecar[key]);
      value = sidecar[key];
    }
    if (agree && !value.is_null()) common[key] = value;
  }
  return common;
}

void keep_others(const std::vector<WeightedAdapter>& adapters, LoraFolder& folder) {
  std::map<std::string, std::vector<const WeightedAdapter*>> holders;
  for (const WeightedAdapter& adapter : adapters) {
    for (const std::string& name : adapter.file->others()) holders[name].push_back(&adapter);
  }
  for (const auto& [name, list] : holders) {
    const TensorView view = list.front()->file->files().tensors->view(name);
    double weight = 0;
    for (const WeightedAdapter* adapter : list) {
      weight += adapter->weight;
      if (same(view, adapter->file->files().tensors->view(name))) continue;
      throw Error(ErrorKind::unsupported,
                  str(list.front()->file->label(), " and ", adapter->file->label(),
                      " bring different values of ", name),
                  name,
                  "whole values have no sum without the base: merge each adapter into it, and the "
                  "models with smidgen merge");
    }
    // The base's own weight, which PEFT saves beside an embedding's update, is not weighted.
    if (!name.ends_with(".base_layer.weight") && std::abs(weight - 1) > 1e-9) {
      throw Error(ErrorKind::unsupported,
                  str("the adapter brings its own values of ", name,
                      ", which cannot be weighted by ", weight),
                  name,
                  "whole values can only go along at weight 1; merge the adapter into its base for "
                  "anything else");
    }
    folder.keep(name, view);
  }
}

Json joined_config(const std::vector<WeightedAdapter>& adapters) {
  Json config = adapters.front().file->config();
  std::set<std::string> saved;
  for (const WeightedAdapter& adapter : adapters) {
    const LoraFile& file = *adapter.file;
    if (file.others().empty()) continue;
    const Json modules = value_of(file, "modules_to_save");
    if (modules.is_array()) {
      for (const Json& name : modules) {
        if (name.is_string()) saved.insert(name.get<std::string>());
      }
    }
    for (const char* key : {"trainable_token_indices", "bias"}) {
      const Json value = value_of(file, key);
      if (!value.is_null() && value != "none") config[key] = value;
    }
  }
  config["modules_to_save"] =
      saved.empty() ? Json(nullptr) : Json(std::vector<std::string>(saved.begin(), saved.end()));
  return config;
}

Json joined_targets(const std::vector<WeightedAdapter>& adapters) {
  const LoraFile& first = *adapters.front().file;
  std::set<std::string> names;
  bool equal = true, lists = true;
  for (const WeightedAdapter& adapter : adapters) {
    for (const char* key : {"exclude_modules", "layers_to_transform", "layers_pattern"}) {
      if (value_of(*adapter.file, key) != value_of(first, key)) return nullptr;
    }
    const Json targets = value_of(*adapter.file, "target_modules");
    equal = equal && targets == value_of(first, "target_modules");
    lists = lists && targets.is_array();
    if (!targets.is_array()) continue;
    for (const Json& name : targets) {
      if (name.is_string()) names.insert(name.get<std::string>());
    }
  }
  Json joined = Json::object();
  if (equal) {
    joined["target_modules"] = value_of(first, "target_modules");
  } else if (lists) {
    joined["target_modules"] = std::vector<std::string>(names.begin(), names.end());
  } else {
    return nullptr;
  }
  for (const char* key : {"exclude_modules", "layers_to_transform", "layers_pattern"})
    joined[key] = value_of(first, key);
  return joined["target_modules"].is_null() ? Json(nullptr) : joined;
}

}  // namespace smidgen
