// Rows of GGUF's block formats as numbers. The layouts and the order of every product and sum are
// those of io/quants/, whose decoders are the oracle and serve the formats without vector code.
#pragma once

#include <cstddef>
#include <cstdint>

#include "smidgen/io/tensor_view.h"
#include "smidgen/kernels/bf16.h"

namespace smidgen {

// Elements [begin, end) of the row whose first block lies at `row`, at any alignment; to bf16 each
// value is rounded once. Equal bits on every target, but for the payload of NaN. Any format that
// io/dequantise.h reads.
void unpack_row(Format format, const std::byte* row, int64_t begin, int64_t end, float* out);
void unpack_row(Format format, const std::byte* row, int64_t begin, int64_t end, Bf16* out);

// Whether there is vector code for the format: without it a product waits for its weights.
bool unpacks_fast(Format format);

// Through the decoder, block by block.
void unpack_row_ref(Format format, const std::byte* row, int64_t begin, int64_t end, float* out);
void unpack_row_ref(Format format, const std::byte* row, int64_t begin, int64_t end, Bf16* out);

}  // namespace smidgen
