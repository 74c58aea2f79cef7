"""What the scripts of bench/ share: running one side in a process of its own, medians, a table, a JSON file.

Every script compares sides in one run: they take turns, and what is reported is median, least, most, and the ratio of
the medians. `--quick` shortens a script to a smoke test whose figures mean nothing.
"""

import argparse
import json
import os
import platform
import random
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMIDGEN = Path(os.environ.get("SMIDGEN", ROOT / "build" / "release" / "smidgen"))
PEERS = ROOT / "bench" / "peers"
RESULTS = ROOT / "build" / "bench" / "results"
LLAMA_CPP = "0.3.16"


def arguments(doc, **defaults):
    """A parser with --model, --runs, --quick and --out; `defaults` sets runs."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    found = sorted((ROOT / "build" / "demo").glob("*.gguf"))
    parser.add_argument("--model", type=Path, default=found[0] if found else None)
    parser.add_argument("--runs", type=int, default=defaults.get("runs", 5))
    parser.add_argument("--quick", action="store_true", help="a smoke test: one short run of each side")
    parser.add_argument("--out", type=Path, help="JSON file (default: build/bench/results/SCRIPT.json)")
    return parser


def parsed(parser):
    args = parser.parse_args()
    if args.model is None:
        parser.error("no model: make demo fetches one, or give --model")
    if args.quick:
        args.runs = 1
    return args


def call(argv, wait=None, timeout=None):
    """The last line that the program prints, as JSON."""
    env = os.environ | {"OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}
    if wait:
        env["OMP_WAIT_POLICY"] = wait
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env=env, timeout=timeout)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peer(name, *argv, wait=None, python=sys.executable):
    return call([python, PEERS / name, *argv], wait)


def llama_python():
    """Python of an environment with llama.cpp, compiled for this machine's instructions: its best setting. Made once."""
    home = ROOT / "build" / "llama-cpp" / f"{LLAMA_CPP}-native"
    python = home / "venv" / "bin" / "python"
    if not (home / "done").exists():
        print("compiling llama.cpp for this machine: some ten minutes, once", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
        argv = [python, "-m", "pip", "install", "-q", "--no-cache-dir", f"llama-cpp-python=={LLAMA_CPP}"]
        subprocess.run(argv, check=True, env=os.environ | {"CMAKE_ARGS": "-DGGML_NATIVE=ON"})
        (home / "done").touch()
    return python


def export(model, out, dtype):
    subprocess.run([SMIDGEN, "export", "--model", model, "--out", out, "--dtype-out", dtype, "--quiet"], check=True)
    return out


def folder_of(model, scratch, dtype="bf16"):
    """The model as a Hugging Face folder, which every peer reads."""
    if model.is_dir():
        return model
    return export(model, Path(scratch) / f"hf-{dtype}", dtype)


def draw_ids(folder, sequences, length):
    """Random ids of the model's vocabulary, the same at every call."""
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    draw = random.Random(1)
    return [[draw.randrange(vocabulary) for _ in range(length)] for _ in range(sequences)]


def random_ids(folder, tokens, steps, scratch):
    """A file of the same random batch for every step; `tokens` is SEQUENCESxLENGTH."""
    file = Path(scratch) / f"{tokens}.json"
    file.write_text(json.dumps([draw_ids(folder, *(int(n) for n in tokens.split("x")))] * steps))
    return file


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def ratio(ours, theirs):
    return ours["median"] / theirs["median"]


def table(header, rows):
    """Columns as wide as they need; figures are aligned right."""
    cells = [[str(c) if not isinstance(c, float) else f"{c:.4g}" for c in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        print("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip())


def machine():
    names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {"processor": names[0] if names else platform.machine(), "cores": len(os.sched_getaffinity(0))}


def write(args, result, name=None):
    """Adds the machine and the call, and writes the JSON file."""
    name = name or Path(sys.argv[0]).stem
    out = args.out or RESULTS / f"{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    whole = {"command": shlex.join([f"bench/{Path(sys.argv[0]).name}", *sys.argv[1:]]), "quick": args.quick, "machine": machine(), **result}
    if getattr(args, "model", None):
        whole["model"] = args.model.name
    out.write_text(json.dumps(whole, indent=2) + "\n")
    print(out)
