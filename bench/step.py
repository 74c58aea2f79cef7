"""A LoRA tuning step against HF PEFT: tokens a second and peak memory, both measured in turns in one run.

Each side runs in a process of its own on the same model, threads, batches, rank, targets and number of steps; steps
after the third are timed, with everything that a step does. PEFT runs in each of its settings once, and then in its best
one as often as smidgen. Cases:

  2x512 8x512 ... SxL   S sequences of L random ids
  1x8192                the same; its point is memory
  varied                32 samples of the demo's data, as long as they are: smidgen packs them, PEFT cuts them into
                        padded batches of 8 of like length (group_by_length), and tokens are those of the samples
  formats               2x512 with the base in each format that smidgen can train on

  python bench/step.py [--model GGUF] [--case 2x512 ...] [--steps 8] [--runs 5] [--quick] [--out FILE.json]

Needs a built smidgen (build/release) and the development requirements.
"""

import json
import random
import tempfile
from pathlib import Path

import harness

SETTINGS = [(mode, compiled, wait) for mode in ("fp32", "bf16", "autocast") for compiled in (False, True) for wait in ("ACTIVE", "PASSIVE")]
CASES = ["2x512", "8x512", "varied", "1x8192", "formats"]
PADDED = 8  # sequences of one of PEFT's batches, where lengths differ
SAMPLES = 32


def name(setting):
    mode, compiled, wait = setting
    return f"{mode} {'compile' if compiled else 'eager'} {wait.lower()}"


def sample_ids(folder):
    """Some of the demo's rows as ids, whole."""
    from transformers import AutoTokenizer

    rows = [json.loads(line) for line in (harness.ROOT / "build" / "demo" / "data" / "train.jsonl").read_text().splitlines()]
    draw = random.Random(1).sample(rows, SAMPLES)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = ["\n".join(m["content"] for m in r["messages"]) if "messages" in r else "\n".join(v for v in r.values() if isinstance(v, str)) for r in draw]
    return [tokenizer(text)["input_ids"][:512] for text in texts]


class Case:
    def __init__(self, what, folder, scratch, args):
        self.what, self.folder, self.args = what, folder, args
        self.varied = what == "varied"
        if not self.varied:
            self.ids = harness.random_ids(folder, what, args.steps, scratch)
            return
        self.ids = Path(scratch) / "varied.json"
        self.ids.write_text(json.dumps([sample_ids(folder)] * args.steps))

    def peft(self, setting):
        mode, compiled, wait = setting
        argv = ["--model", self.folder, "--ids", self.ids, "--mode", mode, "--rank", self.args.rank, "--skip", self.args.skip]
        if self.varied:
            argv += ["--batch", PADDED]
        return harness.peer("peft_step.py", *argv, *(["--compile"] if compiled else []), wait=wait)

    def ours(self, base_format, whole):
        argv = [harness.SMIDGEN, "bench", "step", "--model", self.folder, "--ids-file", self.ids, "--base-format", base_format]
        argv += ["--rank", self.args.rank, "--alpha", 16, "--steps", self.args.steps, "--skip", self.args.skip, "--learning-rate", 5e-4, "--json"]
        argv += ["--memory", self.args.memory]
        return harness.call(argv + ([] if whole else ["--step-only"]))

    def best_setting(self):
        wanted = [s for s in SETTINGS if self.args.setting in (None, name(s))]
        if self.args.quick and self.args.setting is None:
            wanted = [s for s in SETTINGS if name(s) == "autocast eager active"]
        tried = {s: self.peft(s)["tokens_per_s"] for s in wanted}
        for setting, rate in sorted(tried.items(), key=lambda item: -item[1]):
            print(f"PEFT {name(setting):28} {rate:7.1f} tokens/s", flush=True)
        return max(tried, key=tried.get), {name(s): rate for s, rate in tried.items()}

    def compare(self, formats):
        best, settings = self.best_setting()
        sides = {"peft": [], **{f: [] for f in formats}}
        for number in range(self.args.runs):
            sides["peft"].append(self.peft(best))
            for f in formats:
                sides[f].append(self.ours(f, whole=number == 0))
        theirs = self.summary(sides["peft"])
        found = {}
        for f in formats:
            mine = self.summary(sides[f])
            found[f] = {
                "tokens": self.what,
                "base_format": f,
                "peft_setting": name(best),
                "peft_settings": settings,
                "smidgen": mine,
                "peft": theirs,
                "speed_ratio": harness.ratio(mine["tokens_per_s"], theirs["tokens_per_s"]),
                "memory_ratio": harness.ratio(mine["peak_mb"], theirs["peak_mb"]),
                "losses_agree": abs(mine["losses"][-1] / theirs["losses"][-1] - 1) < 0.01,
                **{key: sides[f][0][key] for key in ("gemm_share", "gemm_gflops", "square_gflops", "copy_gb_per_s", "products", "step_s", "base_mb")},
            }
        return found

    def summary(self, runs):
        return {key: harness.spread([r[key] for r in runs]) for key in ("tokens_per_s", "peak_mb")} | {"losses": runs[0]["losses"]}


def trainable_formats():
    rows = harness.call([harness.SMIDGEN, "list", "formats", "--json"])
    names = [row["name"] for row in (rows if isinstance(rows, list) else rows.get("formats", []))]
    return [n for n in names if n != "stored"]


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--case", nargs="+", default=["2x512"], help=f"of {' '.join(CASES)}, all, or SxL")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--base-format", default="bf16")
    parser.add_argument("--memory", default="fast", help="smidgen's memory mode: fast, lean or checkpoint")
    parser.add_argument("--setting", help="one of PEFT's settings, as printed; all are tried when it is left out")
    args = harness.parsed(parser)
    args.skip = 3
    if args.quick:
        args.steps, args.skip = 2, 1
    wanted = CASES if args.case == ["all"] else args.case
    result, rows = {"rank": args.rank, "memory": args.memory, "cases": {}}, []
    with tempfile.TemporaryDirectory() as scratch:
        folder = harness.folder_of(args.model, scratch)
        for what in wanted:
            print(f"-- {what}", flush=True)
            formats = trainable_formats() if what == "formats" else [args.base_format]
            case = Case("2x512" if what == "formats" else what, folder, scratch, args)
            for f, entry in case.compare(formats).items():
                key = f"{what}: {f}" if what == "formats" else what
                result["cases"][key] = entry
                for side in ("smidgen", "peft"):
                    t, m = entry[side]["tokens_per_s"], entry[side]["peak_mb"]
                    rows.append([f"{key} {side}", t["median"], t["least"], t["most"], m["median"], entry[side]["losses"][-1]])
                rows.append([f"{key} ratio", entry["speed_ratio"], "", "", entry["memory_ratio"], "" if entry["losses_agree"] else "VOID"])
    harness.table(["", "tokens/s", "least", "most", "peak MB", "last loss"], rows)
    for key, e in result["cases"].items():
        print(f"{key}: PEFT {e['peft_setting']}; products alone {e['gemm_gflops']:.0f} GFLOP/s (large square {e['square_gflops']:.0f}), share {e['gemm_share']:.2f}")
    harness.write(args, result, "step")


if __name__ == "__main__":
    main()
