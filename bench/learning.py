"""Does tuning learn the task, or only the style? Several seeds, each beside a control, on the demo's data.

The control is trained the same way on the same functions with docstring and signature of one paired with the body of
another. What both gain is style (no fences, no repeated signature); what only the real pairs gain is the task. Losses are
per answer token on held-out modules; intervals are paired bootstraps over samples, 95 %.

  python bench/learning.py [--steps 40] [--seeds 0 1 2] [--out build/bench/learning]

Needs build/release/smidgen and the demo's model and data (make demo, or this script fetches them).
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMIDGEN = ROOT / "build" / "release" / "smidgen"
DEMO = ROOT / "build" / "demo"


def prepare():
    scripts = ROOT / "scripts" / "data"
    if not list(DEMO.glob("*.gguf")):
        subprocess.run([sys.executable, scripts / "smollm2.py", "--out", DEMO], check=True)
    if not (DEMO / "data" / "control.jsonl").exists():
        command = [sys.executable, scripts / "stdlib_functions.py", "--out", DEMO / "data", "--heldout-limit", "64", "--shuffle-pairs", "1"]
        subprocess.run(command, check=True)
    return next(DEMO.glob("*.gguf")), DEMO / "data"


def scores(model, data, out, adapter=None, flags=()):
    """Loss of each held-out sample: (sum over its answer tokens, their number)."""
    command = [SMIDGEN, "eval", "--model", model, "--data", data, "--per-sample", out, "--json", *flags]
    if adapter:
        command += ["--adapter", adapter]
    subprocess.run(command, check=True, capture_output=True)
    return [(r["loss_sum"], r["tokens"]) for r in map(json.loads, open(out))]


def loss(rows):
    return sum(s for s, _ in rows) / sum(n for _, n in rows)


def interval(a, b, draws=5000):
    """Paired bootstrap of the mean over samples of b's loss minus a's."""
    differences = [sb / nb - sa / na for (sa, na), (sb, nb) in zip(a, b, strict=True)]
    rng = random.Random(0)
    means = sorted(sum(rng.choices(differences, k=len(differences))) / len(differences) for _ in range(draws))
    return means[int(0.025 * draws)], means[int(0.975 * draws) - 1]


def tune(model, train, heldout, out, steps, seed):
    shutil.rmtree(out, ignore_errors=True)
    command = [SMIDGEN, "tune", "--model", model, "--data", train, "--out", out, "--too-long", "skip", "--rank", "8", "--alpha", "16",
               "--batch-tokens", "1024", "--max-steps", str(steps), "--learning-rate", "5e-4", "--schedule", "cosine",
               "--warmup-steps", "5", "--seed", str(seed), "--json"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return scores(model, heldout, out / "held-out.jsonl", out / "adapter")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "learning")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model, data = prepare()
    heldout = data / "heldout.jsonl"
    base = scores(model, heldout, args.out / "base.jsonl")
    rows = []
    for seed in args.seeds:
        tuned = tune(model, data / "train.jsonl", heldout, args.out / f"pairs-{seed}", args.steps, seed)
        control = tune(model, data / "control.jsonl", heldout, args.out / f"control-{seed}", args.steps, seed)
        rows.append({"seed": seed, "steps": args.steps, "samples": len(base), "base": loss(base), "tuned": loss(tuned),
                     "control": loss(control), "tuned_minus_base": interval(base, tuned),
                     "control_minus_base": interval(base, control), "tuned_minus_control": interval(control, tuned)})  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    (args.out / "learning.json").write_text(json.dumps(rows, indent=1))
    print("| seed | base | tuned | control | tuned - base | control - base | tuned - control |\n|---|---|---|---|---|---|---|")
    for r in rows:
        shown = [f"[{low:.3f}, {high:.3f}]" for low, high in (r["tuned_minus_base"], r["control_minus_base"], r["tuned_minus_control"])]
        print(f"| {r['seed']} | {r['base']:.4f} | {r['tuned']:.4f} | {r['control']:.4f} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    main()
