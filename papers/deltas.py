"""What papers 03, 04 and 11 work on: four tasks, LoRA adapters of SmolLM2 tuned on them from three seeds, and scores.

  python papers/deltas.py [--tasks NAME,...] [--seeds 0,1,2]   makes what is missing in build/papers

Tasks are questions with a few answers, scored by accuracy and by the loss over the choices (eval --choices). Rows are balanced
over the answers. An interrupted run is resumed.

Needs a built smidgen (build/release, or SMIDGEN_BIN), `make demo`'s model, and pip and apt-get for the sets.
"""

import argparse
import functools
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "build" / "papers"
SMIDGEN = Path(os.environ.get("SMIDGEN_BIN", ROOT / "build" / "release" / "smidgen"))
COLOURS = ["#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a"]

# The script of scripts/data, what it is told, and the rows of each answer that tuning, choosing and testing get.
TASKS = {
    "news": {"script": "reuters_r8.py", "options": ["--max-chars", "160"], "rows": (60, 3, 6)},
    "tweets": {"script": "election_tweets.py", "options": [], "rows": (200, 12, 24)},
    "fortunes": {"script": "fortune_topics.py", "options": ["--max-chars", "160"], "rows": (70, 4, 8)},
    "languages": {"script": "manpage_languages.py", "options": ["--max-chars", "120"], "rows": (70, 4, 8)},
}
SEEDS = (0, 1, 2)
PLAIN = ["--chat-template", "none"]  # as tuning.yaml has it: the answer follows the prompt


def base():
    found = sorted((ROOT / "build" / "demo").glob("*.gguf"))
    if not found:
        raise SystemExit("build/demo holds no model: run `make demo`, or scripts/data/smollm2.py --out build/demo")
    return found[0]


# ---------------------------------------------------------------------------------------------- the program
def flags(settings):
    return [word for key, value in settings.items() for word in ("--" + key.replace("_", "-"), str(value))]


def call(*argv, fails=False):
    """What the program prints. With `fails`, None where it refuses."""
    env = {"SMIDGEN_THREADS": "2"} | os.environ | {"NO_COLOR": "1", "OMP_WAIT_POLICY": "passive"}
    env.pop("SMIDGEN_BIN", None)  # no option of the program
    done = subprocess.run([str(SMIDGEN), *map(str, argv)], capture_output=True, text=True, env=env)
    if done.returncode and fails:
        return None
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}\n{done.stderr}")
    return done.stdout


def call_json(*argv):
    return json.loads(call(*argv, "--json").strip().splitlines()[-1])


def tune(out, model, data, *, recipe=ROOT / "papers" / "tuning.yaml", **settings):
    """Makes a run folder; one that is whole is left alone, one that was interrupted goes on. The seconds it took."""
    if (out / "DONE").exists():
        return json.loads((out / "DONE").read_text())["seconds"]
    start = time.time()
    more = ["--resume"] if (out / "checkpoints").exists() and any((out / "checkpoints").iterdir()) else []
    if not more:
        shutil.rmtree(out, ignore_errors=True)
    start_from = ["--recipe", recipe] if recipe else []
    call("tune", *start_from, "--model", model, "--data", data, "--out", out, *flags(settings), "--quiet", *more)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    spent = round(time.time() - start, 1)
    (out / "DONE").write_text(json.dumps({"seconds": spent}))
    return spent


# ---------------------------------------------------------------------------------------------- data
def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def some(rows, counts):
    """For each count so many rows of each answer, one list after the other, in the order of the file."""
    out, taken = [[] for _ in counts], {}
    for row in rows:
        have = taken[row["completion"]] = taken.get(row["completion"], 0) + 1
        part = next((i for i in range(len(counts)) if have <= sum(counts[: i + 1])), None)
        if part is not None:
            out[part].append(row)
    return out


def data(task):
    """{"train", "choose", "test"}: files of a task."""
    folder = HOME / "data" / task
    files = {part: folder / f"{part}.jsonl" for part in ("train", "choose", "test")}
    if not files["test"].exists():
        spec = TASKS[task]
        made = HOME / "sets" / task
        script = ROOT / "scripts" / "data" / spec["script"]
        subprocess.run([sys.executable, str(script), "--out", str(made), *spec["options"]], check=True, stdout=subprocess.DEVNULL)
        train, choose, test = spec["rows"]
        write(files["train"], some(read(made / "train.jsonl"), [train])[0])
        held = some(read(made / "heldout.jsonl"), [choose, test])
        write(files["choose"], held[0])
        write(files["test"], held[1])
    return files


def adapter(task, seed):
    return HOME / "adapters" / f"{task}-{seed}" / "adapter"


def make(tasks=tuple(TASKS), seeds=SEEDS):
    """Tunes what is missing; whole seeds one after the other."""
    for seed in seeds:
        for task in tasks:
            spent = tune(adapter(task, seed).parent, base(), data(task)["train"], seed=seed)
            print(f"  {task:10} seed {seed}: {spent:6.1f} s", flush=True)


# ---------------------------------------------------------------------------------------------- scores
@functools.cache
def digest(path):
    """Of the weights and configuration of an adapter or model folder, or of a file."""
    path = Path(path)
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.suffix in (".safetensors", ".json"))
    total = hashlib.sha256()
    for file in files:
        with open(file, "rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def remembered(kind, key, compute):
    """compute(), or what it gave for an equal key before: build/papers/KIND.json."""
    path = HOME / f"{kind}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    name = json.dumps(key, sort_keys=True)
    if name not in known:
        value = compute()
        known = json.loads(path.read_text()) if path.exists() else {}  # another part may have written meanwhile
        known[name] = value
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(known, indent=1) + "\n")
        partial.replace(path)
    return known[name]


def score_of(model, part, key, adapter_path=None, tasks=tuple(TASKS)):
    """{task: {"accuracy", "loss"}}. model() makes or finds the model, where it is needed; `key` says what it was made from."""
    files = {task: data(task)[part] for task in tasks}

    def compute():
        listed = ",".join(map(str, files.values()))
        more = ["--adapter", adapter_path] if adapter_path else []
        said = call_json("eval", "--model", model(), "--data", listed, "--choices", "auto", *PLAIN, *more)
        return {task: {k: one[k] for k in ("accuracy", "loss")} for task, one in zip(tasks, said["files"])}

    return remembered("scores", {"of": key, "data": {task: digest(file) for task, file in files.items()}}, compute)


def score(model, adapter_path=None, part="test", tasks=tuple(TASKS)):
    """The same of a model and an adapter that are kept: their digests are the key."""
    key = [digest(model), digest(adapter_path) if adapter_path else ""]
    return score_of(lambda: model, part, key, adapter_path, tasks)


def share_kept(scores, before, expert):
    """Of the fall of the loss that each task's own adapter brings, the part that is there; the mean over tasks.

    0 is the base, 1 the experts. A loss, not accuracy: 48 questions a task leave accuracy in steps of 0.02.
    """
    return mean((before[t]["loss"] - scores[t]["loss"]) / (before[t]["loss"] - expert[t]["loss"]) for t in scores)


def accuracy(scores):
    return mean(one["accuracy"] for one in scores.values())


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def spread(values):
    """Standard deviation over seeds; 0 for one."""
    values = list(values)
    middle = mean(values)
    return math.sqrt(sum((v - middle) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else 0.0


def keep(folder, results):
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")


# ---------------------------------------------------------------------------------------------- plots
def plot(path, panels, *, columns=2, width=960, panel_height=250):
    """Lines as SVG. A panel is {"title", "x", "lines": {name: [(x, y, spread), ...]}, "levels": {name: y}}; a bar is y +- spread."""
    rows = math.ceil(len(panels) / columns)
    names = list(dict.fromkeys(name for panel in panels for name in panel["lines"]))
    height = rows * (panel_height + 70) + 24 * math.ceil(len(names) / 4) + 8
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">']
    out.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    wide = width / columns - 80
    for k, panel in enumerate(panels):
        left, top = 58 + (k % columns) * width / columns, 34 + (k // columns) * (panel_height + 70)
        points = [p for line in panel["lines"].values() for p in line] + [(None, y, 0) for y in panel.get("levels", {}).values()]
        xs = sorted({x for x, *_ in points if x is not None})
        low, high = min(y - s for _, y, s in points), max(y + s for _, y, s in points)
        pad = (high - low) * 0.08 or 0.05
        low, high = low - pad, high + pad

        def place(x, left=left, xs=xs):
            return left + wide * (xs.index(x) / max(1, len(xs) - 1))  # the values that were measured, evenly

        def rise(y, top=top, low=low, high=high):
            return top + (high - y) / (high - low) * panel_height

        out.append(f'<text x="{left}" y="{top - 14}" font-weight="bold">{panel["title"]}</text>')
        for i in range(5):
            y = low + (high - low) * (i + 0.5) / 5
            out.append(f'<line x1="{left}" x2="{left + wide}" y1="{rise(y):.1f}" y2="{rise(y):.1f}" stroke="#e3e3e3"/>')
            out.append(f'<text x="{left - 6}" y="{rise(y) + 4:.1f}" text-anchor="end">{y:.2f}</text>')
        for x in xs:
            out.append(f'<text x="{place(x):.1f}" y="{top + panel_height + 16}" text-anchor="middle">{x:g}</text>')
        out.append(f'<text x="{left + wide / 2:.1f}" y="{top + panel_height + 32}" text-anchor="middle">{panel["x"]}</text>')
        for name, y in panel.get("levels", {}).items():
            out.append(f'<line x1="{left}" x2="{left + wide}" y1="{rise(y):.1f}" y2="{rise(y):.1f}" stroke="#888" stroke-dasharray="5 4"/>')
            out.append(f'<text x="{left + wide}" y="{rise(y) - 4:.1f}" text-anchor="end" fill="#555">{name}</text>')
        for name, line in panel["lines"].items():
            number = names.index(name)
            colour = COLOURS[number % len(COLOURS)]
            aside = 5 * (number - (len(names) - 1) / 2)  # so that bars of one x stand beside each other
            spots = [(place(x) + aside, y, s) for x, y, s in sorted(line)]
            joined = " ".join(f"{x:.1f},{rise(y):.1f}" for x, y, _ in spots)
            out.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')
            out += [f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{rise(y + s):.1f}" y2="{rise(y - s):.1f}" stroke="{colour}"/>' for x, y, s in spots]
            out += [f'<circle cx="{x:.1f}" cy="{rise(y):.1f}" r="3" fill="{colour}"/>' for x, y, _ in spots]
    for i, name in enumerate(names):
        x, y = 58 + (i % 4) * width / 4.2, rows * (panel_height + 70) + 12 + 24 * (i // 4)
        out.append(f'<rect x="{x:.0f}" y="{y - 10}" width="12" height="12" fill="{COLOURS[i % len(COLOURS)]}"/>')
        out.append(f'<text x="{x + 18:.0f}" y="{y}">{name}</text>')
    path.write_text("\n".join([*out, "</svg>"]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    args = parser.parse_args()
    make(args.tasks.split(","), [int(seed) for seed in args.seeds.split(",")])


if __name__ == "__main__":
    sys.exit(main())
