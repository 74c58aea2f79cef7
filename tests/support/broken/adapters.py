"""Adapter folders: whole, cut, of another model, of methods and layouts that are refused."""

import json
from pathlib import Path

import numpy as np
import tiny
from support.broken.models import cut
from support.broken.things import thing


def adapter_tensors(config=None, rank=4, sites=("self_attn.q_proj", "self_attn.v_proj")) -> dict[str, np.ndarray]:
    c = {**tiny.CONFIG, **(config or {})}
    q, kv, h = c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"], c["hidden_size"]
    draw = np.random.default_rng(1)
    out = {}
    for layer in range(c["num_hidden_layers"]):
        for site in sites:
            at = f"base_model.model.model.layers.{layer}.{site}"
            rows = q if "q_proj" in site else kv
            out[f"{at}.lora_A.weight"] = draw.standard_normal((rank, h)).astype(np.float32)
            out[f"{at}.lora_B.weight"] = draw.standard_normal((rows, rank)).astype(np.float32)
    return out


def write_adapter(to: Path, tensors=None, **settings) -> Path:
    to.mkdir(parents=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "v_proj"],
        "inference_mode": True,
    } | settings
    (to / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
    tiny.write_safetensors(to / "adapter_model.safetensors", adapter_tensors() if tensors is None else tensors)
    return to


@thing
def adapter(to):
    return write_adapter(to)


@thing
def adapter_cut(to):
    cut(write_adapter(to) / "adapter_model.safetensors", 0.6)
    return to


@thing
def adapter_without_config(to):
    (write_adapter(to) / "adapter_config.json").unlink()
    return to


@thing
def adapter_of_another_width(to):
    return write_adapter(to, adapter_tensors({"hidden_size": 64}))


@thing
def adapter_of_more_layers(to):
    return write_adapter(to, adapter_tensors({"num_hidden_layers": 5}))


@thing
def adapter_of_another_family(to):
    named = {n.replace("model.layers", "transformer.h").replace("self_attn", "attn"): x for n, x in adapter_tensors().items()}
    return write_adapter(to, named)


@thing
def adapter_with_a_misspelt_tensor(to):
    named = {n.replace("layers.1.self_attn.q_proj", "layers.1.self_attn.q_porj"): x for n, x in adapter_tensors().items()}
    return write_adapter(to, named)


@thing
def adapter_without_one_b(to):
    kept = adapter_tensors()
    del kept["base_model.model.model.layers.2.self_attn.v_proj.lora_B.weight"]
    return write_adapter(to, kept)


@thing
def adapter_of_another_rank(to):
    return write_adapter(to, r=6)


@thing
def adapter_of_unknown_type(to):
    return write_adapter(to, peft_type="LROA")


@thing
def adapter_of_dora(to):
    return write_adapter(to, use_dora=True)


@thing
def adapter_of_pissa(to):
    return write_adapter(to, init_lora_weights="pissa_niter_4")


@thing
def adapter_with_its_name_in_tensors(to):
    named = {n.replace(".weight", ".default.weight"): x for n, x in adapter_tensors().items()}
    return write_adapter(to, named)


@thing
def folder_of_one_adapter(to):
    write_adapter(to / "fr")
    return to


@thing
def folder_of_two_adapters(to):
    write_adapter(to / "fr")
    write_adapter(to / "de")
    return to


@thing
def adapter_of_another_base(to):
    write_adapter(to)
    (to / "smidgen.json").write_text(json.dumps({"base_digest": "123456789abcdef0" * 4}))
    return to


@thing
def adapter_with_nan(to):
    tensors = adapter_tensors()
    tensors["base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"][2, 1] = np.nan
    return write_adapter(to, tensors)


@thing
def adapter_with_a_resized_embedding(to):
    named = adapter_tensors() | {"base_model.model.model.embed_tokens.weight": np.zeros((tiny.vocab_size() + 3, 96), np.float32)}
    return write_adapter(to, named, modules_to_save=["embed_tokens"])


@thing
def adapter_with_a_copied_norm(to):
    named = adapter_tensors() | {"base_model.model.model.norm.weight": np.ones(96, np.float32)}
    return write_adapter(to, named, modules_to_save=["model.norm"])


@thing
def adapter_with_unknown_key(to):
    return write_adapter(to, lora_magic=3)


@thing
def adapter_with_empty_unknown_keys(to):
    return write_adapter(to, lora_magic=None, lora_more=[], lora_other=False)


def mlx(to: Path, weights: str, **changes) -> Path:
    to.mkdir()
    config = {"lora_parameters": {"rank": 2, "scale": 1.0, "dropout": 0.0}, **changes}
    (to / "adapter_config.json").write_text(json.dumps(config))
    (to / weights).write_bytes(b"")
    return to


@thing
def mlx_dora(to):
    return mlx(to, "adapters.safetensors", fine_tune_type="dora")


@thing
def mlx_npz(to):
    return mlx(to, "adapters.npz")
