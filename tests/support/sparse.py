"""Models far larger than what a test may hold: sparse files, all of zeros, whose sizes are real."""

import json
import struct
from pathlib import Path

WIDTH, INNER, TOKENS = 1024, 4096, 8192


def shapes(layers: int) -> dict[str, tuple]:
    linears = {f"self_attn.{x}_proj": (WIDTH, WIDTH) for x in "qkvo"}
    linears |= {"mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH), "mlp.down_proj": (WIDTH, INNER)}
    norms = {"input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,)}
    out = {"model.embed_tokens": (TOKENS, WIDTH), "model.norm": (WIDTH,), "lm_head": (TOKENS, WIDTH)}
    for i in range(layers):
        out |= {f"model.layers.{i}.{name}": shape for name, shape in (linears | norms).items()}
    return {f"{name}.weight": shape for name, shape in out.items()}


def header(tensors: dict[str, tuple], dtype: str, size: int) -> tuple[bytes, int]:
    at, entries = 0, {}
    for name, shape in tensors.items():
        bytes_ = size * shape[0] * (shape[1] if len(shape) > 1 else 1)
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + bytes_]}
        at += bytes_
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text, at


def write(path: Path, tensors: dict[str, tuple], dtype: str, size: int) -> None:
    head, length = header(tensors, dtype, size)
    path.write_bytes(head)
    with open(path, "r+b") as f:
        f.truncate(len(head) + length)


def model(folder: Path, layers: int) -> Path:
    """A Llama of bf16 matrices: 34 MB a layer."""
    folder.mkdir()
    config = {
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": 16,
        "vocab_size": TOKENS,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    write(folder / "model.safetensors", shapes(layers), "BF16", 2)
    return folder


def adapter(folder: Path, layers: int, rank: int = 4) -> Path:
    """A LoRA on every linear of the blocks, as PEFT writes it."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {}
    for name, shape in shapes(layers).items():
        if "_proj" not in name:
            continue
        module = "base_model.model." + name.removesuffix(".weight")
        tensors[f"{module}.lora_A.weight"] = (rank, shape[1])
        tensors[f"{module}.lora_B.weight"] = (shape[0], rank)
    write(folder / "adapter_model.safetensors", tensors, "F32", 4)
    return folder
