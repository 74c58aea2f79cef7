#include "smidgen/delta/adapters/lora_folder.h"

#include <algorithm>
#include <set>

#include <torch/torch.h>

#include "smidgen/base/schema.h"
#include "smidgen/methods/registry.h"

namespace smidgen {

namespace {

std::string leaf(const std::string& module) {
  return module.substr(module.rfind('.') + 1);
}

NamedTensor view_of(const std::string& name, const at::Tensor& t, std::vector<int64_t> shape) {
  const auto* bytes = static_cast<const std::byte*>(t.const_data_ptr());
  return {name,
          {.format = Format::f32,
           .shape = std::move(shape),
           .bytes = {bytes, static_cast<size_t>(t.nbytes())}}};
}

}  // namespace

Json lora_default_config(const std::string& base) {
  const Method& lora = methods().find("lora");
  Json config = lora.to_peft(check_fields(lora.fields(), Json::object()), Plan{});
  config["auto_mapping"] = nullptr;
  config["base_model_name_or_path"] = base;
  config["inference_mode"] = true;
  config["peft_type"] = "LORA";
  config["peft_version"] = "0.21.2";
  config["revision"] = nullptr;
  config["task_type"] = "CAUSAL_LM";
  return config;
}

void LoraFolder::add(LoraPlace place, const LoraValues& values) {
  place.rank = values.a.size(0);
  place.scale = 1;
  place.bias = values.bias.defined();
  places_.push_back(std::move(place));
  values_.push_back({values.a.contiguous(), values.b.contiguous(),
                     values.bias.defined() ? values.bias.contiguous() : at::Tensor()});
}

void LoraFolder::keep(const std::string& name, const TensorView& view) {
  others_.push_back({name, view});
}

int64_t LoraFolder::rank() const {
  int64_t largest = 1;
  for (const LoraPlace& place : places_) largest = std::max(largest, place.rank);
  return largest;
}

std::vector<std::string> LoraFolder::modules() const {
  std::vector<std::string> names;
  for (const LoraPlace& place : places_) names.push_back(place.module);
  return names;
}

void LoraFolder::finish(const std::vector<std::string>& all) {
  const int64_t r = rank();
  Json ranks = Json::object();
  std::set<std::string> own, leaves;
  bool bias = false, embedding = false;
  for (const LoraPlace& place : places_) {
    // Anchored, because a path may end another one.
    if (place.rank != r) ranks["^" + place.module] = place.rank;
    own.insert(place.module);
    leaves.insert(leaf(place.module));
    bias = bias || place.bias;
    embedding = embedding || place.embedding;
  }
  if (bias && embedding) {
    throw Error(ErrorKind::unsupported,
                "PEFT has no adapters with lora_bias that also update an embedding", "lora_bias");
  }
  bool exact = !all.empty();
  for (const std::string& module : all)
    exact = exact && (!leaves.contains(leaf(module)) || own.contains(module));
  config_["r"] = r;
  config_["lora_alpha"] = r;
  config_["use_rslora"] = false;
  config_["lora_bias"] = bias;
  config_["rank_pattern"] = ranks;
  config_["alpha_pattern"] = ranks;
  const std::set<std::string>& targets = exact ? leaves : own;
  config_["target_modules"] = std::vector<std::string>(targets.begin(), targets.end());
  for (const char* key : {"layers_to_transform", "layers_pattern", "exclude_modules"})
    config_[key] = nullptr;
  config_["inference_mode"] = true;
}

void LoraFolder::write(const fs::path& path, const Json& sidecar) const {
  std::vector<NamedTensor> tensors = others_;
  const bool biases = config_.value("lora_bias", false);
  int64_t widest = 0;
  for (const LoraPlace& place : places_) widest = std::max(widest, place.out);
  const at::Tensor zeros = at::zeros({biases ? widest : 0}, at::kFloat);
  for (size_t i = 0; i < places_.size(); ++i) {
    const LoraPlace& place = places_[i];
    const LoraValues& values = values_[i];
    std::vector<int64_t> a{place.rank, place.in}, b{place.out, place.rank};
    for (const int64_t size : place.kernel) {
      a[1] /= size;
      a.push_back(size);
      b.push_back(1);
    }
    tensors.push_back(view_of(place.a_name(), values.a, a));
    tensors.push_back(view_of(place.b_name(), values.b, b));
    // Every B has a bias where one has.
    if (biases) {
      tensors.push_back(view_of(place.bias_name(),
                                place.bias ? values.bias : zeros.narrow(0, 0, place.out),
                                {place.out}));
    }
  }
  write_adapter(path, config_, tensors, sidecar);
}

}  // namespace smidgen
