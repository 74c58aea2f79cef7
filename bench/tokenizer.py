"""Speed of encoding and decoding against Hugging Face tokenizers, one thread on each side, in process on both.

Vocabularies: SmolLM2's own (byte-level BPE) and ones trained on the spot of the other kinds. Text: Python's library and
Debian's copyright files, line by line. Runs of the two sides take turns; medians are printed, and how often the reference
took the time. `encode` is compared with encode_batch_fast, which keeps no offsets, `offsets` with encode_batch.

  python bench/tokenizer.py [--runs 5] [--bytes 4000000] [NAME ...]

Needs build/bench/text_bench (scripts/build.sh bench text_bench).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from harness import spread, write  # noqa: E402
from support import token_folder, vocabularies  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

BENCH = Path(os.environ.get("SMIDGEN_TEXT_BENCH", ROOT / "build" / "bench" / "text_bench"))
NAMES = ["smollm2-135m", "llama3", "llama2", "bert", "t5"]


def text(size: int) -> str:
    code = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    prose = sorted(q for q in Path("/usr/share/doc").glob("*/copyright") if q.is_file())
    half = ["".join(q.read_text(encoding="utf-8", errors="ignore") for q in paths)[: size // 2] for paths in (code, prose)]
    return "".join(half).replace("\r", "")


def smollm2() -> Tokenizer:
    """The published vocabulary, out of the demonstration's GGUF file."""
    from gguf import GGUFReader

    found = sorted((ROOT / "build" / "demo").glob("*.gguf")) or sorted(Path.home().glob(".cache/smidgen/smollm2/*.gguf"))
    if not found:
        raise SystemExit("SmolLM2's file is not there: make demo fetches it")
    fields = GGUFReader(found[0]).fields
    strings = {k: [bytes(fields[f"tokenizer.ggml.{k}"].parts[i]).decode() for i in fields[f"tokenizer.ggml.{k}"].data] for k in ("tokens", "merges")}
    made = vocabularies.smollm2(["a"])
    parts = json.loads(made.to_str())
    parts["added_tokens"] = []
    parts["model"]["vocab"] = {t: i for i, t in enumerate(strings["tokens"])}
    parts["model"]["merges"] = strings["merges"]
    return Tokenizer.from_str(json.dumps(parts))


def ours(folder: Path, file: Path) -> dict[str, float]:
    """Seconds by what was done."""
    env = os.environ | {"SMIDGEN_BENCH_MODEL": str(folder), "SMIDGEN_BENCH_TEXT": str(file)}
    command = [str(BENCH), "--benchmark_format=json", "--benchmark_min_time=0.2"]
    done = subprocess.run(command, env=env, capture_output=True, check=True)
    return {b["name"].split("/")[0]: b["real_time"] / 1e3 for b in json.loads(done.stdout)["benchmarks"]}


def clock(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a smoke test: one run over little text")
    parser.add_argument("--out", type=Path, help="JSON file (default: build/bench/results/tokenizer.json)")
    parser.add_argument("--bytes", type=int, default=4_000_000)
    args = parser.parse_args()
    if args.quick:
        args.runs, args.bytes = 1, 200_000
    cases = {}
    if not BENCH.exists():
        raise SystemExit(f"{BENCH} is not there: scripts/build.sh bench text_bench")
    all_text = text(args.bytes)
    rows = all_text.split("\n")
    print(f"{len(all_text) / 1e6:.1f} MB, {len(rows)} lines, medians of {args.runs}")
    print(f"{'vocabulary':14} {'what':8} {'tokenizers':>11} {'smidgen':>9} {'MB/s':>7} {'times':>6}")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "text.txt"
        file.write_text(all_text)
        for name in args.names:
            made = smollm2() if name == "smollm2-135m" else vocabularies.FAMILIES[name](rows[:4000])
            folder = token_folder.write(made, Path(scratch) / name)
            ids = [e.ids for e in made.encode_batch(rows)]
            calls = {
                "encode": ("encode_lines", lambda: made.encode_batch_fast(rows)),
                "offsets": ("encode_with_offsets", lambda: made.encode_batch(rows)),
                "decode": ("decode_lines", lambda: made.decode_batch(ids)),
            }
            theirs, mine = {k: [] for k in calls}, {k: [] for k in calls}
            for _ in range(args.runs):
                seconds = ours(folder, file)
                for what, (label, call) in calls.items():
                    mine[what].append(seconds[label])
                    theirs[what].append(clock(call))
            for what in calls:
                a, b = statistics.median(theirs[what]), statistics.median(mine[what])
                cases[f"{name} {what}"] = {"smidgen": spread(mine[what]), "peer": spread(theirs[what]), "speed_ratio": a / b}
                print(f"{name:14} {what:8} {a * 1e3:8.0f} ms {b * 1e3:6.0f} ms {len(all_text) / b / 1e6:7.1f} {a / b:6.1f}")
    write(args, {"bytes": len(all_text), "cases": cases}, "tokenizer")


if __name__ == "__main__":
    main()
