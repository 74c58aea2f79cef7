// The operations that families are made of. Each exists as `op_ref`, plain ATen and differentiable
// any number of times, and as `op`, which takes the reference under SMIDGEN_KERNELS=ref and
// otherwise a Function over kernels/.
//
// Letters: n rows of a stream, d width, h heads, v vocabulary.
// Types: the residual stream is fp32; what a product makes is in the arithmetic's dtype
// (kernels/arithmetic.h). One rule for all: an op takes fp32 or bf16, computes in fp32, and returns
// the dtype of its first argument; rms_norm alone is told the dtype to return, because it leads
// from the stream into a product. `stream + y` promotes back to fp32. Under Arithmetic::fp32
// everything is fp32. Gradients have the dtype of what they belong to. Shapes that do not fit throw
// mismatch.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include <ATen/core/Tensor.h>

#include "smidgen/kernels/formats/base_weight.h"

namespace smidgen {

enum class KernelsMode { ref, fast };

// SMIDGEN_KERNELS, read once (default fast; another word throws usage), unless a ScopedKernels is
// alive.
KernelsMode kernels_mode();

// Forces the mode on all threads while it lives. For tests; not to be nested across threads.
class ScopedKernels {
 public:
  explicit ScopedKernels(KernelsMode mode);
  ~ScopedKernels();
  ScopedKernels(const ScopedKernels&) = delete;
  ScopedKernels& operator=(const ScopedKernels&) = delete;

 private:
  int before_;
};

// y = weight * x / sqrt(mean(x^2) + eps), per row. x [n, d], weight [d] fp32 -> y [n, d] of dtype
// `out`. Zhang and Sennrich 2019 (arXiv 1910.07467). Llama rounds x/rms to its type before the
// weight; here the product is rounded once.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                    at::ScalarType out = at::kFloat);
at::Tensor rms_norm_ref(const at::Tensor& x, const at::Tensor& weight, double eps,
                        at::ScalarType out = at::kFloat);

// rms_norm(x) and x itself, as one node of the graph: the norm's gradient is added to that of the
// stream in one pass. x fp32 [n, d]. The backward pass reads `kept` where given: x rounded to bf16.
std::pair<at::Tensor, at::Tensor> rms_norm_fork(const at::Tensor& x, const at::Tensor& weight,
                                                double eps, at::ScalarType out,
                                                const at::Tensor& kept = {});

// y = weight * (x - mean(x)) / sqrt(var(x) + eps) + bias, per row; var divides by d. x [n, d],
// weight and bias [d] fp32 -> y [n, d] of dtype `out`. Ba et al. 2016 (arXiv 1607.06450). The fast
// path is torch's.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps, at::ScalarType out = at::kFloat);
at::Tensor layer_norm_ref(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                          double eps, at::ScalarType out = at::kFloat);

// silu(gate) * up, element by element, silu(a) = a / (1 + exp(-a)). gate, up [n, d]; rows may be
// strided (the two halves of one product), columns not. Shazeer 2020 (arXiv 2002.05202).
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);
// The same of x [n, 2 d], gate and up being its halves.
at::Tensor swiglu_halves(const at::Tensor& x);
at::Tensor swiglu_ref(const at::Tensor& gate, const at::Tensor& up);

// Rotation angles by position: fp32 [positions, head_dim / 2] each.
struct RopeTable {
  at::Tensor cos, sin;
};
// cos(p f_j) * scaling and sin(p f_j) * scaling for the given inverse frequencies f [head_dim / 2];
// angles are computed in fp32 as transformers does. `scaling` is the factor of YaRN-like schemes.
RopeTable rope_table(const at::Tensor& inverse_frequencies, int64_t positions,
                     double scaling = 1.0);
// theta^(-2j / head_dim), fp32 [head_dim / 2].
at::Tensor rope_frequencies(int64_t head_dim, double theta);

// Rotary embedding in HF's half-split order: the pair (x_j, x_{j + r/2}) turns by the angle of its
// row's position, r being twice the table's width; dimensions from r on stay as they are. q [n, h,
// head_dim], k [n, h_kv, head_dim], positions int64 [n]. Su et al. 2021 (arXiv 2104.09864).
std::pair<at::Tensor, at::Tensor> rope(const at::Tensor& q, const at::Tensor& k,
                                       const RopeTable& table, const at::Tensor& positions);
std::pair<at::Tensor, at::Tensor> rope_ref(const at::Tensor& q, const at::Tensor& k,
                                           const RopeTable& table, const at::Tensor& positions);

// Rows of a table by id, fp32 [n, d]. Of a frozen base (no gradient) or of a trainable table [v,
// d]. Beside torch.h write smidgen::embedding: at::embedding takes two tensors too.
at::Tensor embedding(const BaseWeight& table, const at::Tensor& ids);
at::Tensor embedding(const at::Tensor& table, const at::Tensor& ids);

// Targets that count for nothing, as in torch.
constexpr int64_t kIgnoreTarget = -100;

// sum_r weights_r * (logsumexp(logits_r) - logits_r[target_r]), a fp32 scalar: the SUM over rows,
// not the mean. logits [n, v], targets int64 [n] (kIgnoreTarget skips a row), weights fp32 [n] or
// undefined for all ones.
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                         const at::Tensor& weights = {});
at::Tensor cross_entropy_ref(const at::Tensor& logits, const at::Tensor& targets,
                             const at::Tensor& weights = {});

// What happens to logits before they are scored: z = scale x, then z = softcap tanh(z / softcap);
// softcap 0 is none (Gemma 2, arXiv 2408.00118; Granite scales).
struct LogitShape {
  double scale = 1, softcap = 0;
  bool plain() const { return scale == 1 && softcap == 0; }
};
at::Tensor shape_logits(const at::Tensor& logits, const LogitShape& shape);

// cross_entropy(shape(hidden W^T), ...) without the logits [n, v] ever existing whole: blocks of
// rows are multiplied, scored and turned into gradients at once, so the backward pass only scales.
// Rows without a target or weight cost nothing. hidden [n, d]; the head is frozen (and must outlive
// the backward pass), or a dense trainable fp32 [v, d] whose product runs in `arithmetic`.
at::Tensor linear_cross_entropy(const at::Tensor& hidden, const BaseWeight& head,
                                const at::Tensor& targets, const at::Tensor& weights = {},
                                const LogitShape& shape = {});
at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& head,
                                const at::Tensor& targets, const at::Tensor& weights = {},
                                Arithmetic arithmetic = Arithmetic::fp32,
                                const LogitShape& shape = {});
// Rows of logits that exist at a time.
int64_t loss_block_rows(int64_t vocabulary);
at::Tensor linear_cross_entropy_ref(const at::Tensor& hidden, const BaseWeight& head,
                                    const at::Tensor& targets, const at::Tensor& weights = {},
                                    const LogitShape& shape = {});
at::Tensor linear_cross_entropy_ref(const at::Tensor& hidden, const at::Tensor& head,
                                    const at::Tensor& targets, const at::Tensor& weights = {},
                                    Arithmetic arithmetic = Arithmetic::fp32,
                                    const LogitShape& shape = {});

}  // namespace smidgen
