// The last touch on a block of a product (product.h) while it is in the cache. Runs on the calling
// thread; strides are in elements.
#pragma once

#include <cstdint>

#include "smidgen/kernels/bf16.h"

namespace smidgen {

// out [rows, columns] = block, rounded once.
void store_block(int64_t rows, int64_t columns, const float* block, int64_t stride, float* out,
                 int64_t ldo);
void store_block(int64_t rows, int64_t columns, const float* block, int64_t stride, Bf16* out,
                 int64_t ldo);

// out [rows, columns] = stream + scale block.
void add_block(int64_t rows, int64_t columns, const float* block, int64_t stride, float scale,
               const float* stream, int64_t lds, float* out, int64_t ldo);

}  // namespace smidgen
