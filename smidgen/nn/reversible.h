// Reversible pairs of streams: what went into a layer is computed from what came out of it, so that
// the backward pass needs no activations (Gomez et al. 2017, arXiv 1707.04585; coupling with
// factors as in Liao, Tan, Monz 2023, arXiv 2306.00477, BaohaoLiao/mefts
// models/modeling_revbert.py).
//
//   forward   y1 = lambda x1 + F(x2)      y2 = beta x2 + G(y1)
//   inverse   x2 = (y2 - G(y1)) / beta    x1 = (y1 - F(x2)) / lambda
//
// With `switched` the next layer reads (y2, y1), else (y1, y2). All streams are [n, width]; F and G
// read fp32. A null F or G is zero.
//
// Rounding errors of the inverse grow by growth() a layer, so that in fp32 it is useless after few:
// about 1 / lambda, or 1 / (lambda beta) where nothing is switched. Against that:
//   anchors  the streams are kept after every anchor_every-th layer, and the inverse starts there
//   fp64     streams in fp64, read at 1 + 2^-36 of their value: a sum of two floats often lies
//            halfway between two floats, and there the last bit of the inverse would decide
//   exact    streams are int64 in units of 2^-36, lambda and beta are 1 / k: x / k is floored, and
//            its remainder is pushed as a digit of base k onto a 64-bit word of the element, which
//            holds floor(63 / log2 k) layers (Maclaurin et al. 2015, arXiv 1502.03492). The inverse
//            has the bits of the forward pass, provided that F and G give the same bits again
//   cached   no inverse: autograd keeps what F and G keep
// Differs from the reference: it has none of these but `cached` and anchors of one per run.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "smidgen/nn/pass_memory.h"
#include "smidgen/nn/recompute.h"

namespace smidgen {

enum class Reverse { exact, fp64, anchors, cached };

struct Coupling {
  double lambda = 0.1, beta = 1;
  bool switched = true;
};

struct ReversibleLayer {
  Stretch f, g;
  Tensors leaves;  // the trainable tensors that either reads, each once
};

struct ReversePlan {
  Reverse mode = Reverse::exact;
  int64_t anchor_every = 1;  // layers; of anchors
};

// The factor by which an error of the inverse grows from a layer to the one below, F or G having a
// Jacobian near 1 as a transformer block has and the adapter in the other place one near 0.
double growth(const Coupling& coupling);
// The most layers that an inverse in fp32 may go for a relative error below `tolerance`: the
// largest c >= 1 with growth^c 2^-24 <= tolerance.
int64_t anchor_distance(const Coupling& coupling, double tolerance);
// k of a factor 1 / k; nothing where it is none (to 1e-9), or k is above 2^20.
std::optional<int64_t> whole_divisor(double factor);
// Throws usage where `exact` cannot take a factor.
void check_exact(const Coupling& coupling, const std::string& hint);

// Both streams after the last layer, fp32, differentiable in x1, x2 and every leaf. Without
// anything to differentiate nothing is kept. Throws diverged where `exact` meets a value that does
// not fit into its units (2^26 and more, or not a number).
std::pair<at::Tensor, at::Tensor> reversible(const at::Tensor& x1, const at::Tensor& x2,
                                             const std::vector<ReversibleLayer>& layers,
                                             const Coupling& coupling, const ReversePlan& plan);

// How well the inverse of a plan gives back what went into each layer, whatever leaves are trained.
struct Reconstruction {
  // Of each layer, ||x' - x|| / ||x||, the larger of the two streams; 0 throughout where `cached`.
  std::vector<double> errors;
  std::vector<int64_t> distance;  // layers between it and where its inverse began, itself included
  double worst() const;
};
Reconstruction reconstruct(const at::Tensor& x1, const at::Tensor& x2,
                           const std::vector<ReversibleLayer>& layers, const Coupling& coupling,
                           const ReversePlan& plan);

// Bytes of a reversible pass over layers that would hold `f` and `g` one by one.
PassMemory reversible_memory(const std::vector<PassMemory>& f, const std::vector<PassMemory>& g,
                             const Coupling& coupling, const ReversePlan& plan, int64_t elements);

}  // namespace smidgen
