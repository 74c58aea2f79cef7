#!/usr/bin/env python3
"""Writes docs/performance.md, and its roofline as SVG, from the JSON files that `make bench` leaves in build/bench/results.

    performance.py [--results FOLDER] [--docs FOLDER] [--quick]

A script's result is NAME.json; NAME_*.json are those of further calls (--out), whose cases join it.

Every figure of the page comes out of a file; nothing is typed in. Results of a `--quick` run are refused, since their
figures mean nothing; --quick lets them pass, to see that the script works.
"""

import argparse
import json
import math
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def number(value):
    if value == 0 or not math.isfinite(value):
        return str(value)
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def spread(entry):
    return f"{number(entry['median'])} ({number(entry['least'])}-{number(entry['most'])})"


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(map(str, row)) + " |\n" for row in lines)


def agreement(entry):
    """A base that was quantised is another model, whose losses need not be the peer's."""
    if entry["losses_agree"]:
        return "yes"
    return "another base" if entry["base_format"] == "nf4" else "NO: void"


def step_section(result):
    rows, settings = [], set()
    for case, e in result["cases"].items():
        ours, theirs = e["smidgen"], e["peft"]
        settings.add(e["peft_setting"])
        rows.append(
            [case, spread(ours["tokens_per_s"]), spread(theirs["tokens_per_s"]), f"{e['speed_ratio']:.2f}"]
            + [number(ours["peak_mb"]["median"]), number(theirs["peak_mb"]["median"]), f"{e['memory_ratio']:.2f}", agreement(e)]
        )
    text = "## A tuning step, against PEFT\n\nMedian (least-most) of runs that took turns; memory is the most that the process ever held, loading included. "
    text += f"PEFT: {', '.join(sorted(settings))}.\n\n"
    text += table(["case", "smidgen, tokens/s", "PEFT, tokens/s", "times", "smidgen, MB", "PEFT, MB", "times", "losses agree"], rows)
    return text


def profile_section(result):
    """The first case that tells its products, of those with a bf16 base where there are any."""
    for case, e in sorted(result["cases"].items(), key=lambda item: item[1].get("base_format") != "bf16"):
        if "products" not in e:
            continue
        rows = [[f"{p['out']} x {p['in']}", p["count"], number(p["gflops"]), number(p["flops_per_byte"]), f"{100 * p['share']:.0f} %"] for p in e["products"]]
        rest = 1 - e["gemm_share"]
        text = f"## Where the time of a step goes ({case})\n\nThe products with frozen weights, each timed alone in torch at the step's number of rows, and its share of the step's time. "
        text += f"Everything else (attention, norms, loss, adapter, optimiser, and products slower or faster than torch's) is {100 * rest:.0f} %.\n\n"
        text += table(["weight", "of them", "GFLOP/s", "flops a byte", "share"], rows)
        return text + "\n![Roofline](performance_roofline.svg)\n", roofline(e, case)
    return "", None


def roofline(entry, case):
    """Rate over arithmetic intensity, both logarithmic: the roof is the copy rate below and a large product's rate above."""
    width, height, left, bottom = 560, 340, 60, 45
    roof, slope = entry["square_gflops"], entry["copy_gb_per_s"]
    points = [(p["flops_per_byte"], p["gflops"], f"{p['out']}x{p['in']}") for p in entry["products"]]
    low_x, high_x = 0.25, 10 ** math.ceil(math.log10(max(x for x, *_ in points) * 1.2))
    low_y, high_y = 10 ** math.floor(math.log10(low_x * slope)), 10 ** math.ceil(math.log10(roof * 1.2))

    def at(x, y):
        across = (math.log(x) - math.log(low_x)) / (math.log(high_x) - math.log(low_x))
        up = (math.log(y) - math.log(low_y)) / (math.log(high_y) - math.log(low_y))
        return left + across * (width - left - 20), height - bottom - up * (height - bottom - 35)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">']
    parts.append(f'<rect width="{width}" height="{height}" fill="#ffffff"/><text x="{left}" y="20" font-size="13">Roofline: products of a step, {case}</text>')
    for exponent in range(math.floor(math.log10(low_y)), math.ceil(math.log10(high_y)) + 1):
        x, y = at(low_x, 10.0**exponent)
        parts.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{width - 20}" y2="{y:.1f}" stroke="#e0e0e0"/><text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{10**exponent:g}</text>')
    for exponent in range(0, math.ceil(math.log10(high_x)) + 1):
        x, y = at(10.0**exponent, low_y)
        parts.append(f'<line x1="{x:.1f}" y1="35" x2="{x:.1f}" y2="{y:.1f}" stroke="#e0e0e0"/><text x="{x:.1f}" y="{y + 15:.1f}" text-anchor="middle">{10**exponent:g}</text>')
    corners = [at(low_x, low_x * slope), at(roof / slope, roof), at(high_x, roof)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    parts.append(f'<polyline points="{path}" fill="none" stroke="#444444" stroke-width="2"/>')
    for x, y, _ in points:
        px, py = at(x, y)
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="#c2571a"/>')
    # They lie too near each other for labels of their own.
    for line, text in enumerate(["from left to right:", *(label for *_, label in sorted(points))]):
        parts.append(f'<text x="{width - 150}" y="{height - bottom - 130 + 15 * line}">{text}</text>')
    parts.append(f'<text x="{(width + left) / 2}" y="{height - 8}" text-anchor="middle">flops a byte</text>')
    parts.append(f'<text x="14" y="{height / 2}" text-anchor="middle" transform="rotate(-90 14 {height / 2})">GFLOP/s</text></svg>')
    return "\n".join(parts) + "\n"


def load_section(result):
    rows = []
    for case, whats in result["cases"].items():
        for what, e in whats.items():
            if isinstance(e, dict) and "speed_ratio" in e:
                rows.append([f"{case}: {what[:-2]}", spread(e["smidgen"]), spread(e["peer"]), f"{e['speed_ratio']:.1f}"])
    return "## Loading, against transformers and PEFT\n\nSeconds, files in the page cache, imports not counted.\n\n" + table(["what", "smidgen", "transformers", "times faster"], rows)


def plan_section(result):
    rows = [[f"{c['tokens']} {' '.join(c['flags'])}", *(number(c[k]) for k in ("planned_s", "step_s", "time_ratio", "planned_mb", "peak_mb", "memory_ratio"))] for c in result["cases"]]
    return "## Plans against what happened\n\n" + table(["case", "planned, s", "real, s", "ratio", "planned, MB", "real, MB", "ratio"], rows)


def peer_section(title):
    """Scripts whose cases are {smidgen, peer, speed_ratio}."""

    def section(result):
        rows = [[case, spread(e["smidgen"]), spread(e["peer"]), f"{e['speed_ratio']:.1f}"] for case, e in result["cases"].items() if "speed_ratio" in e and "peer" in e]
        return f"## {title}\n\n" + table(["case", "smidgen", "peer", "times"], rows) if rows else ""

    return section


def memory_section(result):
    rows = [[side, number(e["peak_mb"]["median"]), number(e["activation_mb"]["median"]) if "activation_mb" in e else "-", spread(e["tokens_per_s"]), f"{e['last_loss']:.4f}"] for side, e in result["cases"].items()]
    text = f"## Memory modes, {result['tokens']} tokens\n\nMost that the process ever held, and of it the most that tensors took beside weights.\n\n"
    return text + table(["side", "MB", "activations, MB", "tokens/s", "last loss"], rows)


def blocks_section(result):
    rows = []
    for name, e in result["cases"].items():
        mine, loss, whole = e["smidgen"], e["losses"][-1], e["dequantised_losses"][-1]
        rows.append([name, spread(mine["tokens_per_s"]), f"{e['speed_ratio']:.2f}", spread(mine["peak_mb"]), number(e["bound_mb"]["bound"]), f"{e['memory_ratio']:.2f}", f"{100 * (loss / whole - 1):+.3f} %"])
    peer = next(iter(result["cases"].values()))["peft"]
    text = f"## A base that stays in GGUF's blocks, {result['tokens']} tokens\n\nRandom weights, 16 layers of width 768; PEFT tunes the same weights in bf16 under autocast, compiled: {spread(peer['tokens_per_s'])} tokens/s, {spread(peer['peak_mb'])} MB. "
    text += "The bound is an idle program with libtorch, the blocks once, 16 bytes a trainable value, the planned activations, and 60 MB. The last column is the difference of the last loss from that of the file's values in fp32.\n\n"
    return text + table(["base", "tokens/s", "times PEFT", "MB", "bound, MB", "of PEFT's", "loss"], rows)


def generate_section(result):
    sides = ["smidgen", "llama.cpp", "transformers"]
    rows = [[case, *(spread(e[side]) for side in sides), *(f"{e['speed_ratios'][side]:.2f}" for side in sides[1:])] for case, e in result["cases"].items()]
    text = "## Generating, against llama.cpp and transformers\n\nTokens a second: median (least-most) of runs that took turns. llama.cpp and smidgen read the GGUF file, transformers its values as bf16.\n\n"
    text += table(["case", *sides, "times llama.cpp", "times transformers"], rows)
    if near := result.get("nearness"):
        text += f"\nAgainst the model of the file's own values in fp32, over {result['tokens']} held-out tokens:\n\n"
        text += table(["side", "mean KL", "standard error", "same likeliest token"], [[s, number(n["mean_kl"]), number(n["kl_error"]), f"{100 * n['top1']:.2f} %"] for s, n in near.items()])
    return text


def merge_section(result):
    rows = []
    for method, e in result["cases"].items():
        sides = [spread(e[side]["seconds"]) for side in ("smidgen", "mergekit", "copy")]
        peaks = [number(e[side]["peak_mb"]["median"]) for side in ("smidgen", "mergekit")]
        rows.append([f"{method}, {e['gigabytes']:.1f} GB each", *sides, f"{e['speed_ratio']:.1f}", f"{100 * e['share_of_copy']:.0f} %", *peaks, f"{100 * e['difference']['equal']:.2f} %"])
    text = "## Merging, against mergekit\n\nSeconds from start to end, the output synced; 'copy' reads every input, writes one output and does nothing else, and 'of copy' is its speed that is reached. "
    text += "Values differ where magnitudes are equal at a threshold (`ties`), where masks are random (`dare_ties`), and by the last bit of bf16 (`slerp`).\n\n"
    return text + table(["method", "smidgen", "mergekit", "copy", "times mergekit", "of copy", "smidgen, MB", "mergekit, MB", "equal values"], rows)


def compress_section(result):
    rows = []
    for case, e in result["cases"].items():
        sides = [spread(e[side]) for side in ("smidgen", "peer", "two reads")]
        rows.append([case, *sides, f"{e['speed_ratio']:.1f}", f"{100 * e['share_of_two_reads']:.0f} %", f"{e['of_entropy']:.4f}"])
    text = f"## Compressing an adapter of {result['millions']:g} million values, against torch and NumPy\n\nSeconds of the work itself, without the start of a process, to the same bytes. 'Two reads' is all cores reading the file twice.\n\n"
    return text + table(["codec, density", "smidgen", "torch, NumPy", "two reads", "times", "of two reads", "size over the entropy"], rows)


def int8_section(result):
    rows = [[r["seed"], f"`{r['base_format']}`", f"{r['loss']:.4f}", f"{100 * r['over_bf16']:+.2f} %", f"[{r['interval'][0]:.4f}, {r['interval'][1]:.4f}]", f"{r['on_bf16']:.4f}"] for r in result["rows"]]
    text = f"## What 8-bit products cost in loss\n\nHeld-out loss of the demo's data after {result['steps']} steps of {result['tokens']} tokens, with the base that was trained on, and of the adapter on a bf16 base. "
    text += "The interval is that of the difference from bf16's loss of that seed (paired bootstrap over samples, 95 %).\n\n"
    return text + table(["seed", "base", "loss", "against bf16", "interval", "adapter on bf16"], rows)


def together(results):
    """Results of several calls of one script: the cases of all."""
    whole = dict(results[0])
    if isinstance(whole.get("cases"), list):
        whole["cases"] = [entry for result in results for entry in result["cases"]]
    elif "cases" in whole:
        whole["cases"] = {case: entry for result in results for case, entry in result["cases"].items()}
    return whole


SECTIONS = {"step": step_section, "blocks": blocks_section, "load": load_section, "plan": plan_section, "tokenizer": peer_section("Tokenizing, seconds"), "generate": generate_section, "memory": memory_section, "int8": int8_section, "merge": merge_section, "compress": compress_section, "overlap": peer_section("Overlap of two adapters of SmolLM2, seconds")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "bench" / "results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    found = {}
    for name in SECTIONS:
        paths = [*args.results.glob(f"{name}.json"), *sorted(args.results.glob(f"{name}_*.json"))]
        if paths:
            found[name] = [json.loads(path.read_text()) for path in paths]
    if not found:
        raise SystemExit(f"no results in {args.results}: make bench")
    quick = [name for name, results in found.items() if any(result.get("quick") for result in results)]
    if quick and not args.quick:
        raise SystemExit(f"results of a quick run, which mean nothing: {' '.join(quick)}")
    machines = {json.dumps(result["machine"]) for results in found.values() for result in results}
    if len(machines) > 1:
        raise SystemExit("the results come from different machines: " + "; ".join(machines))
    machine = json.loads(machines.pop())
    text = f"# Performance\n\nWritten by `scripts/performance.py` from what scripts of `bench/` measured on {machine['cores']} cores of {machine['processor']}. A claim is a ratio against the peer in one run.\n"
    picture = None
    for name, results in found.items():
        result = together(results)
        section = SECTIONS[name](result)
        if not section:
            continue
        calls = "".join(f"$ .venv/bin/python {r['command']}\n" for r in results)
        text += f"\n{section}\n```console\n{calls}```\n"
        if name == "step":
            profile, picture = profile_section(result)
            text += f"\n{profile}" if profile else ""
    (args.docs / "performance.md").write_text(text)
    if picture:
        (args.docs / "performance_roofline.svg").write_text(picture)


if __name__ == "__main__":
    main()
