// What a method puts at one site for one slot: up to six hooks, each a pure function of its inputs
// and of the attachment's parameters.
//
//   x' = pre(x)          y0 = x' W^T, or x' weight()^T where the attachment replaces the weight
//   y  = y0 + add(x', y0)          y' = post(y)          out = y' + bias, or bias() in its place
//
// On an embedding, whose input is token ids and not x:  y0 = W[ids], or weight()[ids];
// out = embed(ids, y0). On a whole module y0 is what it computes, and there are add and post. What
// runs the stack of blocks its own way is a StackAttachment (nn/stack.h).
//
// Rows are tokens: x [n, in], y [n, out], fp32 whatever the base computes in. A method writes the
// forward of the hooks it needs; the default backward runs that forward again under autograd on
// detached inputs. A hand-written backward replaces it where that is faster, and the law matrix
// compares the two.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/nn/delta.h"
#include "smidgen/nn/site.h"

namespace smidgen {

using Tensors = std::vector<at::Tensor>;

struct Hooks {
  bool pre = false;
  bool add = false;
  bool post = false;
  bool weight = false;        // replaces the base weight
  bool bias = false;          // replaces the base's bias
  bool embed = false;         // edits the rows of an embedding
  bool stack = false;         // runs the blocks its own way
  bool add_needs_y0 = false;  // add() reads y0
  bool scales_bias = false;   // post() also covers the bias (IA3 does, DoRA does not)
};

class Attachment {
 public:
  Attachment(Hooks hooks, Tensors parameters);
  virtual ~Attachment();

  const Hooks& hooks() const { return hooks_; }
  // Leaves of the graph in the order in which the hooks see them.
  const Tensors& parameters() const { return parameters_; }
  bool trainable() const;

  virtual at::Tensor pre(const at::Tensor& x, const Tensors& p) const;
  virtual at::Tensor add(const at::Tensor& x, const at::Tensor& y0, const Tensors& p) const;
  virtual at::Tensor post(const at::Tensor& y, const Tensors& p) const;
  virtual at::Tensor weight(const Tensors& p) const;
  virtual at::Tensor bias(const Tensors& p) const;  // fp32 [out]
  // ids int64 [n], y fp32 [n, width]. Differentiated by autograd itself, so it has no backward.
  virtual at::Tensor embed(const at::Tensor& ids, const at::Tensor& y, const Tensors& p) const;

  // Where add(x, y0, p) is x times a low-rank matrix and nothing else (no bias, no dropout at
  // work): its factors. The host then computes it within the base product, and its gradients,
  // without calling add() or add_backward().
  virtual std::optional<LowRankDelta> low_rank(const Tensors& p) const;
  // The gradient of each parameter from those of the factors, da [rank, in] and db [out, rank].
  virtual Tensors low_rank_backward(const Tensors& p, const at::Tensor& da,
                                    const at::Tensor& db) const;

  // Gradient of one hook: of its tensor inputs (x, and y0 for add), then of every parameter.
  // Undefined tensors mean zero. `dy` is the gradient of the hook's result.
  struct Grads {
    at::Tensor dx, dy0;
    Tensors parameters;
  };
  virtual Grads pre_backward(const at::Tensor& x, const Tensors& p, const at::Tensor& dy) const;
  virtual Grads add_backward(const at::Tensor& x, const at::Tensor& y0, const Tensors& p,
                             const at::Tensor& dy) const;
  virtual Grads post_backward(const at::Tensor& y, const Tensors& p, const at::Tensor& dy) const;
  virtual Tensors weight_backward(const Tensors& p, const at::Tensor& dweight) const;
  virtual Tensors bias_backward(const Tensors& p, const at::Tensor& dbias) const;

 private:
  Hooks hooks_;
  Tensors parameters_;
};

using AttachmentPtr = std::shared_ptr<const Attachment>;

}  // namespace smidgen
