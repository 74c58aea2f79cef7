#include "smidgen/delta/merge/moe_model.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <set>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/base/rng.h"
#include "smidgen/nn/families/registry.h"

namespace smidgen {

namespace {

constexpr const char* kDense[] = {"gate_proj", "up_proj", "down_proj"};

// A family of mixtures, and the dense ones that it can be made of.
struct Target {
  const char* name;  // as mergekit's key `architecture` has it
  const char* family;
  const char* model_class;
  std::vector<const char*> from;
  const char *router, *expert;
  std::vector<std::string> leaves;  // gate, up and down
};

const std::vector<Target>& targets() {
  static const std::vector<Target> all = {{"Mixtral",
                                           "mixtral",
                                           "MixtralForCausalLM",
                                           {"llama", "mistral"},
                                           "block_sparse_moe.gate",
                                           "block_sparse_moe.experts",
                                           {"w1", "w3", "w2"}},
                                          {"Qwen3 MoE",
                                           "qwen3_moe",
                                           "Qwen3MoeForCausalLM",
                                           {"qwen3"},
                                           "mlp.gate",
                                           "mlp.experts",
                                           {"gate_proj", "up_proj", "down_proj"}}};
  return all;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

std::string model_type(const Source& source) {
  const Json config = source.config();
  return config.is_object() ? config.value("model_type", "") : std::string();
}

const Target& target_of(const MoeRecipe& recipe, const std::string& type) {
  for (const Target& target : targets()) {
    const bool asked = lower(target.name).starts_with(lower(recipe.architecture));
    const auto is = [&](const char* from) { return type == from; };
    if (asked && std::any_of(target.from.begin(), target.from.end(), is)) return target;
  }
  throw Error(
      ErrorKind::unsupported,
      recipe.architecture.empty()
          ? str("no mixture of experts can be made of models of type '", type, "'")
          : str("no '", recipe.architecture, "' can be made of models of type '", type, "'"),
      recipe.base.place,
      "llama and mistral become Mixtral, qwen3 becomes Qwen3 MoE; Qwen MoE and DeepSeek MoE "
      "are read by no family here");
}

bool knows(const Family& family, const std::string& key) {
  const KeyTable& keys = family.keys();
  return std::any_of(keys.begin(), keys.end(), [&](const ConfigKey& k) { return k.config == key; });
}

bool says(const Json& config, const char* key) {
  const auto found = config.find(key);
  return found != config.end() && !found->is_null() && *found != false;
}

Json config_of(const Source& base, const Target& target, int64_t experts, int64_t used) {
  Json config = base.config();
  const Family& from = family_of(config, base.label());
  const Family& to = families().find(target.family);
  for (const char* key : {"attention_bias", "mlp_bias", "use_sliding_window"}) {
    if (!says(config, key) || (knows(to, key) && key != std::string("use_sliding_window")))
      continue;
    throw Error(ErrorKind::unsupported,
                str("the base has ", key, ", which ", target.name, " models cannot have"),
                base.label(), "its tensors or its function would be lost");
  }
  const bool grouped = config.contains("rope_parameters") && config["rope_parameters"].is_object();
  for (const ConfigKey& key : from.keys()) {
    if (!knows(to, key.config)) {
      config.erase(key.config);
      continue;
    }
    const auto found = config.find(key.config);
    // Null has a meaning of its own where `implied` stands.
    const bool missing = found == config.end() || (found->is_null() && !key.implied);
    if (missing && key.missing && !(grouped && key.config == "rope_theta"))
      config[key.config] = *key.missing;
  }
  if (!config.contains("num_key_value_heads") || config["num_key_value_heads"].is_null())
    config["num_key_value_heads"] = config.at("num_attention_heads");
  config["model_type"] = target.family;
  config["architectures"] = Json::array({target.model_class});
  config["num_experts_per_tok"] = used;
  if (target.family == std::string("mixtral")) {
    config["num_local_experts"] = experts;
    if (!config.contains("sliding_window")) config["sliding_window"] = nullptr;
  } else {
    config["num_experts"] = experts;
    config["decoder_sparse_step"] = 1;
    config["mlp_only_layers"] = Json::array();
    config["norm_topk_prob"] = true;
    config["moe_intermediate_size"] = config.at("intermediate_size");
  }
  return config;
}

std::string dense_name(int64_t layer, const char* leaf) {
  return str("model.layers.", layer, ".mlp.", leaf, ".weight");
}

// The number of the layer whose MLP a tensor belongs to, else -1.
int64_t mlp_layer(const std::string& tensor) {
  constexpr std::string_view kLayers = "model.layers.";
  if (!tensor.starts_with(kLayers)) return -1;
  const size_t end = tensor.find('.', kLayers.size());
  if (end == tensor.npos || tensor.compare(end, 5, ".mlp.") != 0) return -1;
  const std::string number = tensor.substr(kLayers.size(), end - kLayers.size());
  if (number.empty() || number.size() > 9 || number.find_first_not_of("0123456789") != number.npos)
    return -1;
  return std::stoll(number);
}

const SourceTensor& need(const Source& source, const std::string& name) {
  if (const SourceTensor* tensor = source.find(name)) return *tensor;
  throw Error(ErrorKind::mismatch, str(source.label(), " has no tensor ", name), name,
              "experts are gated MLPs of three matrices");
}

}  // namespace

MoeModel::MoeModel(const MoeRecipe& recipe, std::vector<std::shared_ptr<const Source>> sources,
                   uint64_t seed)
    : sources_(std::move(sources)), seed_(seed) {
  const std::string type = model_type(base());
  const Target& target = target_of(recipe, type);
  const auto count = static_cast<int64_t>(recipe.experts.size());
  config_ = config_of(base(), target, count, recipe.used);
  router_ = target.router;
  expert_ = target.expert;
  leaves_ = target.leaves;
  layers_ = config_.at("num_hidden_layers").get<int64_t>();
  const SourceTensor& gate = need(base(), dense_name(0, kDense[0]));
  if (gate.shape.size() != 2)
    throw Error(ErrorKind::mismatch, str("tensor ", gate.name, " is no matrix"), base().label());
  width_ = gate.shape[1];
  gates_ = at::zeros({layers_, count, width_}, at::kFloat);

  const std::vector<ModelRef> models = models_of(recipe);
  std::vector<const Source*> experts;
  for (const ExpertSpec& spec : recipe.experts) {
    const auto at = std::find(models.begin(), models.end(), spec.model) - models.begin();
    experts.push_back(sources_.at(static_cast<size_t>(at)).get());
    check_expert(spec, *experts.back());
  }
  std::set<int64_t> done;
  for (const SourceTensor& tensor : base().tensors()) {
    const int64_t layer = mlp_layer(tensor.name);
    if (layer < 0) {
      add(tensor.name, {.source = &base(), .tensor = &tensor});
    } else if (done.insert(layer).second) {
      add_layer(recipe, experts, layer);
    }
  }
}

void MoeModel::check_expert(const ExpertSpec& spec, const Source& expert) const {
  const auto refuse = [&](const std::string& message, const std::string& where) {
    throw Error(ErrorKind::mismatch, message, where,
                "experts and base must be of one architecture");
  };
  const Json own = base().config(), other = expert.config();
  for (const char* key : {"model_type", "hidden_act"}) {
    const auto value = [&](const Json& config) {
      const auto found = config.find(key);
      return found == config.end() || found->is_null() ? Json("silu") : *found;
    };
    if (!other.is_object() || value(own) != value(other))
      refuse(str(key, " is ", other.is_object() ? value(other).dump() : "missing", " in ",
                 expert.label(), " and ", value(own).dump(), " in ", base().label()),
             spec.place);
  }
  std::set<std::string> wanted;
  for (int64_t layer = 0; layer < layers_; ++layer) {
    for (const char* leaf : kDense) {
      const SourceTensor& mine = need(base(), dense_name(layer, leaf));
      const SourceTensor& tensor = need(expert, mine.name);
      wanted.insert(mine.name);
      if (tensor.shape != mine.shape)
        refuse(str("tensor ", mine.name, " has shape ", shape_str(tensor.shape), " in ",
                   expert.label(), " and ", shape_str(mine.shape), " in ", base().label()),
               mine.name);
    }
  }
  for (const SourceTensor& tensor : expert.tensors()) {
    if (mlp_layer(tensor.name) >= 0 && !wanted.contains(tensor.name))
      refuse(str(expert.label(), " has a tensor ", tensor.name, " that an expert cannot have"),
             tensor.name);
  }
}

void MoeModel::add(std::string name, const Part& part) {
  SourceTensor tensor{.name = std::move(name)};
  if (part.source) {
    tensor.shape = part.tensor->shape;
    tensor.stored = part.tensor->stored;
  } else {
    tensor.shape = {gates_.size(1), gates_.size(2)};
  }
  tensors_.push_back(std::move(tensor));
  parts_.push_back(part);
}

void MoeModel::add_layer(const MoeRecipe& recipe, const std::vector<const Source*>& experts,
                         int64_t layer) {
  if (layer >= layers_)
    throw Error(ErrorKind::mismatch,
                str(base().label(), " has tensors of layer ", layer, " and ", layers_, " layers"),
                base().label());
  const std::string before = str("model.layers.", layer, ".");
  add(before + router_ + ".weight", {.number = layer});
  for (size_t e = 0; e < experts.size(); ++e) {
    const ExpertSpec& spec = recipe.experts[e];
    for (size_t i = 0; i < leaves_.size(); ++i) {
      const bool down = i + 1 == leaves_.size();
      add(str(before, expert_, ".", e, ".", leaves_[i], ".weight"),
          {.source = experts[e],
           .tensor = experts[e]->find(dense_name(layer, kDense[i])),
           .number = static_cast<int64_t>(e),
           .noise = spec.noise,
           .scale = down ? spec.scale : 1});
    }
  }
}

void MoeModel::set_gates(const at::Tensor& gates) {
  SMIDGEN_ASSERT(gates.sizes() == gates_.sizes() && gates.scalar_type() == at::kFloat);
  gates_ = gates.contiguous();
}

const MoeModel::Part& MoeModel::part(const SourceTensor& tensor) const {
  return parts_[static_cast<size_t>(&tensor - tensors_.data())];
}

void MoeModel::read(const SourceTensor& tensor, int64_t begin, std::span<float> out) const {
  const Part& from = part(tensor);
  if (!from.source) {
    const float* rows = gates_.const_data_ptr<float>() + from.number * tensor.elements() + begin;
    std::copy(rows, rows + out.size(), out.begin());
    return;
  }
  from.source->read(*from.tensor, begin, out);
  if (from.noise != 0) {
    const Rng rng(seed_, "expert noise", static_cast<uint64_t>(from.number), from.tensor->name);
    const auto first = static_cast<uint64_t>(begin);
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<float>(out[i] + from.noise * rng.normal(first + i));
  }
  if (from.scale != 1) {
    for (float& value : out) value = static_cast<float>(value * from.scale);
  }
}

std::optional<TensorView> MoeModel::stored(const SourceTensor& tensor) const {
  const Part& from = part(tensor);
  if (from.source) return from.as_it_is() ? from.source->stored(*from.tensor) : std::nullopt;
  const auto n = static_cast<size_t>(tensor.elements());
  const float* rows = gates_.const_data_ptr<float>() + from.number * tensor.elements();
  return TensorView{
      .format = Format::f32, .shape = tensor.shape, .bytes = std::as_bytes(std::span(rows, n))};
}

void MoeModel::release(const SourceTensor& tensor) const {
  const Part& from = part(tensor);
  if (from.source) from.source->release(*from.tensor);
}

}  // namespace smidgen
