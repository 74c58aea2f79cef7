// Attention over packed sequences, forward and backward, without a matrix of scores. Letters: n
// query rows, m key rows, h heads, g heads of keys and values, c width of a head.
#pragma once

#include <cstdint>
#include <span>

#include "smidgen/kernels/attention_mask.h"
#include "smidgen/kernels/bf16.h"

namespace smidgen {

// Head j reads the keys and values of j / (h / g); g divides h. Sequence s has the query rows
// [query_starts[s], query_starts[s + 1]) and the key rows likewise; a sequence may be empty. Any
// width and any finite scale; the caller has checked all of it.
struct FlashAttention {
  int64_t heads, kv_heads, width;
  std::span<const int64_t> query_starts, key_starts;
  MaskKind mask = MaskKind::causal;
  int64_t window = 0;               // for MaskKind::window
  std::span<const int64_t> prefix;  // one per sequence, for MaskKind::prefix
  float scale = 1, softcap = 0;     // scores are softcap tanh(scale q k / softcap); 0 means none

  int64_t queries() const { return query_starts.back(); }
  int64_t keys() const { return key_starts.back(); }
};

// Rows of heads: element i of head j of row r at data[r * row + j * head + i].
template <class T>
struct HeadRows {
  T* data;
  int64_t row, head;

  T* at(int64_t r, int64_t j) const { return data + r * row + j * head; }
};

// The algorithm is FlashAttention-2's (Dao, arXiv 2307.08691): blocks of 64 keys, a running largest
// score and sum per row. What differs: the query heads of a group are rows of one block, so keys
// and values are packed once for all of them; blocks end where the last row's view does. Softmax is
// fp32; with bf16, P and dS are rounded to it for the products. T is Bf16 or float.
//
// Memory beside the results: scratch per thread, and in the backward pass one fp32 copy of dk and
// dv per share of a sequence's queries (at most four, fewer where they are short). Shares
// depend on shapes alone and are summed in order: neither the number of threads nor timing changes
// a bit. A row that sees no key gives zero; a NaN gives NaN in the rows that meet it.
//
// out [n, h, c]; log_sums [n, h] is the logarithm of the sum of a row's exponentials.
template <class T>
void flash_attention(const FlashAttention& shape, HeadRows<const T> q, HeadRows<const T> k,
                     HeadRows<const T> v, HeadRows<T> out, float* log_sums);

// Gradients of sum(dout out). All of dq, dk and dv is written.
template <class T>
void flash_attention_backward(const FlashAttention& shape, HeadRows<const T> q, HeadRows<const T> k,
                              HeadRows<const T> v, HeadRows<const T> out, const float* log_sums,
                              HeadRows<const T> dout, HeadRows<T> dq, HeadRows<T> dk,
                              HeadRows<T> dv);

// Both in double, a row at a time. Contiguous. dout may be null, then gradients are not computed.
void flash_attention_ref(const FlashAttention& shape, const double* q, const double* k,
                         const double* v, double* out, const double* dout, double* dq, double* dk,
                         double* dv);

}  // namespace smidgen
