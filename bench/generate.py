"""Generation against llama.cpp and transformers: prefill and decode rates in turns in one run, and how near each is to the exact model.

Speed: each side runs in a process of its own on as many threads, at each context, `--runs` times in turns. llama.cpp, built
for this machine's instructions, reads the GGUF file with its defaults, transformers the same weights as bf16.
Nearness: for held-out tokens in rows of 512, the mean KL divergence from the model of the file's own values in fp32
(transformers) and how often the most likely token is the same. smidgen reads them twice: all at once, as a prompt, and
token by token through the cache, as it generates.

  python bench/generate.py [--model GGUF] [--data JSONL] [--contexts 128,1024,4096] [--runs 5] [--quick] [--out FILE.json]

Needs a built smidgen (build/release) and the development requirements; llama-cpp-python gets an environment of its own under
build/llama-cpp, which compiles for some ten minutes once.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import harness
import numpy as np
from safetensors.numpy import load_file

RATES = ("prefill_tokens_per_s", "decode_tokens_per_s")
ROW = 512


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
    ids = harness.call([harness.SMIDGEN, "tokenize", "--model", model, "--file", text, "--no-special", "--json"])["ids"]
    if len(ids) < tokens:
        raise SystemExit(f"{data} gives {len(ids)} tokens, {tokens} are wanted")
    return [ids[at : min(at + ROW, tokens)] for at in range(0, tokens, ROW)]


def compare_nearness(args, folder, llama_python, scratch):
    rows = held_out(args.model, args.data, args.tokens, scratch)
    ids = scratch / "held-out.json"
    ids.write_text(json.dumps(rows))
    exact, logits = scratch / "exact.npy", scratch / "logits.npy"
    harness.peer("transformers_generate.py", "--model", folder, "--ids", ids, "--logits", exact)
    reference = np.load(exact, mmap_mode="r")
    harness.peer("llama_cpp_generate.py", "--model", args.model, "--ids", ids, "--logits", logits, python=llama_python)
    result = {"llama.cpp": nearness(reference, np.load(logits, mmap_mode="r"))}
    for name, chunk in (("smidgen prompt", 0), ("smidgen decode", 1)):
        parts = []
        for row in rows:
            out = scratch / "row.safetensors"
            argv = [harness.SMIDGEN, "forward", "--model", args.model, "--ids", ",".join(map(str, row)), "--chunk", chunk, "--out", out, "--quiet"]
            subprocess.run([str(a) for a in argv], check=True, capture_output=True)
            parts.append(load_file(out)["logits"])
        result[name] = nearness(reference, np.concatenate(parts))
    return result


def compare_speed(args, bf16, llama_python, scratch):
    common = ["--threads", args.threads, "--new-tokens", args.new_tokens]
    cases = {}
    for context in args.contexts:
        ids = scratch / f"ids-{context}.json"
        ids.write_text(json.dumps(harness.draw_ids(bf16, 1, context)))
        peers = ["--ids", ids, *common]
        ours = [harness.SMIDGEN, "bench", "generate", "--model", args.model, "--context", context, "--runs", 1, "--json", *common]
        sides = {
            "smidgen": lambda: harness.call(ours)["contexts"][0],
            "llama.cpp": lambda: harness.peer("llama_cpp_generate.py", "--model", args.model, *peers, python=llama_python),
            "transformers": lambda: harness.peer("transformers_generate.py", "--model", bf16, *peers),
        }
        runs = {name: {rate: [] for rate in RATES} for name in sides}
        for _ in range(args.runs):
            for name, side in sides.items():
                found = side()
                for rate in RATES:
                    runs[name][rate].append(found[rate][0] if isinstance(found[rate], list) else found[rate])
        for rate in RATES:
            spreads = {name: harness.spread(rates[rate]) for name, rates in runs.items()}
            ratios = {name: harness.ratio(spreads["smidgen"], s) for name, s in spreads.items() if name != "smidgen"}
            cases[f"{rate.split('_')[0]}, context {context}"] = {**spreads, "speed_ratios": ratios}
    return cases


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--data", type=Path, default=harness.ROOT / "build" / "demo" / "data" / "heldout.jsonl", help="JSON lines of texts by any keys")
    parser.add_argument("--llama-python", type=Path, help="Python of an environment with llama-cpp-python; one is made when left out")
    parser.add_argument("--contexts", type=lambda text: [int(n) for n in text.split(",")], default=[128, 1024, 4096])
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=4096, help="held-out tokens; 0 leaves nearness out")
    args = harness.parsed(parser)
    if args.quick:
        args.contexts, args.new_tokens, args.tokens = [64], 8, 64
    llama_python = args.llama_python or harness.llama_python()
    result = {"threads": args.threads, "new_tokens": args.new_tokens}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folders = {dtype: harness.folder_of(args.model, scratch, dtype) for dtype in ("fp32", "bf16")}
        result["cases"] = compare_speed(args, folders["bf16"], llama_python, scratch)
        rows = [
            [f"{case}: {side}", s["median"], s["least"], s["most"], e["speed_ratios"].get(side, "")]
            for case, e in result["cases"].items()
            for side, s in e.items()
            if side != "speed_ratios"
        ]
        harness.table(["tokens/s", "median", "least", "most", "smidgen, times"], rows)
        if args.tokens:
            result["nearness"] = compare_nearness(args, folders["fp32"], llama_python, scratch)
            print(f"against the exact model, {args.tokens} held-out tokens")
            harness.table(["", "mean KL", "+-", "same top"], [[side, n["mean_kl"], n["kl_error"], n["top1"]] for side, n in result["nearness"].items()])
            result["tokens"] = args.tokens
    harness.write(args, result, "generate")


if __name__ == "__main__":
    main()
