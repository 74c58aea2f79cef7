"""Merging whole models against mergekit: wall time and peak memory, in turns in one run, and what the results differ by.

Models of one Llama shape with random weights in bf16 are made once in --scratch (a base, and models that differ from it
by noise). Each side runs in a process of its own from start to end, its output synced inside of the time; inputs are in
the page cache for all. The last row reads every input and writes one output without doing anything else: what the
machine allows.

  python bench/merge.py [--methods linear,slerp,ties,dare_ties] [--gigabytes 1.5] [--runs 5] [--scratch DIR] [--quick] [--out FILE.json]

Needs a built smidgen (build/release) and the development requirements.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import harness

WIDTH, INNER, VOCABULARY, HEADS = 2048, 5632, 32000, 16
RECIPES = {
    "linear": ("linear", "", "weight: 0.5", 2),
    "slerp": ("slerp", "parameters: {t: 0.3}\nbase_model: BASE\n", "", 1),
    "ties": ("ties", "base_model: BASE\n", "weight: 0.5, density: 0.5", 2),
    "dare_ties": ("dare_ties", "base_model: BASE\n", "weight: 0.5, density: 0.5", 2),
}


def make_models(scratch, layers):
    """base, a, b: folders with config.json and one file of weights each."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig

    config = LlamaConfig(hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=layers, num_attention_heads=HEADS,
                         num_key_value_heads=HEADS, vocab_size=VOCABULARY, dtype="bfloat16", architectures=["LlamaForCausalLM"])  # fmt: skip
    shapes = {"model.embed_tokens.weight": (VOCABULARY, WIDTH), "lm_head.weight": (VOCABULARY, WIDTH), "model.norm.weight": (WIDTH,)}
    for layer in range(layers):
        stem = f"model.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"{stem}self_attn.{name}.weight"] = (WIDTH, WIDTH)
        shapes |= {f"{stem}mlp.{name}.weight": (INNER, WIDTH) for name in ("gate_proj", "up_proj")}
        shapes[f"{stem}mlp.down_proj.weight"] = (WIDTH, INNER)
        shapes |= {f"{stem}{name}.weight": (WIDTH,) for name in ("input_layernorm", "post_attention_layernorm")}
    for number, name in enumerate(("base", "a", "b")):
        folder = scratch / name
        if (folder / "model.safetensors").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {}
        for at, (tensor, shape) in enumerate(shapes.items()):
            value = torch.randn(shape, generator=torch.Generator().manual_seed(at)) * 0.02
            if number:
                value += torch.randn(shape, generator=torch.Generator().manual_seed(1000 * number + at)) * 0.004
            tensors[tensor] = value.bfloat16()
        save_file(tensors, folder / "model.safetensors.part", metadata={"format": "pt"})
        config.save_pretrained(folder)
        (folder / "model.safetensors.part").rename(folder / "model.safetensors")


def recipe_of(method, scratch):
    name, top, parameters, others = RECIPES[method]
    text = f"merge_method: {name}\n{top}dtype: float32\nout_dtype: bfloat16\nmodels:\n"
    for model in ["a", "b"][:others]:
        text += f"  - model: {scratch / model}\n" + (f"    parameters: {{{parameters}}}\n" if parameters else "")
    file = scratch / f"{method}.yaml"
    file.write_text(text.replace("BASE", str(scratch / "base")))
    return file


def apart(work, *args):
    """`work(*args)` in a process of its own: what Linux calls a program's peak begins with the size of the process that started it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, args)


def timed(argv, out):
    """Seconds until the program has ended and its output lies on the disk, and MB of its peak."""
    shutil.rmtree(out, ignore_errors=True)
    env = os.environ | {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))), "HF_HUB_OFFLINE": "1"}
    log = open(out.parent / "log.txt", "w")
    begin = time.perf_counter()
    child = subprocess.Popen([str(a) for a in argv], stdout=log, stderr=log, env=env)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    os.sync()
    seconds = time.perf_counter() - begin
    if child.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}\n{Path(log.name).read_text()[-3000:]}")
    return {"seconds": seconds, "peak_mb": usage.ru_maxrss / 1024}


def copy_loop(inputs, out):
    """Reads every input and writes one output, in pieces."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    buffer = bytearray(1 << 22)
    begin = time.perf_counter()
    files = [open(i, "rb", buffering=0) for i in inputs]
    with open(out / "copy", "wb", buffering=0) as to:
        while count := files[0].readinto(buffer):
            for other in files[1:]:
                other.readinto(buffer)
            to.write(memoryview(buffer)[:count])
    os.sync()
    return {"seconds": time.perf_counter() - begin, "peak_mb": 0.0}


def differences(a, b):
    """Largest difference over the largest value, and the share of equal values, over both results."""
    from safetensors import safe_open

    def tensors(folder):
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, "pt") as opened:
                for name in opened.keys():
                    yield name, opened.get_tensor(name)

    theirs, worst, equal, total = dict(tensors(b)), 0.0, 0, 0
    for name, ours in tensors(a):
        other = theirs.pop(name)
        worst = max(worst, ((ours.float() - other.float()).abs().max() / other.float().abs().max()).item())
        equal += (ours == other).sum().item()
        total += ours.numel()
    if theirs:
        raise SystemExit(f"tensors that only one side wrote: {sorted(theirs)[:3]}")
    return {"largest": worst, "equal": equal / total}


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(RECIPES))
    parser.add_argument("--gigabytes", type=float, default=1.5)
    parser.add_argument("--scratch", type=Path, default=harness.ROOT / "build" / "bench" / "merge")
    args = parser.parse_args()
    if args.quick:
        args.runs, args.gigabytes = 1, 0.4
    layer = 2 * (4 * WIDTH * WIDTH + 3 * WIDTH * INNER)
    layers = max(1, round((args.gigabytes * 1e9 - 4 * VOCABULARY * WIDTH) / layer))
    scratch = args.scratch / f"{layers}-layers"
    apart(make_models, scratch, layers)
    mergekit = Path(sys.executable).parent / "mergekit-yaml"
    rows, cases = [], {}
    for method in args.methods:
        recipe = recipe_of(method, scratch)
        models = ["a", "b"] if method == "linear" else ["base", "a"] if method == "slerp" else ["base", "a", "b"]
        outs = {side: scratch / f"out-{side}" for side in ("smidgen", "mergekit", "copy")}
        sides = {
            "smidgen": lambda: timed([harness.SMIDGEN, "merge", recipe, outs["smidgen"]], outs["smidgen"]),
            "mergekit": lambda: timed([mergekit, recipe, outs["mergekit"], "--no-write-model-card", "--allow-crimes"], outs["mergekit"]),
            "copy": lambda: copy_loop([scratch / m / "model.safetensors" for m in models], outs["copy"]),
        }
        runs = {side: [] for side in sides}
        for _ in range(args.runs):
            for side, run in sides.items():
                runs[side].append(run())
        spreads = {side: {key: harness.spread([r[key] for r in done]) for key in done[0]} for side, done in runs.items()}
        ratio = spreads["mergekit"]["seconds"]["median"] / spreads["smidgen"]["seconds"]["median"]
        of_copy = spreads["copy"]["seconds"]["median"] / spreads["smidgen"]["seconds"]["median"]
        size = (scratch / "base" / "model.safetensors").stat().st_size / 1e9
        cases[method] = {"gigabytes": size, **spreads, "speed_ratio": ratio, "share_of_copy": of_copy, "difference": apart(differences, outs["smidgen"], outs["mergekit"])}
        for side, s in spreads.items():
            rows.append([f"{method}: {side}", *(s["seconds"][k] for k in ("median", "least", "most")), s["peak_mb"]["median"], ratio if side == "mergekit" else ""])
        print(method, cases[method]["difference"], flush=True)
        for out in outs.values():
            shutil.rmtree(out, ignore_errors=True)
    harness.table(["", "s", "least", "most", "MB", "times"], rows)
    harness.write(args, {"layers": layers, "cases": cases}, "merge")


if __name__ == "__main__":
    main()
