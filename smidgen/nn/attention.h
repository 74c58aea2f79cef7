// Attention over streams: sequences lie one after the other in the rows, and each sees only its own
// keys.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "smidgen/kernels/attention_mask.h"

namespace smidgen {

struct AttentionOptions {
  MaskKind mask = MaskKind::causal;
  int64_t window = 0;           // keys, for MaskKind::window
  std::vector<int64_t> prefix;  // keys, one entry per sequence, for MaskKind::prefix
  double scale = 0;             // of the scores; 0 means 1 / sqrt(head_dim)
  double softcap = 0;           // scores become softcap * tanh(scores / softcap); 0 means none
};

// softmax(scale q k^T + mask) v for each sequence and head. q [n, h, head_dim], k [m, h_kv,
// head_dim], v [m, h_kv, head_dim] -> [n, h, head_dim] in q's dtype; h is a multiple of h_kv and
// head j reads keys of j / (h / h_kv). query_starts and key_starts hold one offset per sequence and
// the row count at the end; a sequence may be empty. Softmax is in fp32. Throws mismatch when
// shapes or offsets do not fit. The fast path is kernels/flash_attention.h in fp32 and bf16; other
// dtypes take the reference, which holds all scores of a sequence.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::span<const int64_t> query_starts, std::span<const int64_t> key_starts,
                     const AttentionOptions& options = {});
at::Tensor attention_ref(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         std::span<const int64_t> query_starts, std::span<const int64_t> key_starts,
                         const AttentionOptions& options = {});

}  // namespace smidgen
