// What a forward and a backward pass hold in memory, added up from what every part says of itself:
// nothing is computed and nothing is allocated. The parts of one pass in a row are
//   kept     = sum of kept
//   forward  = max over parts of (kept by those before + forward of the part)
//   backward = max over parts of (kept by those before + backward of the part)
// since a backward pass frees from the end. Letters: n rows, d width, h heads.
#pragma once

#include <cstdint>

#include "smidgen/nn/batch.h"

namespace smidgen {

class LinearGroup;
class NormHost;
class EmbeddingHost;
class ModuleHost;

// Bytes of a part of a pass. Both peaks count what it keeps, its input and its output (backward:
// the gradients of both), unless a function says that somebody else counts them.
struct PassMemory {
  int64_t kept = 0;      // from its forward to its backward pass
  int64_t forward = 0;   // most while it runs forward
  int64_t backward = 0;  // most while it runs backward

  int64_t peak() const { return forward > backward ? forward : backward; }
  // The pass goes on with `next`.
  PassMemory& then(const PassMemory& next);
  // `bytes` more are held all the time by somebody else.
  PassMemory beside(int64_t bytes) const { return {kept, forward + bytes, backward + bytes}; }
};

// A host over the rows, with what is attached to it at their slots. `input_bytes`: of an element of
// its input. `shares_input`: another part keeps the input anyway. `streams`: the product is added
// to the fp32 residual stream (LinearGroup::add_to).
PassMemory linear_memory(const LinearGroup& host, const Rows& rows, int64_t input_bytes,
                         bool shares_input, bool streams);

// A norm from the fp32 stream, which it keeps, to elements of `out_bytes`; `heads` > 1: it norms so
// many vectors a row, which are copied first.
PassMemory norm_memory(const NormHost& host, const Rows& rows, int64_t out_bytes,
                       int64_t heads = 1);

// What hangs on a module, if anything: it reads rows of `width` elements, and `shares_input` as
// above.
PassMemory module_memory(const ModuleHost& host, const Rows& rows, int64_t input_bytes,
                         bool shares_input);

PassMemory embedding_memory(const EmbeddingHost& host, const Rows& rows);

// Rotation and attention between the joint product of q, k and v and the rows that come out.
struct AttentionShape {
  int64_t heads, kv_heads, head_dim;
  bool rotated;  // q and k are turned, and so copied
};
PassMemory attention_memory(const AttentionShape& shape, int64_t n, int64_t bytes);

// Gate and up to what down reads, or one of them through its activation. `fused`: one kernel
// without fp32 copies.
PassMemory activation_memory(int64_t n, int64_t inner, bool gated, bool fused, int64_t bytes);

// Output layer and loss over `scored` of n rows: see linear_cross_entropy (nn/ops.h).
PassMemory loss_memory(const LinearGroup& head, const Rows& rows, int64_t scored,
                       bool plain_logits);

}  // namespace smidgen
