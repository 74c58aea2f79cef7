"""A LoRA tuning step against HF PEFT: tokens a second and peak memory, both measured in turns in one run.

Each side runs in a process of its own on the same model, threads, batch shape, rank, targets and number of steps; steps
after the third are timed, with everything that a step does. PEFT runs in each of its settings once, and then in its best
one as often as smidgen.

  python bench/step.py [--model GGUF] [--tokens 2x512] [--steps 8] [--runs 5] [--out FILE.json]

Needs a built smidgen (build/release) and the development requirements.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMIDGEN = Path(os.environ.get("SMIDGEN", ROOT / "build" / "release" / "smidgen"))
PEER = ROOT / "bench" / "peers" / "peft_step.py"
SETTINGS = [(mode, compiled, wait) for mode in ("fp32", "bf16", "autocast") for compiled in (False, True) for wait in ("ACTIVE", "PASSIVE")]


def call(argv, wait=None):
    env = os.environ | {"OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}
    if wait:
        env["OMP_WAIT_POLICY"] = wait
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peft(folder, ids, setting, rank):
    mode, compiled, wait = setting
    argv = [sys.executable, PEER, "--model", folder, "--ids", ids, "--mode", mode, "--rank", rank]
    return call(argv + (["--compile"] if compiled else []), wait)


def name(setting):
    mode, compiled, wait = setting
    return f"{mode} {'compile' if compiled else 'eager'} {wait.lower()}"


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found = sorted((ROOT / "build" / "demo").glob("*.gguf"))
    parser.add_argument("--model", type=Path, default=found[0] if found else None)
    parser.add_argument("--tokens", default="2x512")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--base-format", default="bf16")
    parser.add_argument("--setting", help="one of PEFT's settings, as printed; all are tried when it is left out")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.model is None:
        raise SystemExit("no model: make demo fetches one, or give --model")
    sequences, length = (int(n) for n in args.tokens.split("x"))
    with tempfile.TemporaryDirectory() as scratch:
        folder, ids = Path(scratch) / "hf", Path(scratch) / "ids.json"
        subprocess.run([SMIDGEN, "export", "--model", args.model, "--out", folder, "--dtype-out", "bf16", "--quiet"], check=True)
        vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
        draw = random.Random(1)
        ids.write_text(json.dumps([[[draw.randrange(vocabulary) for _ in range(length)] for _ in range(sequences)]] * args.steps))
        ours = [SMIDGEN, "bench", "step", "--model", folder, "--ids-file", ids, "--base-format", args.base_format, "--rank", args.rank]
        ours += ["--alpha", 16, "--steps", args.steps, "--learning-rate", 5e-4, "--json"]
        tried = {s: peft(folder, ids, s, args.rank)["tokens_per_s"] for s in SETTINGS if args.setting in (None, name(s))}
        for setting, rate in sorted(tried.items(), key=lambda item: -item[1]):
            print(f"PEFT {name(setting):28} {rate:7.1f} tokens/s")
        best = max(tried, key=tried.get)
        runs = {"smidgen": [], "peft": []}
        for number in range(args.runs):
            runs["smidgen"].append(call(ours if number == 0 else [*ours, "--step-only"]))
            runs["peft"].append(peft(folder, ids, best, args.rank))
    result = {"tokens": args.tokens, "rank": args.rank, "peft_setting": name(best), "base_format": args.base_format}
    for side, all_runs in runs.items():
        result[side] = {key: spread([r[key] for r in all_runs]) for key in ("tokens_per_s", "peak_mb")}
        result[side]["losses"] = all_runs[0]["losses"]
    for key in ("gemm_share", "gemm_gflops", "square_gflops"):
        result[key] = runs["smidgen"][0][key]
    result["speed_ratio"] = result["smidgen"]["tokens_per_s"]["median"] / result["peft"]["tokens_per_s"]["median"]
    result["memory_ratio"] = result["smidgen"]["peak_mb"]["median"] / result["peft"]["peak_mb"]["median"]
    last = [result[side]["losses"][-1] for side in ("smidgen", "peft")]
    result["losses_agree"] = abs(last[0] / last[1] - 1) < 0.01
    print(f"{'':10}{'tokens/s':>10}{'least':>9}{'most':>9}{'peak MB':>10}{'last loss':>11}")
    for side, loss in zip(("smidgen", "peft"), last):
        t, m = result[side]["tokens_per_s"], result[side]["peak_mb"]
        print(f"{side:10}{t['median']:10.1f}{t['least']:9.1f}{t['most']:9.1f}{m['median']:10.0f}{loss:11.4f}")
    print(f"speed {result['speed_ratio']:.2f} x, memory {result['memory_ratio']:.2f} x PEFT's best ({name(best)})")
    print(f"products alone {result['gemm_gflops']:.0f} GFLOP/s (large square {result['square_gflops']:.0f}), share of the step {result['gemm_share']:.2f}")
    if not result["losses_agree"]:
        print("VOID: the two runs end more than 1 % apart")
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
