"""LoRA against PEFT on the same weights: logits, every gradient, and folders that go both ways."""

import json

import numpy as np
import pytest
import tiny
import torch
from support import reference, smidgen
from support.cases import IDS

TINY, REAL = 1e-5, 1e-4
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

VARIANTS = {
    "q and v": {},
    "all-linear": {"target_modules": "all-linear"},
    "regex": {"target_modules": r".*layers\.[02]\.mlp\.(up|down)_proj"},
    "rank 1": {"r": 1, "target_modules": ALL},
    "rank above width": {"r": 200, "target_modules": ["k_proj"]},
    "rslora": {"use_rslora": True, "r": 8, "target_modules": ALL},
    "patterns": {
        "rank_pattern": {"layers.1.mlp.up_proj": 7, "q_proj": 2},
        "alpha_pattern": {"layers.1.mlp.up_proj": 3, "k_proj": 20},
        "target_modules": ALL,
    },
    "some layers": {"layers_to_transform": [0, 2], "target_modules": ["o_proj", "down_proj"]},
    "excluded": {"exclude_modules": ["model.layers.1.self_attn.q_proj"], "target_modules": ALL},
}


def written_by_peft(to, settings, base=None, scale=0.05):
    """A folder that PEFT wrote on the tiny model, and PEFT's fp64 model of that folder."""
    base = base or tiny.model()
    wrapped = reference.lora(reference.llama(base), scale=scale, **settings)
    reference.save_adapter(wrapped, to)
    return reference.load_adapter(reference.llama(base, torch.float64), to, trainable=True)



@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_gradients(variant, tmp_path):
    model = written_by_peft(tmp_path / "a", VARIANTS[variant])
    plain = reference.forward(reference.llama(tiny.model(), torch.float64), IDS)["logits"]
    wanted = reference.forward(model, IDS)
    assert reference.difference(wanted["logits"], plain) >= 100 * TINY, "the adapter must act"
    ours = smidgen.forward(tiny.model(), adapter=tmp_path / "a", ids=IDS, gradients=True)
    assert reference.difference(ours["logits"], wanted["logits"]) <= TINY
    assert reference.difference(ours["hidden"], wanted["hidden"]) <= TINY
    slopes = reference.gradients(model, IDS)
    assert ours["gradients"].keys() == slopes.keys()
    for name, slope in slopes.items():
        assert np.abs(slope).max() > 1e-3, f"{name}: too small a gradient to prove anything"
        assert reference.difference(ours["gradients"][name], slope) <= 5 * TINY, name


@pytest.mark.parametrize("kernels", ["ref", "fast"])
def test_both_kernels(kernels, tmp_path):
    model = written_by_peft(tmp_path / "a", {"target_modules": ALL})
    env = smidgen.environment(SMIDGEN_KERNELS=kernels)
    ours = smidgen.forward(tiny.model(), adapter=tmp_path / "a", ids=IDS, gradients=True, env=env)
    slopes = reference.gradients(model, IDS)
    assert reference.difference(ours["logits"], reference.forward(model, IDS)["logits"]) <= TINY
    assert max(reference.difference(ours["gradients"][n], slopes[n]) for n in slopes) <= 5 * TINY


def test_on_a_gguf_base(tmp_path):
    base = tiny.gguf("Q4_1")
    model = written_by_peft(tmp_path / "a", {"target_modules": ALL}, base)
    ours = smidgen.forward(base, adapter=tmp_path / "a", ids=IDS, gradients=True)
    slopes = reference.gradients(model, IDS)
    assert reference.difference(ours["logits"], reference.forward(model, IDS)["logits"]) <= TINY
    assert max(reference.difference(ours["gradients"][n], slopes[n]) for n in slopes) <= 5 * TINY


def test_real_model(smollm2, tmp_path):
    """All linear sites of the real model, fp32 on both sides."""
    ids = reference.encode(smollm2, "A function that returns the sum of two numbers:\n\ndef add(a, b):\n    return a + b\n")
    wrapped = reference.lora(reference.llama(smollm2), target_modules="all-linear", r=8, lora_alpha=16, scale=0.02)
    folder = reference.save_adapter(wrapped, tmp_path / "a")
    wanted, slopes = reference.forward(wrapped, ids), reference.gradients(wrapped, ids)
    ours = smidgen.forward(smollm2, adapter=folder, ids=ids, gradients=True)
    assert reference.difference(ours["logits"], wanted["logits"]) <= REAL
    assert ours["gradients"].keys() == slopes.keys() and len(slopes) == 30 * 7 * 2
    worst = max(slopes, key=lambda n: reference.difference(ours["gradients"][n], slopes[n]))
    assert reference.difference(ours["gradients"][worst], slopes[worst]) <= 10 * REAL, worst


def test_bf16_adapter_tensors_are_read(tmp_path):
    folder = tmp_path / "a"
    written_by_peft(folder, {})
    stored = smidgen.tensors(folder / "adapter_model.safetensors")
    rounded = {n: tiny.from_bf16(tiny.to_bf16(x)) for n, x in stored.items()}
    tiny.write_safetensors(folder / "adapter_model.safetensors", stored, "bf16")
    ours = smidgen.forward(tiny.model(), adapter=folder, ids=IDS)["logits"]
    tiny.write_safetensors(folder / "adapter_model.safetensors", rounded, "fp32")
    assert np.array_equal(ours, smidgen.forward(tiny.model(), adapter=folder, ids=IDS)["logits"])


def test_keys_that_peft_leaves_out_mean_its_defaults(tmp_path):
    """A configuration of an old PEFT: lora_alpha missing means 8, r missing means 8, not smidgen's own defaults."""
    folder = tmp_path / "a"
    written_by_peft(folder, {"r": 8})
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({k: config[k] for k in ("peft_type", "target_modules", "task_type")}))
    model = reference.load_adapter(reference.llama(tiny.model(), torch.float64), folder)
    ours = smidgen.forward(tiny.model(), adapter=folder, ids=IDS)["logits"]
    assert reference.difference(ours, reference.forward(model, IDS)["logits"]) <= TINY


@pytest.mark.parametrize(
    "setting",
    [
        {"use_dora": True},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "mica"},
        {"alora_invocation_tokens": [1, 17]},
        {"layer_replication": [[0, 2], [1, 3]]},
        {"target_parameters": ["q_proj.weight"]},
    ],
    ids=lambda s: "-".join(map(str, next(iter(s.items())))),
)
def test_extensions_are_refused_by_name(setting, tmp_path):
    """What this build cannot do is an error that names the key; it is never ignored. (All else: test_lora_configs.py.)"""
    if "target_parameters" in setting:
        setting = setting | {"target_modules": ["v_proj"]}
    wrapped = reference.lora(reference.llama(tiny.model()), **setting)
    reference.save_adapter(wrapped, tmp_path / "a")
    done = smidgen.call("forward", model=tiny.model(), adapter=tmp_path / "a", ids=IDS, out=tmp_path / "o.safetensors")
    assert done.returncode == 1 and next(iter(setting)) in done.stderr, done.stderr


# ---------------------------------------------------------------------------------------------- ours in PEFT
@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An adapter that smidgen trained for a few steps, with B no longer zero."""
    run = tmp_path_factory.mktemp("lora") / "run"
    smidgen.tune(tiny.model(), tiny.data(), run, max_steps=8, learning_rate=1e-2)
    return run / "adapter"


def test_our_folder_loads_in_peft_with_equal_logits(trained):
    model = reference.load_adapter(reference.llama(tiny.model(), torch.float64), trained)
    plain = reference.forward(reference.llama(tiny.model(), torch.float64), IDS)["logits"]
    wanted = reference.forward(model, IDS)["logits"]
    assert reference.difference(wanted, plain) >= 100 * TINY
    ours = smidgen.forward(tiny.model(), adapter=trained, ids=IDS)["logits"]
    assert reference.difference(ours, wanted) <= TINY


def test_model_plus_adapter_in_one_name(trained):
    both = smidgen.forward(f"{tiny.model()}+{trained}", ids=IDS)["logits"]
    assert np.array_equal(both, smidgen.forward(tiny.model(), adapter=trained, ids=IDS)["logits"])


def test_initial_values_are_pefts(tmp_path):
    """B is zero, A uniform within 1/sqrt(in) (Kaiming with a = sqrt 5), and no two sites have the same A."""
    smidgen.tune(tiny.model(), tiny.data(), tmp_path / "run", max_steps=0, rank=16)
    stored = smidgen.tensors(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert len(stored) == 3 * 7 * 2
    seen = set()
    for name, x in stored.items():
        if "lora_B" in name:
            assert not x.any(), name
            continue
        bound = 1 / np.sqrt(x.shape[1])
        assert np.abs(x).max() <= bound
        assert abs(x.mean()) < 5 * bound / np.sqrt(3 * x.size)
        assert x.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)
        seen.add(x.tobytes()[:64])
    assert len(seen) == 3 * 7


def test_peft_writes_our_file_again_bit_by_bit(trained, tmp_path):
    """Loaded by PEFT and saved by it, the weights file has the same bytes: names, order, values, padding."""
    wrapped = reference.load_adapter(reference.llama(tiny.model()), trained)
    again = reference.save_adapter(wrapped, tmp_path / "a") / "adapter_model.safetensors"
    assert again.read_bytes() == (trained / "adapter_model.safetensors").read_bytes()


# ---------------------------------------------------------------------------------------------- laws
def test_a_fresh_adapter_changes_no_bit(tmp_path):
    smidgen.tune(tiny.model(), tiny.data(), tmp_path / "run", max_steps=0)
    with_it = smidgen.forward(tiny.model(), adapter=tmp_path / "run" / "adapter", ids=IDS)
    without = smidgen.forward(tiny.model(), ids=IDS)
    assert np.array_equal(with_it["logits"], without["logits"])
    assert np.array_equal(with_it["hidden"], without["hidden"])


@pytest.mark.parametrize("base", ["folder", "gguf"])
def test_export_merges_what_attaching_does(base, trained, tmp_path):
    """The exported folder is a plain model, for smidgen and for transformers."""
    model = tiny.model() if base == "folder" else tiny.gguf("Q8_0")
    other = {"allow_other_base": base == "gguf"}  # trained on the folder
    smidgen.ok("export", model=model, adapter=trained, out=tmp_path / "merged", **other)
    attached = smidgen.forward(model, adapter=trained, ids=IDS, **other)["logits"]
    merged = smidgen.forward(tmp_path / "merged", ids=IDS)["logits"]
    assert reference.difference(merged, attached) <= TINY
    theirs = reference.forward(reference.llama(tmp_path / "merged", torch.float64), IDS)["logits"]
    assert reference.difference(merged, theirs) <= TINY
    assert reference.difference(merged, smidgen.forward(model, ids=IDS)["logits"]) >= 100 * TINY
    text = "Lori ka 12"
    assert smidgen.tokenize(tmp_path / "merged", text) == smidgen.tokenize(model, text)


def test_export_is_what_peft_merges(trained, tmp_path):
    smidgen.ok("export", model=tiny.model(), adapter=trained, out=tmp_path / "merged")
    theirs = reference.load_adapter(reference.llama(tiny.model()), trained).merge_and_unload().state_dict()
    ours = {}
    for file in (tmp_path / "merged").glob("*.safetensors"):
        ours |= smidgen.tensors(file)
    for name, x in ours.items():
        assert reference.difference(x, theirs[name].numpy()) <= 1e-6, name
    assert ours.keys() == {n for n in theirs if n != "lm_head.weight"}
