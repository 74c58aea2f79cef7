// Attention of sequences with one query each, as generation asks for: keys and values are read once
// and where they lie. Letters as in flash_attention.h.
#pragma once

#include "smidgen/kernels/flash_attention.h"

namespace smidgen {

// flash_attention of a shape whose sequences have no or one query: out alone, for keys and values
// of any stride. What differs: nothing is packed, and the products with P are fp32 where the other
// rounds P to bf16. Keys are shared out in runs of 256, whatever the number of threads, and the
// runs of a query are added in order. T is Bf16 or float.
template <class T>
void query_attention(const FlashAttention& shape, HeadRows<const T> q, HeadRows<const T> k,
                     HeadRows<const T> v, HeadRows<T> out);

}  // namespace smidgen
