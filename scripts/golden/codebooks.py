#!/usr/bin/env python3
"""Writes smidgen/io/quants/codebook_data.h: the lists of vectors that the iq1, iq2 and iq3 formats index.

They are part of the formats, as the values of a four-bit float are: no rule makes them. Taken from PyPI gguf 0.19.0
(quants.py, MIT), packed as there: two bits an element for iq1 and iq2, four for iq3.
Run from the root of the tree: .venv/bin/python scripts/golden/codebooks.py > smidgen/io/quants/codebook_data.h
"""

from gguf import quants

LISTS = {
    "kIq2XxsList": (quants.IQ2_XXS, 2),
    "kIq2XsList": (quants.IQ2_XS, 2),
    "kIq2SList": (quants.IQ2_S, 2),
    "kIq3XxsList": (quants.IQ3_XXS, 4),
    "kIq3SList": (quants.IQ3_S, 4),
    "kIq1List": (quants.IQ1_S, 2),
}

print("// Lists of vectors that iq1, iq2 and iq3 index. Written by scripts/golden/codebooks.py.")
print("#pragma once\n\n#include <cstdint>\n\nnamespace smidgen {\n\n// clang-format off")
for name, (kind, bits) in LISTS.items():
    packed = bytes.fromhex(kind.grid_hex.decode())
    vectors, width = kind.grid_shape
    assert len(packed) == vectors * width * bits // 8, name
    print(f"inline constexpr uint8_t {name}[{len(packed)}] = {{  // {vectors} vectors of {width}")
    for i in range(0, len(packed), 40):
        print("    " + "".join(f"{b}," for b in packed[i : i + 40]))
    print("};")
print("// clang-format on\n\n}  // namespace smidgen")
