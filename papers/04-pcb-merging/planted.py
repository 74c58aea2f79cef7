"""PCB-Merging where the truth is known: sparse signals in noise, merged by `smidgen merge`. Adds its table to planted.json.

Eight tasks of 50,000 parameters: a signal on 5 % of them, N(0, 1), plus noise 0.3 N(0, 1) on all, times 0.01. A task's loss is the squared
error of the merged vector on the task's own parameters, plus 0.2 of its squares elsewhere, over the signal's energy. Every method has its
best scale (the optimum of a parabola), but averaging.

  python papers/04-pcb-merging/planted.py [--seeds 0,1,2,3,4]
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import deltas  # noqa: E402

TASKS, ROWS, COLUMNS = 8, 500, 100
METHODS = {
    "average": ("task_arithmetic", None),
    "task arithmetic": ("task_arithmetic", None),
    **{f"ties {density}": ("ties", density) for density in (0.05, 0.1, 0.2)},
    **{f"pcb {density}": ("pcb", density) for density in (0.05, 0.1, 0.2)},
}


def model(folder, values):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    save_file({"model.weight": values.astype(np.float32)}, folder / "model.safetensors", {"format": "pt"})
    return folder


def one_seed(seed, home):
    draw = np.random.default_rng(seed)
    supports = draw.random((TASKS, ROWS, COLUMNS)) < 0.05
    signals = 0.01 * draw.standard_normal(supports.shape) * supports
    noise = 0.01 * 0.3 * draw.standard_normal(supports.shape)
    base = model(home / "base", np.zeros((ROWS, COLUMNS)))
    tuned = [model(home / f"task{i}", signals[i] + noise[i]) for i in range(TASKS)]
    losses = {}
    for name, (method, density) in METHODS.items():
        own = {"weight": 1.0} | ({"density": density} if method == "ties" else {})
        shared = {"density": density} if method == "pcb" else {"lambda": 1.0}
        models = [{"model": str(folder), "parameters": own} for folder in tuned]
        recipe = home / "recipe.yaml"
        recipe.write_text(json.dumps({"merge_method": method, "base_model": str(base), "models": models, "parameters": shared, "dtype": "float32"}))
        out = home / f"merged {name}"
        deltas.call("merge", "--config", recipe, "--out", out, "--statistics=false", "--digests=false")
        merged = load_file(out / "model.safetensors")["model.weight"].astype(np.float64)
        # Mean over tasks of (a scale^2 - 2 b scale + 1).
        energy = (signals**2).sum((1, 2))
        a = np.mean([((merged**2)[s].sum() + 0.2 * (merged**2)[~s].sum()) / e for s, e in zip(supports, energy)])
        b = np.mean([(merged * signal).sum() / e for signal, e in zip(signals, energy)])
        scale = 1 / TASKS if name == "average" else b / a
        losses[name] = a * scale**2 - 2 * b * scale + 1
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    args = parser.parse_args()
    found = []
    for seed in args.seeds.split(","):
        with tempfile.TemporaryDirectory() as home:
            found.append(one_seed(int(seed), Path(home)))
    (HERE / "planted.json").write_text(json.dumps({"seeds": args.seeds, "losses": found}, indent=1) + "\n")
    print("| method | loss |\n|---|---|")
    for name in METHODS:
        values = [losses[name] for losses in found]
        print(f"| {name} | {deltas.mean(values):.3f} +- {deltas.spread(values):.3f} |")


if __name__ == "__main__":
    sys.exit(main())
