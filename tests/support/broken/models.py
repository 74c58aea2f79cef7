"""Model folders and GGUF files: whole, cut, damaged, and ones that do not fit."""

import json
import struct
from pathlib import Path

import numpy as np
import tiny
from support import smidgen
from support.broken.things import thing


@thing
def model(to):
    return smidgen.copy(tiny.model(), to)


@thing
def gguf(to):
    to.mkdir()
    path = to / "tiny.gguf"
    path.write_bytes(tiny.gguf("Q4_1").read_bytes())
    return path


def cut(path: Path, keep: float | int) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep) if isinstance(keep, float) else keep])


@thing
def model_cut_in_data(to):
    cut(model(to) / "model.safetensors", 0.7)
    return to


@thing
def model_cut_in_header(to):
    cut(model(to) / "model.safetensors", 200)
    return to


@thing
def model_with_huge_header(to):
    path = model(to) / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 62) + path.read_bytes()[8:])
    return to


@thing
def model_with_overlap(to):
    """Two tensors of the header claim the same bytes."""
    path = model(to) / "model.safetensors"
    raw = path.read_bytes()
    (n,) = struct.unpack("<Q", raw[:8])
    head = json.loads(raw[8 : 8 + n])
    names = [k for k in head if k.endswith("input_layernorm.weight")]
    head[names[1]]["data_offsets"] = head[names[0]]["data_offsets"]
    text = json.dumps(head, separators=(",", ":")).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + n :])
    return to


@thing
def model_without_weights(to):
    (model(to) / "model.safetensors").unlink()
    return to


@thing
def model_without_config(to):
    (model(to) / "config.json").unlink()
    return to


@thing
def model_without_a_shard(to):
    smidgen.copy(tiny.model(shards=3), to)
    (to / "model-00002-of-00003.safetensors").unlink()
    return to


@thing
def model_with_cut_config(to):
    cut(model(to) / "config.json", 0.5)
    return to


@thing
def model_with_cut_tokenizer(to):
    cut(model(to) / "tokenizer.json", 0.5)
    return to


@thing
def gguf_cut_in_header(to):
    path = gguf(to)
    cut(path, 600)
    return path


@thing
def gguf_cut_in_data(to):
    path = gguf(to)
    cut(path, 0.8)
    return path


@thing
def gguf_of_another_kind(to):
    path = gguf(to)
    path.write_bytes(b"GGML" + path.read_bytes()[4:])
    return path


@thing
def gguf_of_version_9(to):
    path = gguf(to)
    raw = path.read_bytes()
    path.write_bytes(raw[:4] + struct.pack("<I", 9) + raw[8:])
    return path


@thing
def gguf_with_huge_count(to):
    path = gguf(to)
    raw = path.read_bytes()
    path.write_bytes(raw[:8] + struct.pack("<Q", 1 << 60) + raw[16:])
    return path


def with_weights(to, change) -> Path:
    model(to)
    tensors = tiny.weights({**tiny.CONFIG, "vocab_size": tiny.vocab_size()})
    change(tensors)
    tiny.write_safetensors(to / "model.safetensors", tensors)
    return to


@thing
def model_without_one_tensor(to):
    return with_weights(to, lambda t: t.pop("model.layers.1.mlp.up_proj.weight"))


@thing
def model_with_one_tensor_more(to):
    return with_weights(to, lambda t: t.update({"model.layers.1.self_attn.q_norm.weight": np.ones(32, np.float32)}))


@thing
def model_with_a_wrong_shape(to):
    name = "model.layers.1.mlp.up_proj.weight"
    return with_weights(to, lambda t: t.update({name: t[name][:128]}))


def with_config(to, **changes) -> Path:
    path = model(to) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2))
    return to


@thing
def model_of_unknown_family(to):
    return with_config(to, model_type="lama", architectures=["LamaForCausalLM"])


@thing
def model_of_unknown_rope(to):
    return with_config(to, rope_parameters={"rope_type": "spiral", "rope_theta": 5000.0})


@thing
def model_of_unknown_act(to):
    return with_config(to, hidden_act="sliu")


@thing
def model_with_unknown_field(to):
    return with_config(to, attention_multiplier=3.5)


@thing
def model_with_other_digits(to):
    """Digits in one piece: a pre-tokeniser of no published family."""
    smidgen.copy(tiny.model(), to)
    path = to / "tokenizer.json"
    spec = json.loads(path.read_text())
    spec["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = False
    path.write_text(json.dumps(spec))
    return to


def moved(tensors, seed=1) -> None:
    """A fine-tune of every matrix of the blocks."""
    draw = np.random.default_rng(seed)
    for name, w in tensors.items():
        if "layers" in name and w.ndim == 2:
            tensors[name] = (w + 0.02 * draw.standard_normal(w.shape)).astype(w.dtype)


@thing
def model_moved(to):
    return with_weights(to, moved)


@thing
def model_moved_with_nan(to):
    def change(tensors):
        moved(tensors, 2)
        tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = np.nan

    return with_weights(to, change)


@thing
def model_moved_of_another_family(to):
    with_weights(to, moved)
    path = to / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}, indent=2))
    return to


@thing
def model_moved_of_fewer_layers(to):
    def change(tensors):
        moved(tensors)
        for name in [n for n in tensors if "layers.2." in n]:
            del tensors[name]

    with_weights(to, change)
    path = to / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 2}, indent=2))
    return to


@thing
def model_moved_of_another_vocabulary(to):
    def change(tensors):
        moved(tensors)
        tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:-1]

    with_weights(to, change)
    path = to / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": tiny.vocab_size() - 1}, indent=2))
    return to
