#!/usr/bin/env python3
"""Writes smidgen/io/quants/golden_quants.h: digests of what PyPI gguf makes of pseudo-random blocks, per format.

The test makes the same blocks from the same formula and compares SHA-256. tests/parity/test_formats.py compares value by
value, live. Run from the root of the tree: .venv/bin/python scripts/golden/quants.py > smidgen/io/quants/golden_quants.h
"""

import hashlib

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

BLOCKS = 256
READ = (
    "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K TQ1_0 TQ2_0 IQ4_NL IQ4_XS MXFP4 NVFP4 "
    "IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S IQ1_M"
)


def noise(count: int) -> np.ndarray:
    """Bytes of a 64-bit linear congruential generator, its upper eight bits."""
    state, out = 1, bytearray()
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append(state >> 56)
    return np.frombuffer(bytes(out), np.uint8)


def numbers(count: int) -> np.ndarray:
    """int8 times a power of two for each block of 32: many ties, blocks of zeros and of subnormals."""
    values = noise(count).view(np.int8).astype(np.float32)
    block = np.arange(count) // 32
    exponent = np.where(block % 16 == 15, -149 + block % 20, block * 7 % 40 - 30)
    values = np.ldexp(values, exponent).astype(np.float32)
    return np.where(block % 16 == 7, np.float32(0), values)


def digest(values: np.ndarray) -> str:
    """NaN has no sign and no payload here: processors disagree on both."""
    if values.dtype == np.float32:
        bits = np.ascontiguousarray(values).view(np.uint32).copy()
        bits[np.isnan(values)] = 0x7FC00000
        values = bits
    return hashlib.sha256(values.tobytes()).hexdigest()


rows = []
for name in READ.split():
    kind = GGMLQuantizationType[name]
    elements, size = GGML_QUANT_SIZES[kind]
    with np.errstate(all="ignore"):
        rows.append((name.lower(), digest(quants.dequantize(noise(BLOCKS * size).reshape(BLOCKS, size), kind))))
every = np.arange(256, dtype=np.uint8)
for name, kind in {"f8_e4m3": torch.float8_e4m3fn, "f8_e5m2": torch.float8_e5m2}.items():
    rows.append((name, digest(torch.from_numpy(every.copy()).view(kind).float().numpy())))
written = []
for name in "F16 BF16 Q8_0 Q4_0 Q4_1".split():
    with np.errstate(all="ignore"):
        written.append((name.lower(), digest(quants.quantize(numbers(BLOCKS * 32), GGMLQuantizationType[name]))))

print("// Written by scripts/golden/quants.py; do not edit.\n#pragma once\n\nnamespace smidgen::golden {\n")
print("struct FormatDigest {\n  const char *format, *sha256;\n};\n")
for table, items in (("kDecoded", rows), ("kEncoded", written)):
    print(f"inline constexpr FormatDigest {table}[] = {{")
    for name, value in items:
        print(f'    {{"{name}", "{value}"}},')
    print("};\n")
print("}  // namespace smidgen::golden")
