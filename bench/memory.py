"""How much memory a LoRA tuning step takes in each memory mode, and in HF PEFT with and without gradient checkpointing.

Every run is a process of its own on the same model, ids, rank and targets; the sides take turns. The loss after the
last step is printed beside: a mode that changed it would be void.

  python bench/memory.py [--model GGUF] [--tokens 2x512] [--steps 5] [--runs 3] [--peft bf16] [--out FILE.json]

Needs a built smidgen (build/release) and the development requirements.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from step import PEER, ROOT, SMIDGEN, call

OURS = {
    "fast": ["--memory", "fast"],
    "lean": ["--memory", "lean"],
    "checkpoint, every 2nd block": ["--memory", "checkpoint", "--checkpoint-every", "2"],
    "checkpoint": ["--memory", "checkpoint"],
}
KEYS = ("peak_mb", "activation_mb", "tokens_per_s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found = sorted((ROOT / "build" / "demo").glob("*.gguf"))
    parser.add_argument("--model", type=Path, default=found[0] if found else None)
    parser.add_argument("--tokens", default="2x512")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peft", default="bf16", choices=["fp32", "bf16", "autocast", "none"], help="PEFT's arithmetic; none leaves it out")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.model is None:
        raise SystemExit("no model: make demo fetches one, or give --model")
    sequences, length = (int(n) for n in args.tokens.split("x"))
    skip = min(2, args.steps - 1)
    with tempfile.TemporaryDirectory() as scratch:
        folder, ids = Path(scratch) / "hf", Path(scratch) / "ids.json"
        subprocess.run([SMIDGEN, "export", "--model", args.model, "--out", folder, "--dtype-out", "bf16", "--quiet"], check=True)
        vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
        draw = random.Random(1)
        ids.write_text(json.dumps([[[draw.randrange(vocabulary) for _ in range(length)] for _ in range(sequences)]] * args.steps))
        ours = [SMIDGEN, "bench", "step", "--model", folder, "--ids-file", ids, "--rank", args.rank, "--alpha", 16, "--steps", args.steps]
        ours += ["--skip", skip, "--learning-rate", 5e-4, "--step-only", "--json"]
        theirs = [sys.executable, PEER, "--model", folder, "--ids", ids, "--mode", args.peft, "--rank", args.rank, "--skip", skip]
        sides = {f"smidgen {mode}": [*ours, *flags] for mode, flags in OURS.items()}
        if args.peft != "none":
            sides |= {f"PEFT {args.peft}": theirs, f"PEFT {args.peft}, gradient checkpointing": [*theirs, "--checkpoint"]}
        runs = {side: [] for side in sides}
        for _ in range(args.runs):
            for side, argv in sides.items():
                runs[side].append(call(argv))
    result = {"tokens": args.tokens, "rank": args.rank}
    print(f"{'':40}{'peak MB':>9}{'tensors MB':>12}{'tokens/s':>10}{'last loss':>11}")
    for side, done in runs.items():
        row = {key: statistics.median(r[key] for r in done) for key in KEYS if key in done[0]}
        result[side] = row | {"losses": done[0]["losses"]}
        tensors = f"{row['activation_mb']:.0f}" if "activation_mb" in row else "-"
        print(f"{side:40}{row['peak_mb']:9.0f}{tensors:>12}{row['tokens_per_s']:10.1f}{done[0]['losses'][-1]:11.4f}")
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
