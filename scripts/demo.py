"""make demo: tunes SmolLM2-135M-Instruct on the documented functions of Python's standard library, so that one can see it learn.

Everything lies in build/demo: model, data, and the run folder. Interrupted, it resumes; finished, it shows the result again.

  --steps N   optimiser steps (default 110: under ten minutes of tuning on two cores)
  --seed S    starting values and order
  --control   train on shuffled docstring/function pairs instead: what is learned then is style alone
  --out DIR   run folder (default build/demo/run)
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Relative to the root, where everything runs, so that reports and adapters carry no path of this machine.
DEMO = Path("build/demo")
SMIDGEN = Path("build/release/smidgen")


def fetch(script, out, *options):
    """Runs one of scripts/data; what it made before is kept."""
    command = [sys.executable, str(ROOT / "scripts" / "data" / script), "--out", str(out), *options]
    subprocess.run(command, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=110)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    out = args.out.resolve() if args.out else DEMO / "run"
    os.chdir(ROOT)

    DEMO.mkdir(parents=True, exist_ok=True)
    models = list(DEMO.glob("*.gguf"))
    if not models:
        fetch("smollm2.py", DEMO)
        models = list(DEMO.glob("*.gguf"))
    data = DEMO / "data"
    if not (data / "manifest.json").exists():
        fetch("stdlib_functions.py", data, "--heldout-limit", "64", "--shuffle-pairs", "1")

    train = data / ("control.jsonl" if args.control else "train.jsonl")
    tune = [
        str(SMIDGEN), "tune",
        "--model", str(models[0]),
        "--data", str(train),
        "--eval-data", str(data / "heldout.jsonl"),
        "--too-long", "skip",
        "--method", "lora", "--rank", "8", "--alpha", "16", "--target", "all-linear",
        "--max-length", "512", "--batch-tokens", "1024",
        "--max-steps", str(args.steps),
        "--learning-rate", "5e-4", "--schedule", "cosine", "--warmup-steps", "5",
        "--save-every", "20", "--eval-every", "20",
        "--seed", str(args.seed),
        "--out", str(out),
    ]  # fmt: skip
    if out.exists() and any(out.iterdir()):
        tune.append("--resume")
    sys.stdout.flush()
    os.execv(tune[0], tune)


if __name__ == "__main__":
    main()
