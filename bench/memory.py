"""How much memory a LoRA tuning step takes in each memory mode, and in HF PEFT with and without gradient checkpointing.

Every run is a process of its own on the same model, ids, rank and targets; the sides take turns. The loss after the
last step is printed beside: a mode that changed it would be void.

  python bench/memory.py [--model GGUF] [--tokens 2x512] [--steps 5] [--runs 5] [--peft bf16] [--quick] [--out FILE.json]

Needs a built smidgen (build/release) and the development requirements.
"""

import tempfile

import harness

MODES = {
    "fast": ["--memory", "fast"],
    "lean": ["--memory", "lean"],
    "checkpoint, every 2nd block": ["--memory", "checkpoint", "--checkpoint-every", "2"],
    "checkpoint": ["--memory", "checkpoint"],
}
KEYS = ("peak_mb", "activation_mb", "tokens_per_s")


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--tokens", default="2x512")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--peft", default="bf16", choices=["fp32", "bf16", "autocast", "none"], help="PEFT's arithmetic; none leaves it out")
    args = harness.parsed(parser)
    if args.quick:
        args.steps, args.tokens = 2, "1x64"
    skip = min(2, args.steps - 1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = harness.folder_of(args.model, scratch)
        ids = harness.random_ids(folder, args.tokens, args.steps, scratch)
        sides = {}
        # The file as it lies and the bf16 folder that PEFT reads.
        for base, model in {"": args.model, ", bf16 base": folder}.items():
            ours = [harness.SMIDGEN, "bench", "step", "--model", model, "--ids-file", ids, "--rank", args.rank, "--alpha", 16, "--steps", args.steps]
            ours += ["--skip", skip, "--learning-rate", 5e-4, "--step-only", "--json"]
            sides |= {f"smidgen {mode}{base}": lambda argv=[*ours, *flags]: harness.call(argv) for mode, flags in MODES.items()}
        if args.peft != "none":
            theirs = ["--model", folder, "--ids", ids, "--mode", args.peft, "--rank", args.rank, "--skip", skip]
            sides[f"PEFT {args.peft}"] = lambda: harness.peer("peft_step.py", *theirs)
            sides[f"PEFT {args.peft}, gradient checkpointing"] = lambda: harness.peer("peft_step.py", *theirs, "--checkpoint")
        runs = {side: [] for side in sides}
        for _ in range(args.runs):
            for side, run in sides.items():
                runs[side].append(run())
    cases, rows = {}, []
    for side, done in runs.items():
        entry = {key: harness.spread([r[key] for r in done]) for key in KEYS if key in done[0]}
        cases[side] = entry | {"last_loss": done[0]["losses"][-1]}
        tensors = entry["activation_mb"]["median"] if "activation_mb" in entry else "-"
        rows.append([side, entry["peak_mb"]["median"], tensors, entry["tokens_per_s"]["median"], done[0]["losses"][-1]])
    harness.table(["", "peak MB", "tensors MB", "tokens/s", "last loss"], rows)
    harness.write(args, {"tokens": args.tokens, "rank": args.rank, "cases": cases}, "memory")


if __name__ == "__main__":
    main()
