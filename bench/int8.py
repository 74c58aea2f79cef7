"""What 8-bit products cost in loss: tuning with a base in bf16, in int8, and in int8 with gradients in bf16, several seeds of each.

Every run sees the same samples in the same order; after the last step the held-out data is scored with the base that the
run had, and with the bf16 base. Losses are per answer token; intervals are paired bootstraps over samples, 95 %.

  python bench/int8.py [--steps 200] [--seeds 0 1 2] [--tokens 512] [--out build/bench/results/int8.json]

Needs build/release/smidgen and the demo's model and data (make demo, or this script fetches them).
"""

import json
import shutil
import subprocess

import harness
from learning import interval, loss, prepare, scores

FORMATS = ("bf16", "int8", "int8_forward")


def tune(model, data, out, base_format, seed, args):
    shutil.rmtree(out, ignore_errors=True)
    command = [harness.SMIDGEN, "tune", "--model", model, "--data", data / "train.jsonl", "--out", out, "--too-long", "skip", "--rank", "8", "--alpha", "16",
               "--dtype", "bf16", "--base-format", base_format, "--batch-tokens", args.tokens, "--max-steps", args.steps, "--learning-rate", "5e-4",
               "--schedule", "cosine", "--warmup-steps", "5", "--seed", seed, "--json"]  # fmt: skip
    subprocess.run([str(c) for c in command], check=True, capture_output=True)


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    if args.quick:
        args.steps, args.seeds = 2, [0]
    scratch = harness.ROOT / "build" / "bench" / "int8"
    scratch.mkdir(parents=True, exist_ok=True)
    model, data = prepare()
    runs = []
    for seed in args.seeds:
        for base_format in FORMATS:
            out = scratch / f"{base_format}-{seed}"
            tune(model, data, out, base_format, seed, args)
            found = {form: scores(model, data / "heldout.jsonl", scratch / "scores.jsonl", out / "adapter", ["--dtype", "bf16", "--base-format", form])
                     for form in {base_format, "bf16"}}  # fmt: skip
            runs.append({"seed": seed, "base_format": base_format, "own": found[base_format], "bf16": found["bf16"]})
            print(seed, base_format, f"{loss(runs[-1]['own']):.4f} {loss(runs[-1]['bf16']):.4f}", flush=True)
    exact = {r["seed"]: r for r in runs if r["base_format"] == "bf16"}
    rows = []
    for r in runs:
        own, wanted = loss(r["own"]), loss(exact[r["seed"]]["own"])
        rows.append({"seed": r["seed"], "base_format": r["base_format"], "loss": own, "on_bf16": loss(r["bf16"]), "over_bf16": own / wanted - 1,
                     "interval": interval(exact[r["seed"]]["own"], r["own"])})  # fmt: skip
    harness.table(["seed", "base", "loss", "on bf16", "over bf16, %"], [[r["seed"], r["base_format"], r["loss"], r["on_bf16"], 100 * r["over_bf16"]] for r in rows])
    harness.write(args, {"steps": args.steps, "tokens": args.tokens, "rows": rows}, "int8")


if __name__ == "__main__":
    main()
