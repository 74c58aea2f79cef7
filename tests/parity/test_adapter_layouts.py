"""Adapters of llama.cpp and mlx-lm beside the same adapter as PEFT saved it: equal logits, equal tensors."""

import json

import gguf
import numpy as np
import pytest
import tiny
from gguf import GGUFReader
from safetensors.numpy import load_file, save_file
from support import reference, smidgen

IDS = [1, 17, 300, 5, 81, 240, 9, 33, 2, 120]
SETTINGS = {"r": 4, "lora_alpha": 12, "target_modules": ["q_proj", "k_proj", "v_proj", "down_proj"]}


@pytest.fixture(scope="module")
def peft_folder(tmp_path_factory):
    wrapped = reference.lora(reference.llama(tiny.model()), **SETTINGS)
    return reference.save_adapter(wrapped, tmp_path_factory.mktemp("peft") / "a")


@pytest.fixture(scope="module")
def wanted(peft_folder):
    logits = smidgen.forward(tiny.model(), ids=IDS, adapter=peft_folder)["logits"]
    bare = smidgen.forward(tiny.model(), ids=IDS)["logits"]
    assert reference.difference(bare, logits) > 1e-2, "the adapter does something"
    return logits


def modules(folder) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    tensors = load_file(str(folder / "adapter_model.safetensors"))
    names = sorted({n.removeprefix("base_model.model.").rsplit(".lora_", 1)[0] for n in tensors})
    at = "base_model.model.{}.lora_{}.weight"
    return {n: (tensors[at.format(n, "A")], tensors[at.format(n, "B")]) for n in names}


def as_gguf(pairs) -> dict[str, np.ndarray]:
    """What convert_lora_to_gguf.py makes of them: rows of q and k in GGUF's order, in lora_b only."""
    out = {}
    for name, (a, b) in pairs.items():
        heads = {"q_proj": 4, "k_proj": 2}.get(name.rsplit(".", 1)[-1])
        stem = tiny.gguf_name(name + ".weight")
        out[stem + ".lora_a"] = a
        out[stem + ".lora_b"] = tiny.permuted(b, heads) if heads else b
    return out


def write_gguf(path, tensors, alpha=12.0, architecture="llama", kind="lora"):
    out = gguf.GGUFWriter(str(path), architecture)
    out.add_type("adapter")
    out.add_string("adapter.type", kind)
    out.add_float32("adapter.lora.alpha", alpha)
    for name, x in tensors.items():
        out.add_tensor(name, np.ascontiguousarray(x, np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


@pytest.mark.parametrize("base", ["folder", "gguf"])
def test_a_gguf_adapter_computes_what_the_folder_does(base, peft_folder, wanted, tmp_path):
    path = write_gguf(tmp_path / "a.gguf", as_gguf(modules(peft_folder)))
    model = tiny.model() if base == "folder" else tiny.gguf("F32")
    assert np.array_equal(smidgen.forward(model, ids=IDS, adapter=path)["logits"], wanted)
    assert np.array_equal(smidgen.forward(f"{model}+{path}", ids=IDS)["logits"], wanted)


def test_a_written_gguf_adapter_holds_what_the_converter_would(peft_folder, wanted, tmp_path):
    path = tmp_path / "a.gguf"
    smidgen.ok("export", model=tiny.model(), adapter=peft_folder, out=path, format="gguf-lora")
    read = GGUFReader(str(path))
    fields = {n: f.contents() for n, f in read.fields.items()}
    assert fields["general.type"] == "adapter" and fields["adapter.type"] == "lora"
    assert fields["general.architecture"] == "llama" and fields["adapter.lora.alpha"] == 12.0
    expected = as_gguf(modules(peft_folder))
    assert {t.name for t in read.tensors} == set(expected)
    for t in read.tensors:
        assert np.array_equal(t.data, expected[t.name]), t.name
    assert np.array_equal(smidgen.forward(tiny.model(), ids=IDS, adapter=path)["logits"], wanted)


def test_ranks_of_their_own_scale_by_their_own_rank(peft_folder, tmp_path):
    """llama.cpp divides alpha by each pair's rank; PEFT says it with rank_pattern."""
    pairs = modules(peft_folder)
    cut = {n: (a[:2], b[:, :2]) if "v_proj" in n else (a, b) for n, (a, b) in pairs.items()}
    path = write_gguf(tmp_path / "a.gguf", as_gguf(cut))
    merged = tmp_path / "merged"
    smidgen.ok("export", model=tiny.model(), adapter=path, out=merged)
    got, base = load_file(str(merged / "model.safetensors")), load_file(str(tiny.model() / "model.safetensors"))
    for name, (a, b) in cut.items():
        delta = got[name + ".weight"].astype(np.float64) - base[name + ".weight"]
        assert np.allclose(delta, 12.0 / len(a) * b.astype(np.float64) @ a, atol=1e-6), name


def write_mlx(folder, pairs, scale=3.0, **changes):
    folder.mkdir()
    tensors = {}
    for name, (a, b) in pairs.items():
        tensors[name + ".lora_a"] = np.ascontiguousarray(a.T)
        tensors[name + ".lora_b"] = np.ascontiguousarray(b.T)
    save_file(tensors, str(folder / "adapters.safetensors"))
    parameters = {"rank": 4, "scale": scale, "dropout": 0.0, "keys": ["self_attn.q_proj"]}
    config = {"fine_tune_type": "lora", "num_layers": 3, "model": "x", "lora_parameters": parameters, **changes}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_an_mlx_adapter_computes_what_the_folder_does(peft_folder, wanted, tmp_path):
    folder = write_mlx(tmp_path / "mlx", modules(peft_folder))
    assert np.array_equal(smidgen.forward(tiny.model(), ids=IDS, adapter=folder)["logits"], wanted)
    seen = smidgen.read_json(smidgen.ok("inspect", folder, json=True).stdout)
    assert (seen["layout"], seen["method"], seen["rank"], seen["alpha"]) == ("mlx", "LORA", 4, 12.0)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"architecture": "qwen2"}, "the adapter is for the architecture 'qwen2', the base is 'llama'"),
        ({"kind": "loha"}, "a GGUF adapter of type 'loha'"),
    ],
)
def test_what_does_not_fit_is_named(change, words, peft_folder, tmp_path):
    path = write_gguf(tmp_path / "a.gguf", as_gguf(modules(peft_folder)), **change)
    done = smidgen.call("forward", model=tiny.model(), ids=IDS, adapter=path, out=tmp_path / "o.safetensors")
    assert done.returncode == 1 and words in done.stderr, done.stderr


def test_a_pair_without_its_partner_or_place_is_named(peft_folder, tmp_path):
    tensors = as_gguf(modules(peft_folder))
    alone = dict(list(tensors.items())[:-1])
    done = smidgen.call(
        "forward", model=tiny.model(), ids=IDS, adapter=write_gguf(tmp_path / "a.gguf", alone), out=tmp_path / "o.safetensors"
    )
    assert done.returncode == 1 and "there is no lora_" in done.stderr, done.stderr
    other = {n.replace("attn_v", "attn_w"): x for n, x in tensors.items()}
    done = smidgen.call(
        "forward", model=tiny.model(), ids=IDS, adapter=write_gguf(tmp_path / "b.gguf", other), out=tmp_path / "o.safetensors"
    )
    assert done.returncode == 1 and "attn_v" in done.stderr, done.stderr
