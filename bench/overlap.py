"""Overlap of two LoRA adapters of SmolLM2, `smidgen compare` against torch, in turns in one run.

The adapters are random, of rank 16 on every linear layer (210 of them), and made anew. smidgen's time is that of a whole
call from its start to its end: loading, cosines, signs of all 106 million elements, and overlaps at eleven energies. The
peer's (bench/peers/overlap.py) begins after its imports: once by a dense singular value decomposition of every update,
once by the factors alone. The figures of all three are compared.

  python bench/overlap.py [--model GGUF] [--rank 16] [--runs 5] [--quick] [--out FILE.json]

Needs a built smidgen (build/release) and the development requirements.
"""

import json
import tempfile
import time
from pathlib import Path

import harness


def make_adapter(folder, config, rank, seed):
    import numpy as np
    from safetensors.numpy import save_file

    width, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or width // config["num_attention_heads"]
    q, kv = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    shapes = {"self_attn.q_proj": (q, width), "self_attn.k_proj": (kv, width), "self_attn.v_proj": (kv, width),
              "self_attn.o_proj": (width, q), "mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner)}  # fmt: skip
    draw, tensors = np.random.default_rng(seed), {}
    for layer in range(config["num_hidden_layers"]):
        for site, (m, n) in shapes.items():
            name = f"base_model.model.model.layers.{layer}.{site}"
            # Falling sizes, so that the energies pick different ranks.
            sizes = np.geomspace(1, 0.05, rank)[:, None]
            tensors[f"{name}.lora_A.weight"] = (draw.standard_normal((rank, n)) * sizes).astype(np.float32)
            tensors[f"{name}.lora_B.weight"] = draw.standard_normal((m, rank)).astype(np.float32)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "target_modules": sorted(s.split(".")[1] for s in shapes)}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def ours(model, a, b):
    begin = time.perf_counter()
    found = harness.call([harness.SMIDGEN, "compare", a, b, "--base", model, "--json"])
    seconds = time.perf_counter() - begin
    pair = found["all"]["pairs"][0]
    return {"seconds": seconds, "overlap": pair["overlap"], "cosine": pair["cosine"], "same_sign": pair["same_sign"]}


def difference(x, y):
    return {
        "overlap": max(abs(p - q) for p, q in zip(x["overlap"], y["overlap"], strict=True)),
        "cosine": abs(x["cosine"] - y["cosine"]),
        "same_sign": abs(x["same_sign"] - y["same_sign"]),
    }


def main():
    parser = harness.arguments(__doc__)
    parser.add_argument("--rank", type=int, default=16)
    args = harness.parsed(parser)
    with tempfile.TemporaryDirectory() as scratch:
        config = json.loads((harness.folder_of(args.model, scratch) / "config.json").read_text())
        if args.quick:
            config["num_hidden_layers"] = 2  # of the adapters; the model keeps its own
        a, b = (make_adapter(Path(scratch) / name, config, args.rank, seed) for seed, name in enumerate("ab"))
        sides = {
            "smidgen": lambda: ours(args.model, a, b),
            "torch, dense": lambda: harness.peer("overlap.py", a, b, "dense"),
            "torch, factors": lambda: harness.peer("overlap.py", a, b, "factors"),
        }
        runs = {side: [] for side in sides}
        for _ in range(args.runs):
            for side, run in sides.items():
                runs[side].append(run())
    seconds = {side: harness.spread([r["seconds"] for r in done]) for side, done in runs.items()}
    cases, rows = {}, [["smidgen", *seconds["smidgen"].values(), ""]]
    for side in [s for s in sides if s != "smidgen"]:
        ratio = harness.ratio(seconds[side], seconds["smidgen"])
        found = difference(runs["smidgen"][0], runs[side][0])
        cases[f"rank {args.rank}, {side}"] = {"smidgen": seconds["smidgen"], "peer": seconds[side], "speed_ratio": ratio, "difference": found}
        rows.append([side, *seconds[side].values(), ratio])
        print(side, found)
    harness.table(["", "s", "least", "most", "times"], rows)
    harness.write(args, {"cases": cases}, "overlap")


if __name__ == "__main__":
    main()
