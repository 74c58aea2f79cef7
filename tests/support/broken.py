"""Files with one fault each, by name: `{name}` in a transcript is the path that broken.make(name, scratch) returns."""

import json
import struct
from pathlib import Path

import numpy as np
import tiny
from support import smidgen

MAKERS = {}


def thing(function):
    MAKERS[function.__name__] = function
    return function


def make(name: str, scratch: Path) -> Path:
    return MAKERS[name](scratch / name)


# ---------------------------------------------------------------------------------------------- whole things
@thing
def model(to):
    return smidgen.copy(tiny.model(), to)


@thing
def gguf(to):
    to.mkdir()
    path = to / "tiny.gguf"
    path.write_bytes(tiny.gguf("Q4_1").read_bytes())
    return path


@thing
def data(to):
    to.mkdir()
    return tiny.write_jsonl(to / "data.jsonl", tiny.samples(8))


@thing
def folder(to):
    to.mkdir()
    return to


@thing
def empty_file(to):
    to.write_bytes(b"")
    return to


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
    to.mkdir()
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


# ---------------------------------------------------------------------------------------------- cut and damaged
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


@thing
def adapter_cut(to):
    cut(write_adapter(to) / "adapter_model.safetensors", 0.6)
    return to


@thing
def adapter_without_config(to):
    (write_adapter(to) / "adapter_config.json").unlink()
    return to


# ---------------------------------------------------------------------------------------------- do not fit
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


# ---------------------------------------------------------------------------------------------- data
def lines(to: Path, *rows: str) -> Path:
    path = to.with_suffix(".jsonl")
    path.write_bytes("".join(r + "\n" for r in rows).encode("utf-8", "surrogateescape"))
    return path


GOOD = json.dumps(tiny.samples(1)[0])


@thing
def data_empty(to):
    return lines(to)


@thing
def data_of_blank_lines(to):
    return lines(to, "", "  ", "")


@thing
def data_with_broken_line(to):
    return lines(to, GOOD, GOOD, GOOD[:-9])


@thing
def data_without_answers(to):
    return lines(to, *[json.dumps({"messages": [{"role": "user", "content": "hi"}]})] * 3)


@thing
def data_with_one_unanswered(to):
    return lines(to, GOOD, json.dumps({"messages": [{"role": "user", "content": "hi"}]}), GOOD)


@thing
def data_of_unknown_keys(to):
    return lines(to, json.dumps({"question": "a", "answer": "b"}))


@thing
def data_with_a_near_key(to):
    return lines(to, json.dumps({"prompt": "a", "completon": "b"}))


@thing
def data_with_wrong_type(to):
    return lines(to, GOOD, json.dumps({"messages": "hello"}))


@thing
def data_with_bad_utf8(to):
    return lines(to, GOOD, GOOD.replace("user", "user\udcff\udcfe"))


@thing
def data_with_long_sample(to):
    talk = [{"role": "user", "content": "lori " * 150}, {"role": "assistant", "content": "ka"}]
    return lines(to, GOOD, GOOD, json.dumps({"messages": talk}))


PAIR = json.dumps(tiny.samples(1, "pairs")[0])


@thing
def pairs(to):
    return lines(to, PAIR, PAIR)


@thing
def pairs_with_equal_sides(to):
    return lines(to, PAIR, json.dumps({"prompt": "a", "chosen": "b", "rejected": "b"}))


@thing
def pairs_without_rejected(to):
    return lines(to, PAIR, json.dumps({"prompt": "a", "chosen": "b"}))


@thing
def labels_that_are_numbers(to):
    return lines(to, json.dumps({"prompt": "a", "completion": "b", "label": 1}))


@thing
def labels_of_one_row(to):
    return lines(to, json.dumps({"prompt": "a", "completion": "b", "label": True}))


@thing
def list_that_does_not_end(to):
    path = to.with_suffix(".json")
    path.write_text("[\n" + GOOD + ",\n" + GOOD + "\n")
    return path


@thing
def shares_of_a_stranger(to):
    return lines(to, json.dumps({"conversations": [{"from": "humen", "value": "a"}]}))


# ---------------------------------------------------------------------------------------------- recipes
@thing
def recipe_with_unknown_key(to):
    path = to.with_suffix(".yaml")
    path.write_text("method: lora\nseed: 4\nlerning_rate: 1e-3\n")
    return path


@thing
def recipe_with_broken_yaml(to):
    path = to.with_suffix(".yaml")
    path.write_text("method: lora\nseed: [4\nmax_steps: 1\n")
    return path


@thing
def recipe_with_wrong_type(to):
    path = to.with_suffix(".yaml")
    path.write_text("method:\n  name: lora\n  rank: many\n")
    return path


# ---------------------------------------------------------------------------------------------- other layouts
@thing
def model_with_other_digits(to):
    """Digits in one piece: a pre-tokeniser of no published family."""
    smidgen.copy(tiny.model(), to)
    path = to / "tokenizer.json"
    spec = json.loads(path.read_text())
    spec["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = False
    path.write_text(json.dumps(spec))
    return to


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


@thing
def foreign_recipe_with_wrong_type(to):
    path = to.with_suffix(".yaml")
    path.write_text("base_model: m\nadapter: lora\nmicro_batch_size: many\n")
    return path


@thing
def foreign_recipe_of_nobody(to):
    path = to.with_suffix(".yaml")
    path.write_text("a: 1\n")
    return path


@thing
def foreign_recipe_that_is_a_list(to):
    path = to.with_suffix(".yaml")
    path.write_text("- base_model: m\n")
    return path
