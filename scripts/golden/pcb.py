"""Writes smidgen/delta/merge/golden_pcb.h: what PCB-Merging gives for a few random task vectors.

The formulas are those of the released scripts (duguodong7/pcb-merging, commit 5897888: pcb-merging.py,
vision_source_code/pcb.py, vision_source_code/pcb_ES.py) and of the paper (arXiv 2410.02396), written down in NumPy in
double precision. Nothing on PyPI has the method.

  python scripts/golden/pcb.py
"""

from pathlib import Path

import numpy as np

OUT = Path(__file__).resolve().parent.parent.parent / "smidgen" / "delta" / "merge" / "golden_pcb.h"
TASKS, SIZE = 3, 240
DENSITY = 0.2
WEIGHTS = [1.2, 0.7, 1.0]


def norm(x):
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    return (x - low) / (high - low)


def clip(x, low, high):
    d = x.shape[1]
    s = np.sort(x, axis=1)
    return np.clip(x, s[:, int(d * low)][:, None], s[:, int(d * (1 - high) - 1)][:, None])


def finish(beta, c):
    s = norm(clip(beta, 1 - DENSITY, 0))
    return (np.array(WEIGHTS)[:, None] * c * s).sum(0) / np.maximum(s.sum(0), 1e-12)


def scripted(t, winsor, between):
    a = clip(np.abs(t), winsor, winsor)
    inside = np.exp(len(t) * norm(a) ** 2)
    return finish(inside * between(t, np.sign(t) * norm(a)), np.sign(t) * a)


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def paper(t):
    beta = softmax(len(t) * norm(t * t)) * sum(softmax(norm(t * t[j])) for j in range(len(t)))
    at = np.sort(beta, axis=1)[:, int(t.shape[1] * (1 - DENSITY))]
    beta = np.where(beta >= at[:, None], beta, 0)
    total = beta.sum(0)
    return np.divide((beta * np.array(WEIGHTS)[:, None] * t).sum(0), total, out=np.zeros_like(total), where=total > 0)


def main():
    draw = np.random.default_rng(7)
    t = draw.normal(size=(TASKS, SIZE)).astype(np.float32) * np.array([[1.0], [0.5], [2.0]], np.float32)
    t[0, :5] = 0
    t[2, 3] = 0
    exact = t.astype(np.float64)
    results = {
        "pcb": scripted(exact, 1e-4, lambda x, n: np.tanh(x * x.sum(0))),
        "pcb_vision": scripted(exact, 1e-2, lambda x, n: np.tanh(x * n.sum(0))),
        "pcb_es": scripted(exact, 1e-2, lambda x, n: sum(np.tanh(n * n[j]) for j in range(len(n)))),
        "pcb_paper": paper(exact),
    }
    lines = ["// Written by scripts/golden/pcb.py.", "#pragma once", "", "#include <map>", "#include <string>", "#include <vector>", "", "namespace smidgen::golden_pcb {", ""]
    lines.append(f"constexpr double kDensity = {DENSITY};")
    lines.append("inline const std::vector<double> kWeights = {" + ", ".join(map(repr, WEIGHTS)) + "};")
    row = lambda values: "{" + ", ".join(f"{float(v):.9g}f" if v and "." in f"{float(v):.9g}" or "e" in f"{float(v):.9g}" else f"{float(v):.1f}f" for v in values) + "}"
    lines.append("inline const std::vector<std::vector<float>> kTasks = {" + ",\n".join(row(r) for r in t) + "};")
    lines.append("inline const std::map<std::string, std::vector<float>> kResults = {" + ",\n".join(f'{{"{k}", {row(v)}}}' for k, v in results.items()) + "};")
    lines += ["", "}  // namespace smidgen::golden_pcb", ""]
    OUT.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
