// Attention over streams: sequences lie one after the other in the rows, and each sees only its own
// keys.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace smidgen {

// Which keys a query sees. A sequence's queries are the LAST rows of its keys: with m queries and l
// keys, query i stands at position p = l - m + i (cached decoding has m < l). `full` alone allows m
// > l.
enum class MaskKind {
  causal,  // keys 0 .. p
  full,    // all keys of the sequence
  window,  // keys max(0, p - window + 1) .. p
  prefix,  // keys 0 .. max(p, prefix - 1): the first `prefix` keys see each other
};

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
// shapes or offsets do not fit. The fast path is torch's flash kernel per sequence; with a soft cap
// it is the reference.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::span<const int64_t> query_starts, std::span<const int64_t> key_starts,
                     const AttentionOptions& options = {});
at::Tensor attention_ref(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         std::span<const int64_t> query_starts, std::span<const int64_t> key_starts,
                         const AttentionOptions& options = {});

}  // namespace smidgen
