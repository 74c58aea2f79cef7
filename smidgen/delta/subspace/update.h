// What one fine-tune changes, tensor by tensor: the difference of two models, or an adapter as the
// low-rank factors that it is.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "smidgen/delta/source.h"
#include "smidgen/methods/adapter.h"
#include "smidgen/nn/delta.h"

namespace smidgen {

struct UpdateTensor {
  std::string name;            // "model.layers.0.self_attn.q_proj.weight"
  std::vector<int64_t> shape;  // as it lies in the files
  int64_t rows() const { return shape.empty() ? 1 : shape.front(); }
  int64_t columns() const;  // of the matrix that it is flattened to
};

// Reading is safe from several threads.
class Update {
 public:
  virtual ~Update();
  virtual std::string label() const = 0;
  virtual const std::vector<UpdateTensor>& tensors() const = 0;
  // As a matrix [rows, columns]; nothing where the update does not have the tensor.
  virtual std::optional<Delta> read(const std::string& name) const = 0;
  // True where reading costs no more than the factors.
  virtual bool low_rank() const = 0;
  // Tensors of one side only, and those that are no numbers: they have no difference.
  virtual const std::vector<std::string>& left_out() const = 0;

  const UpdateTensor* find(const std::string& name) const;
};

// model - base, in fp32. Throws mismatch where the configurations name different families, where
// one of the two has a block that the other has not, where a shape differs (naming the tensor), and
// where no tensor is in both.
std::shared_ptr<const Update> model_update(std::shared_ptr<const Source> model,
                                           std::shared_ptr<const Source> base);

// Of a weighted sum of adapters on a model: its deltas by site and those of biases. Factors of a
// site whose file holds [in, out] (GPT-2) are turned, so that tensors lie as in the files; a tied
// head that moves with its embedding is left to it. Throws unsupported where a method has no
// difference (see Combined). The model is not needed later.
std::shared_ptr<const Update> adapter_update(std::string label, const Model& model,
                                             const std::vector<const Adapter*>& adapters,
                                             const std::vector<double>& weights);

// The block that a tensor belongs to: its name up to the first number ("model.layers.3"), or empty.
std::string block_of(const std::string& name);

}  // namespace smidgen
