"""PCB-Merging (arXiv 2410.02396) against averaging, task arithmetic and TIES, on adapters of four tasks. Writes
results.json and plot.svg.

Adapters of one seed (papers/deltas.py) are merged into one model by `smidgen merge`. Each method's scale is chosen over all seeds on
rows that tuning has not seen, by the mean share kept (deltas.share_kept), or with --published is the published one; every seed is
scored with it on other rows.

  python papers/04-pcb-merging/experiment.py [--seeds 0,1,2] [--published] [--methods NAME,...]

What was computed before is taken from build/papers/scores.json.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import deltas  # noqa: E402

# Name: merge method, its density, the scales to choose from; the first is the published one. Averaging has none.
METHODS = {
    "average": ("task_arithmetic", None, [1 / len(deltas.TASKS)]),
    "task arithmetic": ("task_arithmetic", None, [0.4, 0.3, 0.6]),
    "ties 0.2": ("ties", 0.2, [1.0, 0.5, 0.75, 1.5]),
    "pcb 0.05": ("pcb", 0.05, [1.2, 0.4, 0.8, 1.7]),
    "ties 0.1": ("ties", 0.1, [1.0, 0.5, 0.75, 1.5]),
    "pcb 0.1": ("pcb", 0.1, [1.2, 0.4, 0.8, 1.7]),
    "pcb 0.2": ("pcb", 0.2, [1.2, 0.4, 0.8, 1.7]),
}


def recipe(method, density, scale, seed):
    """mergekit's form; TIES has one scale of the merged vector, the others one on each."""
    base = str(deltas.base())
    each = 1.0 if method == "ties" else scale
    shared = {"density": density} if method == "pcb" else {"lambda": scale} if method == "ties" else {}
    own = {"weight": each} | ({"density": density} if method == "ties" else {})
    models = [{"model": f"{base}+{deltas.adapter(task, seed)}", "parameters": own} for task in deltas.TASKS]
    return {"merge_method": method, "base_model": base, "models": models, "parameters": shared, "dtype": "float32"}


def scored(method, density, scale, seed, part):
    """Merges, scores and deletes."""
    spec = recipe(method, density, scale, seed)
    parts = [deltas.digest(deltas.base())] + [deltas.digest(deltas.adapter(task, seed)) for task in deltas.TASKS]
    scratch = deltas.HOME / "merged"
    out = scratch / f"{method}-{density}-{scale}-{seed}"

    def model():
        if not out.exists():
            scratch.mkdir(parents=True, exist_ok=True)
            config = scratch / "recipe.yaml"
            config.write_text(json.dumps(spec, indent=1))  # JSON is YAML
            deltas.call("merge", "--config", config, "--out", out, "--statistics=false", "--digests=false")
        return out

    key = [method, density, scale, parts]
    return deltas.score_of(model, part, key)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default=",".join(map(str, deltas.SEEDS)))
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--methods", default=",".join(METHODS))
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    scratch = deltas.HOME / "merged"
    base = {part: deltas.score(deltas.base(), part=part) for part in (["test"] if args.published else ["choose", "test"])}

    def experts(seed, part):
        """Each task's own adapter on its own task."""
        return {t: deltas.score(deltas.base(), deltas.adapter(t, seed), part, tasks=(t,))[t] for t in deltas.TASKS}

    results = {"seeds": seeds, "base": base["test"], "experts": {}, "chosen": {}, "methods": {}}
    for seed in seeds:
        results["experts"][seed] = experts(seed, "test")
    for name in args.methods.split(","):
        method, density, scales = METHODS[name]
        scales = scales[:1] if args.published else scales
        rated = {}
        for scale in scales if len(scales) > 1 else []:
            found = {seed: scored(method, density, scale, seed, "choose") for seed in seeds}
            rated[scale] = deltas.mean(deltas.share_kept(found[seed], base["choose"], experts(seed, "choose")) for seed in seeds)
        best = max(rated, key=rated.get) if rated else scales[0]
        results["chosen"][name] = {"scale": best, "rated": rated}
        rows = []
        for seed in seeds:
            found = scored(method, density, best, seed, "test")
            rows.append({"share": deltas.share_kept(found, base["test"], results["experts"][seed]), "tasks": found})
            print(f"  {name:16} scale {best:<5.3g} seed {seed}: share kept {rows[-1]['share']:6.3f}  accuracy {deltas.accuracy(found):.3f}", flush=True)
        results["methods"][name] = rows
        shutil.rmtree(scratch, ignore_errors=True)
        deltas.keep(HERE, results)
    table(results)
    draw(results)


def table(results):
    def line(name, rows):
        shares, right = [row["share"] for row in rows], [deltas.accuracy(row["tasks"]) for row in rows]
        cells = [f"{deltas.mean(shares):.2f} +- {deltas.spread(shares):.2f}", f"{deltas.mean(right):.3f} +- {deltas.spread(right):.3f}"]
        cells += [f"{deltas.mean(row['tasks'][task]['accuracy'] for row in rows):.3f}" for task in deltas.TASKS]
        print(f"| {name} | " + " | ".join(cells) + " |")

    print("| | share kept | accuracy | " + " | ".join(deltas.TASKS) + " |")
    print("|---" * (3 + len(deltas.TASKS)) + "|")
    line("base", [{"share": 0.0, "tasks": results["base"]}])
    line("each task's own adapter", [{"share": 1.0, "tasks": tasks} for tasks in results["experts"].values()])
    for name, rows in results["methods"].items():
        scale = results["chosen"][name]["scale"]
        line(f"{name}, scale {scale:g}", rows)


def draw(results):
    def share(name):
        return [row["share"] for row in results["methods"][name]]

    def right(name):
        return [deltas.accuracy(row["tasks"]) for row in results["methods"][name]]

    panels = []
    for title, value in (("share of the experts' fall in loss that is kept", share), ("accuracy, mean of four tasks", right)):
        lines = {kind: [(METHODS[n][1], deltas.mean(value(n)), deltas.spread(value(n))) for n in results["methods"] if n.startswith(kind + " ")] for kind in ("ties", "pcb")}
        levels = {n: deltas.mean(value(n)) for n in ("average", "task arithmetic") if n in results["methods"]}
        panels.append({"title": title, "x": "density", "lines": lines, "levels": levels})
    deltas.plot(HERE / "plot.svg", panels)


if __name__ == "__main__":
    sys.exit(main())
