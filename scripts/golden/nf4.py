#!/usr/bin/env python3
"""Writes smidgen/kernels/formats/golden_nf4.h: what bitsandbytes makes of fixed matrices in NF4 with double quantisation.

The test makes the same matrices and compares the digest of every value. bitsandbytes is no requirement of the tree: run this
where bitsandbytes==0.50.2 is installed beside the pinned torch, from the root of the tree:
    python scripts/golden/nf4.py > smidgen/kernels/formats/golden_nf4.h

Two of its CPU kernels are passed by for what the other back ends compute: the eight-bit codes of the scales, which the CPU
library looks up in a table of 65536 steps, and the unpacking of rows that are no multiple of the block.
"""

import hashlib

import bitsandbytes
import bitsandbytes.functional as F
import numpy as np
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute

assert bitsandbytes.__version__ == "0.50.2"
SHAPES = [(96, 128), (40, 1000), (7, 37), (1, 5), (520, 576)]


def matrix(rows: int, columns: int) -> torch.Tensor:
    """16 bits of a linear congruential generator around zero, a size for each 64, and a run of zeros."""
    n, state = rows * columns, 1
    out = np.empty(n, np.float32)
    for i in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        size = 0 if i // 64 % 13 == 5 else 1 + i // 64 % 7
        out[i] = ((state >> 48) - 32768) * size / 2**18
    return torch.from_numpy(out).view(rows, columns)


def round_trip(w: torch.Tensor) -> torch.Tensor:
    codes, absmax = torch.ops.bitsandbytes.quantize_4bit.default(w, 64, "nf4", torch.uint8)
    mean, dynamic = absmax.mean(), F.create_dynamic_map()
    # As doubles they take the path without the table; it works in single precision.
    scales, outer = torch.ops.bitsandbytes.quantize_blockwise.default((absmax - mean).double(), dynamic, 256)
    absmax = F.dequantize_blockwise(scales, absmax=outer, code=dynamic, blocksize=256) + mean
    return _dequantize_4bit_compute(codes.flatten(), absmax, F.get_4bit_type("nf4", "cpu"), 64, w.shape, torch.float32)


print("// Written by scripts/golden/nf4.py; do not edit.\n#pragma once\n\n#include <cstdint>\n\nnamespace smidgen::golden {\n")
print("struct Nf4Digest {\n  int64_t rows, columns;\n  const char* sha256;\n};\n\ninline constexpr Nf4Digest kNf4[] = {")
for shape in SHAPES:
    values = round_trip(matrix(*shape)).numpy()
    print(f'    {{{shape[0]}, {shape[1]},\n     "{hashlib.sha256(values.tobytes()).hexdigest()}"}},')
print("};\n\n}  // namespace smidgen::golden")
