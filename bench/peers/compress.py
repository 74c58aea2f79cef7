"""One timed compression of an adapter file as ComPEFT does it, in the best vectorised form that torch and NumPy have for the
codes of smidgen's file. Prints one line of JSON. Run by bench/compress.py.

The time begins after the imports and ends when the codes lie on the disk. The values are mapped, not copied; magnitudes and
comparisons run on all cores in torch, the selection is NumPy's partition (introselect with AVX-512), blocks are coded by
NumPy on one thread a core.
"""

import argparse
import json
import math
import mmap
import os
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

BLOCK = 1 << 17


def values_of(path):
    """The file's tensors, all fp32 and in the order of their names, as one mapped vector; and their sizes."""
    file = open(path, "r+b")
    view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    head = struct.unpack("<Q", view[:8])[0]
    tensors = {n: t for n, t in json.loads(view[8 : 8 + head]).items() if n != "__metadata__"}
    names = sorted(tensors)
    begins = [tensors[n]["data_offsets"][0] for n in names]
    if begins != sorted(begins) or {t["dtype"] for t in tensors.values()} != {"F32"}:
        raise SystemExit("tensors in another order or format than the benchmark makes")
    return np.frombuffer(view, np.float32, offset=8 + head), [math.prod(tensors[n]["shape"]) for n in names]


def select(values, k):
    """Masks of the k largest magnitudes, of equal ones the first."""
    magnitudes = values.abs()
    scratch = magnitudes.numpy().copy()
    scratch.partition(len(scratch) - k)
    threshold = float(scratch[len(scratch) - k])
    del scratch
    kept = magnitudes > threshold
    missing = k - int(kept.sum())
    kept[(magnitudes == threshold).nonzero()[:missing, 0]] = True
    return kept.numpy(), (values < 0).numpy()


def masks(kept, negative):
    return np.packbits(kept & ~negative, bitorder="little").tobytes() + np.packbits(kept & negative, bitorder="little").tobytes()


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def rice(kept, negative):
    at = np.flatnonzero(kept)
    if len(at) == 0:
        return varint(0)
    p = len(at) / len(kept)
    b = 0 if p == 1 else min(max(1 + math.floor(math.log2(math.log((math.sqrt(5) - 1) / 2) / math.log1p(-p))), 0), 16)
    gaps = np.diff(at, prepend=-1) - 1
    quotient = gaps >> b
    ends = np.cumsum(quotient + (b + 2))
    bits = np.zeros(ends[-1], np.uint8)
    ones = ends - (b + 2)
    bits[ones] = 1
    for j in range(b):
        bits[ones + (1 + j)] = gaps >> j & 1
    bits[ends - 1] = negative[at]
    return varint(len(at)) + bytes([b]) + np.packbits(bits, bitorder="little").tobytes()


def encode(coder, kept, negative, pool):
    parts = [slice(i, i + BLOCK) for i in range(0, len(kept), BLOCK)]
    blocks = list(pool.map(lambda part: coder(kept[part], negative[part]), parts))
    table = struct.pack(f"<{len(blocks)}I", *map(len, blocks)) if len(blocks) > 1 else b""
    return table + b"".join(blocks)


parser = argparse.ArgumentParser()
parser.add_argument("--adapter", type=Path, required=True)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--codec", choices=["masks", "rice"], required=True)
parser.add_argument("--density", type=float, required=True)
args = parser.parse_args()

cores = len(os.sched_getaffinity(0))
torch.set_num_threads(cores)
with ThreadPoolExecutor(cores) as pool:
    begin = time.perf_counter()
    flat, sizes = values_of(args.adapter / "adapter_model.safetensors")
    values = torch.from_numpy(flat)
    kept, negative = select(values, int(len(flat) * args.density))
    sigma = values.std().item()
    codes, at = b"", 0
    for size in sizes:
        codes += encode(masks if args.codec == "masks" else rice, kept[at : at + size], negative[at : at + size], pool)
        at += size
    with open(args.out, "wb") as file:
        file.write(codes)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - begin
print(json.dumps({"seconds": seconds, "sigma": sigma, "kept": int(kept.sum())}))
