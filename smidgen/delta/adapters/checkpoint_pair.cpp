#include "smidgen/delta/adapters/checkpoint_pair.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <torch/torch.h>

#include "smidgen/base/error.h"
#include "smidgen/methods/placement.h"

namespace smidgen {

namespace {

std::string module_of(const std::string& tensor) {
  const size_t dot = tensor.rfind('.');
  return dot == std::string::npos ? std::string() : tensor.substr(0, dot);
}
std::string leaf(const std::string& path) {
  return path.substr(path.rfind('.') + 1);
}

bool is_one_of(const std::string& word, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(), [&](const char* w) { return word == w; });
}

// By name, where no family says it. The leaves are those of transformers' models.
bool looks_like_head(const std::string& path) {
  return is_one_of(leaf(path), {"lm_head", "embed_out", "output_projection"});
}
bool looks_like_embedding(const std::string& path) {
  const std::string name = leaf(path);
  return name.find("embed") != std::string::npos || is_one_of(name, {"wte", "wpe", "shared"});
}

std::vector<std::string> names_of(const Source& source) {
  std::vector<std::string> names;
  for (const SourceTensor& tensor : source.tensors()) names.push_back(tensor.name);
  return names;
}

bool floating(const SourceTensor& tensor) {
  return info(tensor.stored).floating;
}

}  // namespace

const TensorPair* ModulePair::find(const std::string& parameter) const {
  for (const TensorPair& pair : parameters) {
    if (pair.parameter == parameter) return &pair;
  }
  return nullptr;
}

CheckpointPair::CheckpointPair(const Source& base, const Source& model,
                               const std::vector<Site>& sites)
    : base_(base), model_(model), sites_(sites) {
  const Site* table = input_embedding(sites);
  const Site* head = output_head(sites);
  for (const Source* source : {&model, &base}) {
    for (const SourceTensor& tensor : source->tensors()) {
      const std::string path = path_of(module_of(tensor.name));
      if (!tensor.name.ends_with(".weight")) continue;
      if (embedding_.empty() && (table ? path == table->name
                                       : is_one_of(leaf(path), {"embed_tokens", "wte", "embed_in",
                                                                "word_embeddings", "shared"})))
        embedding_ = tensor.name;
      if (head_.empty() && (head ? path == head->name : looks_like_head(path))) head_ = tensor.name;
    }
  }
  const SourceTensor* model_table = model.find(embedding_);
  const SourceTensor* base_table = base.find(embedding_);
  for (const SourceTensor& tensor : model.tensors()) {
    if (!floating(tensor)) continue;
    const SourceTensor* other = base.find(tensor.name);
    if (!other && tensor.name == head_) other = base_table;
    if (!other) {
      throw Error(
          ErrorKind::mismatch,
          str(model.label(), " has a tensor ", tensor.name, ", and ", base.label(), " has none"),
          tensor.name,
          did_you_mean(tensor.name, names_of(base), "are these two of one architecture?"));
    }
    add(tensor, *other, tensor.name);
  }
  for (const SourceTensor& tensor : base.tensors()) {
    if (!floating(tensor) || model.find(tensor.name)) continue;
    if (tensor.name == head_ && model_table) {
      add(*model_table, tensor, tensor.name);
      continue;
    }
    throw Error(
        ErrorKind::mismatch,
        str(base.label(), " has a tensor ", tensor.name, ", and ", model.label(), " has none"),
        tensor.name,
        did_you_mean(tensor.name, names_of(model), "are these two of one architecture?"));
  }
  if (!head_.empty() || embedding_.empty()) return;
  if (head && !head->tied_to.empty()) {
    tied_head_ = head->name;
  } else if (const Json config = model.config(); sites.empty() && config.is_object() &&
                                                 config.contains("tie_word_embeddings") &&
                                                 config["tie_word_embeddings"] == true) {
    tied_head_ = "lm_head";
  }
}

// Base models' files leave out what stands before their own part: GPT-2's are called h.0..., and
// its modules transformer.h.0...
std::string CheckpointPair::path_of(const std::string& module) const {
  const Site* longer = nullptr;
  for (const Site& site : sites_) {
    if (site.name == module) return module;
    if (site.name.ends_with("." + module) &&
        site.name.find('.') == site.name.size() - module.size() - 1)
      longer = &site;
  }
  return longer ? longer->name : module;
}

ModulePair::Kind CheckpointPair::kind_of(const std::string& path, const TensorPair& weight) const {
  using Kind = ModulePair::Kind;
  for (const Site& site : sites_) {
    if (site.name != path) continue;
    if (site.output_head) return Kind::head;
    return site.kind == SiteKind::linear      ? Kind::linear
           : site.kind == SiteKind::embedding ? Kind::embedding
                                              : Kind::other;
  }
  if (weight.model->shape.size() != 2) return Kind::other;
  if (looks_like_head(path)) return Kind::head;
  return looks_like_embedding(path) ? Kind::embedding : Kind::linear;
}

void CheckpointPair::add(const SourceTensor& model, const SourceTensor& base,
                         const std::string& name) {
  const std::string path = path_of(module_of(name));
  if (modules_.empty() || modules_.back().path != path) {
    const auto known = std::find_if(modules_.begin(), modules_.end(),
                                    [&](const ModulePair& m) { return m.path == path; });
    if (known == modules_.end()) {
      modules_.push_back({.path = path});
    } else {
      std::rotate(known, known + 1, modules_.end());
    }
  }
  ModulePair& module = modules_.back();
  TensorPair pair{.parameter = leaf(name), .model = &model, .base = &base};
  if (pair.parameter == "weight") {
    module.kind = kind_of(path, pair);
    for (const Site& site : sites_)
      module.turned = module.turned || (site.name == path && site.transposed);
  }
  const bool tokens =
      (module.kind == ModulePair::Kind::embedding || module.kind == ModulePair::Kind::head) &&
      model.shape.size() == 2 && base.shape.size() == 2 && model.shape[1] == base.shape[1];
  if (pair.resized() && !tokens) {
    throw Error(ErrorKind::mismatch,
                str("tensor ", name, " has shape ", shape_str(model.shape), " in ", model_.label(),
                    " and ", shape_str(base.shape), " in ", base_.label()),
                name, "they must be two states of one architecture");
  }
  module.parameters.push_back(std::move(pair));
}

std::vector<std::string> CheckpointPair::paths() const {
  std::vector<std::string> paths;
  for (const ModulePair& module : modules_) paths.push_back(module.path);
  return paths;
}

bool CheckpointPair::same_bytes(const TensorPair& pair) const {
  const auto a = model_.stored(*pair.model), b = base_.stored(*pair.base);
  return a && b && a->format == b->format && a->shape == b->shape &&
         a->bytes.size() == b->bytes.size() &&
         std::memcmp(a->bytes.data(), b->bytes.data(), a->bytes.size()) == 0;
}

void CheckpointPair::read(const Source& source, const SourceTensor& tensor, int64_t begin,
                          std::span<float> out) const {
  source.read(tensor, begin, out);
  for (const float value : out) {
    if (!std::isfinite(value)) {
      throw Error(ErrorKind::data,
                  str("tensor ", tensor.name, " of ", source.label(), " holds NaN or infinity"),
                  tensor.name, "a difference from it means nothing");
    }
  }
}

at::Tensor CheckpointPair::difference(const TensorPair& pair) const {
  SMIDGEN_ASSERT(!pair.resized());
  at::Tensor d = at::empty(pair.model->shape, at::kFloat);
  const int64_t n = pair.model->elements(), columns = std::max<int64_t>(pair.model->columns(), 1);
  const int64_t piece = std::max<int64_t>((int64_t{1} << 20) / columns, 1) * columns;
  std::vector<float> other(static_cast<size_t>(std::min(n, piece)));
  float* to = d.mutable_data_ptr<float>();
  for (int64_t at = 0; at < n; at += piece) {
    const int64_t count = std::min(piece, n - at);
    const std::span<float> own(to + at, static_cast<size_t>(count));
    const std::span<float> base(other.data(), static_cast<size_t>(count));
    read(model_, *pair.model, at, own);
    read(base_, *pair.base, at, base);
    for (size_t i = 0; i < own.size(); ++i) own[i] -= base[i];
  }
  return d;
}

}  // namespace smidgen
