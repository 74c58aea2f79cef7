"""ComPEFT (arXiv 2311.13171): how small an adapter gets, and what it then still knows, on adapters of four tasks
(papers/deltas.py). Writes results.json and plot.svg.

What is compressed: the adapter as it was tuned, as ComPEFT does, or `balanced`: the same function with each module's A multiplied by a
number and B divided by it, so that both have the same standard deviation. One threshold is for all values, and LoRA's B starts at zero.

How: `norm`, signs with the scale that keeps the update's norm; `one`, alpha 1, what the paper recommends for bases of 13B and more;
`prune`, the kept values as they were.

  python papers/11-compeft/experiment.py [--seeds 0,1,2]

What was computed before is taken from build/papers.
"""

import argparse
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import deltas  # noqa: E402

# What is compressed, how, and the densities.
KINDS = [("tuned", "norm", 0.05), ("tuned", "norm", 0.2), ("tuned", "norm", 0.5), ("tuned", "prune", 0.2), ("balanced", "norm", 0.05),
         ("balanced", "norm", 0.2), ("balanced", "norm", 0.5), ("balanced", "prune", 0.2), ("balanced", "one", 0.2)]  # fmt: skip
FORMS = {"tuned": ["--balance=false"], "balanced": ["--balance"]}
SETTINGS = {"norm": ["--alpha", "norm"], "one": ["--alpha", "1"], "prune": ["--mode", "prune"]}
KEPT = ("elements", "kept", "bits", "entropy", "code_bytes", "exact_bytes", "source_bytes", "relative_error", "alpha", "fit", "sigma")


def compress(source, out, density, more):
    """The report of one compressed adapter, without its table of tensors, and how the kept values lie in A and B."""
    shutil.rmtree(out, ignore_errors=True)
    report = deltas.call_json("compress", source, "--out", out, "--density", density, *more)
    sides = {}
    for side in ("lora_A", "lora_B"):
        sides[side] = deltas.mean(t["density"] for t in report["tensors"] if side in t["name"])
    return {k: report[k] for k in KEPT if k in report} | {"density_of": sides}


def scored(task, seed, form, how, density):
    """{"report", "score"} of one compressed adapter on the test rows of its task."""
    source = deltas.adapter(task, seed)
    key = [deltas.digest(deltas.base()), deltas.digest(source), FORMS[form], how, density, deltas.digest(deltas.data(task)["test"])]

    def compute():
        out = deltas.HOME / "compressed" / f"{task}-{seed}"
        report = compress(source, out, density, [*SETTINGS[how], *FORMS[form]])
        return {"report": report, "score": deltas.score_of(deltas.base, "test", key, out, (task,))[task]}

    return deltas.remembered("compressed", key, compute)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default=",".join(map(str, deltas.SEEDS)))
    seeds = [int(seed) for seed in parser.parse_args().seeds.split(",")]
    base = deltas.score(deltas.base())
    results = {"seeds": seeds, "base": base, "whole": {}, "compressed": {}}
    for seed in seeds:
        results["whole"][seed] = {t: deltas.score(deltas.base(), deltas.adapter(t, seed), tasks=(t,))[t] for t in deltas.TASKS}
    for kind in KINDS:
        rows = []
        for seed in seeds:
            for task in deltas.TASKS:
                found = scored(task, seed, *kind)
                share = deltas.share_kept({task: found["score"]}, base, {task: results["whole"][seed][task]})
                rows.append({"task": task, "seed": seed, "share": share} | found)
        results["compressed"][" ".join(map(str, kind))] = rows
        deltas.keep(HERE, results)
        print("  " + " ".join(f"{cell:>16}" for cell in [*map(str, kind), *cells(rows, seeds)]), flush=True)
    table(results)
    draw(results)


def by_seed(rows, seeds, value):
    return [deltas.mean(value(row) for row in rows if row["seed"] == seed) for seed in seeds]


def cells(rows, seeds):
    shares = by_seed(rows, seeds, lambda row: row["share"])
    right = by_seed(rows, seeds, lambda row: row["score"]["accuracy"])
    reports = [row["report"] for row in rows]
    bits = deltas.mean(8 * r["code_bytes"] / r["elements"] for r in reports)  # of prune: kept values as well
    return [f"{bits:.3f}", f"{16 / bits:.1f}", f"{deltas.mean(shares):.2f} +- {deltas.spread(shares):.2f}",
            f"{deltas.mean(right):.3f} +- {deltas.spread(right):.3f}",
            " / ".join(f"{deltas.mean(r['density_of'][side] for r in reports):.2f}" for side in ("lora_A", "lora_B"))]


def table(results):
    def line(name, shares, right):
        print(f"| {name} | | | {shares} | {right} | |")

    print("| | bits a value | times smaller than 16 bits | share of the gain | accuracy | density of A / B |\n|---|---|---|---|---|---|")
    line("base", "0", f"{deltas.accuracy(results['base']):.3f}")
    whole = [deltas.accuracy(results["whole"][seed]) for seed in results["seeds"]]
    line("whole adapter", "1", f"{deltas.mean(whole):.3f} +- {deltas.spread(whole):.3f}")
    for name, rows in results["compressed"].items():
        print(f"| {name} | " + " | ".join(cells(rows, results["seeds"])) + " |")


def draw(results):
    seeds = results["seeds"]
    shares, right = {}, {}
    for name, rows in results["compressed"].items():
        kind, density = name.rsplit(" ", 1)
        for lines, value in ((shares, lambda row: row["share"]), (right, lambda row: row["score"]["accuracy"])):
            found = by_seed(rows, seeds, value)
            lines.setdefault(kind, []).append((float(density), deltas.mean(found), deltas.spread(found)))
    whole = deltas.mean(deltas.accuracy(results["whole"][seed]) for seed in seeds)
    deltas.plot(HERE / "plot.svg", [
        {"title": "share of the fall in loss that is kept", "x": "density", "lines": shares, "levels": {"whole adapter": 1.0}},
        {"title": "accuracy, mean of four tasks", "x": "density", "lines": right,
         "levels": {"whole adapter": whole, "base": deltas.accuracy(results["base"])}},
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
