"""Loading a model, and an adapter on it, against transformers and PEFT: seconds from files to a model that can run.

Both sides take turns, each run in a process of its own; starting Python and importing libraries is not counted. Files
are in the page cache. A GGUF file and the same model as a safetensors folder are loaded, then a LoRA adapter of PEFT's
format; smidgen also checks the adapter's base where the adapter names it, whose digest it keeps between runs.

  python bench/load.py [--model GGUF] [--runs 5] [--quick] [--out FILE.json]

Needs a built smidgen (build/release) and the development requirements.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import harness


def train_adapter(model, folder):
    """A small adapter in PEFT's layout, with smidgen's note of its base."""
    data = folder.parent / "data.jsonl"
    data.write_text("".join(json.dumps({"text": f"line {i} of some text to learn"}) + "\n" for i in range(8)))
    argv = [harness.SMIDGEN, "tune", "--model", model, "--data", data, "--out", folder, "--max-steps", 1, "--batch-tokens", 64]
    subprocess.run([str(a) for a in argv] + ["--samples", "0", "--quiet"], check=True)
    return folder / "adapter"


def main():
    args = harness.parsed(harness.arguments(__doc__))
    result = {"cases": {}}
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = harness.folder_of(args.model, scratch)
        adapter = train_adapter(folder, Path(scratch) / "run")
        cases = {"safetensors": folder}
        if args.model.suffix == ".gguf":
            cases["gguf"] = args.model
        for case, model in cases.items():
            with_adapter = ["--adapter", adapter] if case == "safetensors" else []
            ours, theirs = [], []
            for _ in range(args.runs):
                ours.append(harness.call([harness.SMIDGEN, "bench", "load", "--model", model, *with_adapter, "--steps", 1, "--json"]))
                theirs.append(harness.peer("hf_load.py", "--model", model, *with_adapter))
            for what in ("total_s", "weights_s", "tokenizer_s", "adapter_s"):
                if what not in ours[0] or what not in theirs[0]:
                    continue
                a, b = (harness.spread([run[what] for run in side]) for side in (ours, theirs))
                entry = {"smidgen": a, "peer": b, "speed_ratio": b["median"] / a["median"]}
                result["cases"].setdefault(case, {})[what] = entry
                rows.append([f"{case}: {what[:-2]}", a["median"], a["least"], a["most"], b["median"], entry["speed_ratio"]])
            result["cases"][case]["digest_s"] = harness.spread([run["digest_s"] for run in ours])
    harness.table(["seconds", "smidgen", "least", "most", "transformers", "times faster"], rows)
    harness.write(args, result, "load")


if __name__ == "__main__":
    main()
