// What the names of tensors tell about a model: which of them belong to numbered layers, which lie
// before and behind these, and which are the vocabulary's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace smidgen {

// "model.layers.7.mlp.up_proj.weight": model.layers, 7, mlp.up_proj.weight. The first number that
// stands between two dots counts: later ones are experts and the like.
struct LayerName {
  std::string prefix;
  int64_t layer = 0;
  std::string rest;

  std::string in_layer(int64_t number) const;
};
std::optional<LayerName> layer_name(std::string_view tensor);

struct LayerStack {
  std::string prefix;
  int64_t layers = 0, tensors = 0;
};

// The stack with most tensors first. A numbered prefix is a stack if it has most tensors of all, or
// five for each layer and no gap: convolutions and the parts of a projector are numbered too.
std::vector<LayerStack> layer_stacks(std::span<const std::string> tensors);

// Of a tensor outside of the layers: embeddings and what belongs to them. False for final norms,
// heads and whatever else.
bool is_before_layers(std::string_view tensor);

// Whether the first dimension counts tokens.
bool is_vocabulary(std::string_view tensor);

// Names that hold the same weight where `tensor` is not stored because it is tied, likeliest first:
// for a head the embedding of tokens. Empty for tensors that are never tied.
std::vector<std::string> tied_names(std::string_view tensor);

// Buffers that code makes anew when it opens a model (rotary frequencies, causal masks): old
// checkpoints store them, new ones do not.
bool is_recomputed(std::string_view tensor);

}  // namespace smidgen
