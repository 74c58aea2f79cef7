"""Mode subspace overlap of two LoRA folders in torch, as bench/overlap.py times it.

  python bench/peers/overlap.py A B dense|factors

`dense` multiplies every update out and takes its singular value decomposition, as CERT-Lab/safety-subspaces does.
`factors` never builds an update: QR of both factors and a decomposition of r x r, the best that we know to write. Prints
one JSON line: seconds from opening the files to the last figure (imports are not in it), and the figures.
"""

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

ENERGIES = [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99]


def updates(folder):
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    scale = config["lora_alpha"] / config["r"]
    return {name: (tensors[name], tensors[name.replace("lora_A", "lora_B")], scale) for name in tensors if "lora_A" in name}


def basis(a, b, scale, route):
    if route == "dense":
        left, s, _ = torch.linalg.svd(scale * (b @ a), full_matrices=False)
        return left, s.double() ** 2
    qb, rb = torch.linalg.qr(b.double())
    _, ra = torch.linalg.qr(a.double().T)
    left, s, _ = torch.linalg.svd(scale * (rb @ ra.T))
    return qb @ left, s**2


def main():
    first, second, route = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    torch.set_grad_enabled(False)
    begin = time.perf_counter()
    mine, theirs = updates(first), updates(second)
    overlaps = torch.zeros(len(ENERGIES), dtype=torch.float64)
    dot = squares_a = squares_b = 0.0
    both = agree = 0
    for name, (a, b, s) in mine.items():
        c, d, t = theirs[name]
        x, y = s * (b @ a), t * (d @ c)
        dot += (x.double() * y).sum().item()
        squares_a += x.double().square().sum().item()
        squares_b += y.double().square().sum().item()
        used = (x != 0) & (y != 0)
        both += used.sum().item()
        agree += (used & ((x > 0) == (y > 0))).sum().item()
        (q, e), (p, f) = basis(a, b, s, route), basis(c, d, t, route)
        table = (q.T @ p).double().square().cumsum(0).cumsum(1)
        for i, eta in enumerate(ENERGIES):
            j, k = (int(torch.searchsorted(z.cumsum(0), eta * z.sum() * (1 - 1e-12))) for z in (e, f))
            overlaps[i] += table[j, k] / (min(j, k) + 1) / len(mine)
    seconds = time.perf_counter() - begin
    cosine = dot / (squares_a * squares_b) ** 0.5
    print(json.dumps({"seconds": seconds, "overlap": overlaps.tolist(), "cosine": cosine, "same_sign": agree / both}))


if __name__ == "__main__":
    main()
