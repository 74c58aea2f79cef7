// Two checkpoints of one architecture, module by module: what fits to what, and what a module is.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/delta/source.h"
#include "smidgen/nn/site.h"

namespace smidgen {

struct TensorPair {
  std::string parameter;  // "weight"
  const SourceTensor* model = nullptr;
  const SourceTensor* base = nullptr;  // of a head that the base ties: its embedding

  bool resized() const { return model->shape != base->shape; }
};

struct ModulePair {
  enum class Kind { linear, embedding, head, other };
  std::string path;  // as an adapter names it
  Kind kind = Kind::other;
  bool turned = false;  // the weight lies as [in, out]
  std::vector<TensorPair> parameters;

  const TensorPair* find(const std::string& parameter) const;
};

class CheckpointPair {
 public:
  // Throws mismatch, naming the tensor, where one model has a tensor that the other lacks, or
  // shapes differ in more than the number of tokens.
  CheckpointPair(const Source& base, const Source& model, const std::vector<Site>& sites);

  // In the model's order.
  const std::vector<ModulePair>& modules() const { return modules_; }
  std::vector<std::string> paths() const;
  // The path of the head where both models tie it to their embedding; empty where it is its own.
  const std::string& tied_head() const { return tied_head_; }
  const std::string& embedding() const { return embedding_; }  // tensor of the input embedding

  // Whether the two hold the same bytes in the same format.
  bool same_bytes(const TensorPair& pair) const;
  // model - base, fp32. Throws data, naming the tensor and its model, for NaN and infinity.
  at::Tensor difference(const TensorPair& pair) const;
  const Source& model() const { return model_; }

 private:
  std::string path_of(const std::string& module) const;
  ModulePair::Kind kind_of(const std::string& path, const TensorPair& weight) const;
  void add(const SourceTensor& model, const SourceTensor& base, const std::string& name);
  void read(const Source& source, const SourceTensor& tensor, int64_t begin,
            std::span<float> out) const;

  const Source &base_, &model_;
  const std::vector<Site>& sites_;
  std::string embedding_, head_;  // tensors of weights; empty when there is none
  std::string tied_head_;
  std::vector<ModulePair> modules_;
};

}  // namespace smidgen
