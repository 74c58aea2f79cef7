// The model that a recipe of experts describes, as a source: every tensor is read from the model
// that it comes from, when it is asked for.
//
//   all but the MLPs   the base's
//   expert e, layer l  gate_proj, up_proj and down_proj of its model, x + noise N(0, 1), and
//                      down_proj times its scale after that
//   router of layer l  [experts, width], see moe_gates.h
//
//   llama, mistral -> mixtral    block_sparse_moe.gate, block_sparse_moe.experts.E.{w1, w3, w2}
//   qwen3          -> qwen3_moe  mlp.gate, mlp.experts.E.{gate_proj, up_proj, down_proj}
//
// config.json is the base's with the new family's fields; what a missing one means there is written
// out where it means something else for the new family. Shares of the chosen experts add up to 1,
// so that equal experts compute what the base does.
//
// Source: mergekit 0.1.5 (mergekit/moe). Differs: tensors have the names that checkpoints have had
// from the start and that transformers 4 and 5, vLLM and llama.cpp read, where it writes those that
// transformers 5 has in memory; a base's sliding window stays, where it is dropped for Mixtral;
// what the new family has no words for (biases of Llama's, Qwen3's windows) is refused, where it is
// dropped; noise comes from our own generator, and depends on seed, expert, tensor and element
// alone. Qwen2-MoE and DeepSeek-MoE are refused: no family here reads them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/delta/merge/moe_recipe.h"
#include "smidgen/delta/source.h"

namespace smidgen {

class MoeModel : public Source {
 public:
  // `sources` are those of models_of(recipe). Throws unsupported for a base that no such family can
  // be made of; mismatch, naming the tensor, where an expert does not fit the base.
  MoeModel(const MoeRecipe& recipe, std::vector<std::shared_ptr<const Source>> sources,
           uint64_t seed);

  int64_t layers() const { return layers_; }
  int64_t width() const { return width_; }
  // fp32 [layers, experts, width]; zeros until then.
  void set_gates(const at::Tensor& gates);

  std::string label() const override { return base().label(); }
  const std::vector<SourceTensor>& tensors() const override { return tensors_; }
  void read(const SourceTensor& tensor, int64_t begin, std::span<float> out) const override;
  std::optional<TensorView> stored(const SourceTensor& tensor) const override;
  void release(const SourceTensor& tensor) const override;
  const ModelFiles* files() const override { return base().files(); }
  Json config() const override { return config_; }

 private:
  struct Part {
    const Source* source = nullptr;        // null: rows of the routers
    const SourceTensor* tensor = nullptr;  // there
    int64_t number = 0;                    // of the expert, or of the router's layer
    double noise = 0, scale = 1;
    bool as_it_is() const { return noise == 0 && scale == 1; }
  };
  const Source& base() const { return *sources_.front(); }
  const Part& part(const SourceTensor& tensor) const;
  void add(std::string name, const Part& part);
  void add_layer(const MoeRecipe& recipe, const std::vector<const Source*>& experts, int64_t layer);
  void check_expert(const ExpertSpec& spec, const Source& expert) const;

  std::vector<std::shared_ptr<const Source>> sources_;
  uint64_t seed_;
  int64_t layers_ = 0, width_ = 0;
  Json config_;
  std::string router_, expert_;  // paths behind "model.layers.L."
  std::vector<std::string> leaves_;
  at::Tensor gates_;
  std::vector<SourceTensor> tensors_;
  std::vector<Part> parts_;  // of each tensor
};

}  // namespace smidgen
