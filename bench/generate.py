"""Generation against llama.cpp and transformers: prefill and decode rates in turns in one run, and how near each is to the exact model.

Speed: each side runs in a process of its own on as many threads, at each context, `--runs` times in turns; a rate is the
median. llama.cpp reads the GGUF file with its defaults, transformers the same weights as bf16.
Nearness: for held-out tokens in rows of 512, the mean KL divergence from the model of the file's own values in fp32
(transformers) and how often the most likely token is the same. smidgen reads them twice: all at once, as a prompt, and
token by token through the cache, as it generates.

  python bench/generate.py [--model GGUF] [--data JSONL] [--contexts 128,1024,4096] [--runs 5] [--out FILE.json]

Needs a built smidgen (build/release), the development requirements, and an environment with llama-cpp-python (--llama-python;
tests/install/test_llama_cpp.py makes one under build/llama-cpp).
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

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parent.parent
SMIDGEN = Path(os.environ.get("SMIDGEN", ROOT / "build" / "release" / "smidgen"))
PEERS = ROOT / "bench" / "peers"
RATES = ("prefill_tokens_per_s", "decode_tokens_per_s")
ROW = 512


def call(argv, env=()):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env=os.environ | {"TOKENIZERS_PARALLELISM": "false"} | dict(env))
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}\n{done.stderr[-3000:]}")
    return done.stdout


def last_json(text):
    return json.loads(text.splitlines()[-1])


def log_softmax(rows):
    rows = rows.astype(np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))


def nearness(reference, logits):
    """Mean KL(reference || logits) over the rows and the share of equal most likely tokens."""
    kl, same = [], []
    for at in range(0, len(reference), 128):
        p, q = log_softmax(reference[at : at + 128]), log_softmax(logits[at : at + 128])
        kl.append((np.exp(p) * (p - q)).sum(axis=1))
        same.append(p.argmax(axis=1) == q.argmax(axis=1))
    kl, same = np.concatenate(kl), np.concatenate(same)
    return {"mean_kl": float(kl.mean()), "kl_error": float(kl.std() / len(kl) ** 0.5), "top1": float(same.mean())}


def held_out(model, data, tokens, scratch):
    """Rows of ROW ids of the texts of `data`, end to end, without special tokens."""
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    text = scratch / "held-out.txt"
    text.write_text("\n\n".join("\n".join(value for value in row.values() if isinstance(value, str)) for row in rows), encoding="utf-8")
    ids = last_json(call([SMIDGEN, "tokenize", "--model", model, "--file", text, "--no-special", "--json"]))["ids"]
    if len(ids) < tokens:
        raise SystemExit(f"{data} gives {len(ids)} tokens, {tokens} are wanted")
    return [ids[at : at + ROW] for at in range(0, tokens, ROW)]


def compare_nearness(args, folder, scratch):
    rows = held_out(args.model, args.data, args.tokens, scratch)
    ids = scratch / "held-out.json"
    ids.write_text(json.dumps(rows))
    exact = scratch / "exact.npy"
    call([sys.executable, PEERS / "transformers_generate.py", "--model", folder, "--ids", ids, "--logits", exact])
    reference = np.load(exact, mmap_mode="r")
    result = {}
    logits = scratch / "logits.npy"
    call([args.llama_python, PEERS / "llama_cpp_generate.py", "--model", args.model, "--ids", ids, "--logits", logits])
    result["llama.cpp"] = nearness(reference, np.load(logits, mmap_mode="r"))
    for name, chunk in (("smidgen prompt", 0), ("smidgen decode", 1)):
        parts = []
        for row in rows:
            out = scratch / "row.safetensors"
            call([SMIDGEN, "forward", "--model", args.model, "--ids", ",".join(map(str, row)), "--chunk", chunk, "--out", out, "--quiet"])
            parts.append(load_file(out)["logits"])
        result[name] = nearness(reference, np.concatenate(parts))
    return result


def compare_speed(args, folder, scratch):
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    draw = random.Random(1)
    common = ["--threads", args.threads, "--new-tokens", args.new_tokens]
    speeds = {}
    for context in args.contexts:
        ids = scratch / f"ids-{context}.json"
        ids.write_text(json.dumps([[draw.randrange(vocabulary) for _ in range(context)]]))
        peers = ["--ids", ids, *common]
        sides = {
            "smidgen": lambda: last_json(call([SMIDGEN, "bench", "generate", "--model", args.model, "--context", context, "--runs", 1, "--json", *common]))["contexts"][0],
            "llama.cpp": lambda: last_json(call([args.llama_python, PEERS / "llama_cpp_generate.py", "--model", args.model, *peers])),
            "transformers": lambda: last_json(call([sys.executable, PEERS / "transformers_generate.py", "--model", folder / "bf16", *peers])),
        }
        runs = {name: {rate: [] for rate in RATES} for name in sides}
        for _ in range(args.runs):
            for name, side in sides.items():
                found = side()
                for rate in RATES:
                    runs[name][rate].append(found[rate][0] if isinstance(found[rate], list) else found[rate])
        speeds[str(context)] = {
            name: {rate: {"median": statistics.median(v), "least": min(v), "most": max(v)} for rate, v in rates.items()} for name, rates in runs.items()
        }
    return speeds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    demo = ROOT / "build" / "demo"
    found = sorted(demo.glob("*.gguf"))
    environments = sorted((ROOT / "build" / "llama-cpp").glob("*/venv/bin/python"))
    parser.add_argument("--model", type=Path, default=found[0] if found else None)
    parser.add_argument("--data", type=Path, default=demo / "data" / "heldout.jsonl", help="JSON lines of texts by any keys")
    parser.add_argument("--llama-python", type=Path, default=environments[-1] if environments else None)
    parser.add_argument("--contexts", type=lambda text: [int(n) for n in text.split(",")], default=[128, 1024, 4096])
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=4096, help="held-out tokens; 0 leaves nearness out")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.model is None:
        raise SystemExit("no model: make demo fetches one, or give --model")
    if args.llama_python is None:
        raise SystemExit("no llama-cpp-python: make slow builds one, or give --llama-python")
    result = {"model": args.model.name, "threads": args.threads, "new_tokens": args.new_tokens, "runs": args.runs}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = scratch / "hf"
        for path, dtype in ((folder, "fp32"), (folder / "bf16", "bf16")):
            call([SMIDGEN, "export", "--model", args.model, "--out", path, "--dtype-out", dtype, "--quiet"])
        result["speed"] = compare_speed(args, folder, scratch)
        print(f"{'context':>8} {'':14}{'prefill/s':>10}{'least':>8}{'most':>8}{'decode/s':>10}{'least':>8}{'most':>8}")
        for context, sides in result["speed"].items():
            for side, rates in sides.items():
                print(f"{context:>8} {side:14}" + "".join(f"{rates[r]['median']:10.1f}{rates[r]['least']:8.1f}{rates[r]['most']:8.1f}" for r in RATES))
            ratio = {p: [sides["smidgen"][r]["median"] / sides[p][r]["median"] for r in RATES] for p in sides if p != "smidgen"}
            print("".join(f"{'':9}{p}: prefill {a:.2f} x, decode {b:.2f} x\n" for p, (a, b) in ratio.items()), end="")
        if args.tokens:
            result["nearness"] = compare_nearness(args, folder, scratch)
            print(f"{'':16}{'mean KL':>12}{'+-':>10}{'same top':>10}   of {args.tokens} held-out tokens")
            for side, n in result["nearness"].items():
                print(f"{side:16}{n['mean_kl']:12.6f}{n['kl_error']:10.6f}{n['top1']:10.4f}")
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
