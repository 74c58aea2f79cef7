"""Tuning over a frozen base that stays in GGUF's blocks: speed against HF PEFT on the same weights in bf16, and memory against its bound.

The model has random weights and widths that every block format divides (llama.cpp writes the files). PEFT runs in the setting that
bench/step.py finds the fastest. The bound of memory is what an idle program with libtorch takes, the blocks once, 16 bytes for each
trainable value, the planned activations, and 60 MB. `dequantised` trains on the same file's values in fp32; the losses of both after
the last step are printed, and their difference is that of bf16 arithmetic.

  python bench/blocks.py [--formats q4_0,q4_k] [--tokens 2x512] [--steps 6] [--runs 5] [--quick] [--out FILE.json]

Needs a built smidgen (build/release) and the development requirements; compiles llama.cpp once.
"""

import shutil
import tempfile
from pathlib import Path

import harness

FORMATS = ["q4_0", "q4_1", "q8_0", "q4_k", "q6_k"]
SLACK_MB = 60


def random_model(like, scratch, layers):
    """A folder with SmolLM2's tokenizer and another shape."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = Path(scratch) / "model"
    config = LlamaConfig(hidden_size=768, intermediate_size=2048, num_hidden_layers=layers, num_attention_heads=12, num_key_value_heads=4,
                         vocab_size=49152, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, dtype="bfloat16")  # fmt: skip
    torch.manual_seed(1)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    for file in like.glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder


def ours(model, ids, args, *more):
    argv = [harness.SMIDGEN, "bench", "step", "--model", model, "--ids-file", ids, "--rank", args.rank, "--alpha", 16, "--steps", args.steps]
    return harness.call([*argv, "--skip", args.skip, "--learning-rate", 5e-4, "--step-only", "--json", *more])


def bound_mb(model, args):
    said = harness.call([harness.SMIDGEN, "plan", "--model", model, "--tokens", args.tokens, "--rank", args.rank, "--target", "all-linear", "--no-timing", "--json"])
    parts = {name: said[f"{name}_bytes"] / 1e6 for name in ("idle", "base", "trainable", "pass", "holes")}
    return parts | {"bound": sum(parts.values()) + SLACK_MB}


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--formats", type=lambda text: text.split(","), default=FORMATS)
    parser.add_argument("--tokens", default="2x512")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6)
    args = harness.parsed(parser)
    layers = 16
    if args.quick:
        args.steps, args.tokens, layers = 2, "1x64", 2
    args.skip = min(3, args.steps - 1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = random_model(harness.folder_of(args.model, scratch), scratch, layers)
        ids = harness.random_ids(folder, args.tokens, args.steps, scratch)
        whole = harness.export(folder, Path(scratch) / "fp16.gguf", "fp16")
        files = {}
        for name in args.formats:
            files[name] = Path(scratch) / f"{name}.gguf"
            harness.peer("llama_cpp_quantize.py", whole, files[name], name, python=harness.llama_python())
        sides = {name: lambda file=file: ours(file, ids, args) for name, file in files.items()}
        theirs = ["--model", folder, "--ids", ids, "--mode", "autocast", "--rank", args.rank, "--skip", args.skip]
        sides["PEFT autocast compile"] = lambda: harness.peer("peft_step.py", *theirs, *([] if args.quick else ["--compile"]), wait="ACTIVE")
        runs = {side: [] for side in sides}
        for _ in range(args.runs):
            for side, run in sides.items():
                runs[side].append(run())
        dequantised = {name: ours(file, ids, args, "--base-format", "fp32", "--dtype", "fp32")["losses"] for name, file in files.items()}
        bounds = {name: bound_mb(file, args) for name, file in files.items()}
    rates = {side: {key: harness.spread([r[key] for r in done]) for key in ("tokens_per_s", "peak_mb")} for side, done in runs.items()}
    peer = rates.pop("PEFT autocast compile")
    cases, rows = {}, []
    for name, mine in rates.items():
        losses = runs[name][0]["losses"]
        cases[name] = {"smidgen": mine, "peft": peer, "speed_ratio": harness.ratio(mine["tokens_per_s"], peer["tokens_per_s"]), "memory_ratio": harness.ratio(mine["peak_mb"], peer["peak_mb"]),
                       "bound_mb": bounds[name], "losses": losses, "dequantised_losses": dequantised[name]}  # fmt: skip
        rows.append([name, mine["tokens_per_s"]["median"], cases[name]["speed_ratio"], mine["peak_mb"]["median"], bounds[name]["bound"], losses[-1], dequantised[name][-1]])
    rows.append(["PEFT", peer["tokens_per_s"]["median"], 1.0, peer["peak_mb"]["median"], "", "", ""])
    harness.table(["base", "tokens/s", "times PEFT", "peak MB", "bound MB", "last loss", "dequantised"], rows)
    harness.write(args, {"tokens": args.tokens, "rank": args.rank, "cases": cases})


if __name__ == "__main__":
    main()
