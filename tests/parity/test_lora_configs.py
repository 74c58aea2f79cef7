"""LoRA's whole configuration against live PEFT: twelve by hand, 200 drawn by seed; logits, every gradient, and files.

The reference is PEFT's model in fp64 with every trained value moved away from its start.
"""

import copy
import functools
import json
import warnings

import numpy as np
import pytest
import tiny
import torch
from support import lora_cases as cases
from support import reference, smidgen
from support.cases import IDS

TINY = 1e-5
DRAWN = 200
IDS = IDS[:40]


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT remarks on tied weights and on layers without a bias
        yield


@functools.lru_cache
def base(name):
    folder = tiny.model(**cases.BASES[name])
    return folder, reference.llama(folder)


def logits(wrapped):
    with torch.no_grad():
        return wrapped(input_ids=torch.tensor([IDS]), use_cache=False).logits[0].double().numpy()


def compare(folder, wrapped, model):
    double = cases.in_double(wrapped)
    ours = smidgen.forward(model, adapter=folder, ids=IDS, gradients=True)
    assert reference.difference(ours["logits"], logits(double)) <= TINY
    slopes = cases.gradients(double, IDS)
    assert ours["gradients"].keys() == slopes.keys()
    for name, slope in slopes.items():
        assert np.abs(slope).max() > 1e-4, f"{name}: too small a gradient to prove anything"
        assert reference.difference(ours["gradients"][name], slope) <= 5 * TINY, name


@pytest.mark.parametrize("name", cases.BY_HAND)
def test_by_hand(name, tmp_path):
    on, settings, moving = cases.BY_HAND[name]
    folder, model = base(on)
    wrapped = cases.build(model, settings)
    reference.save_adapter(wrapped, tmp_path / "a")
    compare(tmp_path / "a", wrapped, folder)
    with_all = logits(wrapped)
    for field in moving:
        without = {k: v for k, v in settings.items() if k not in (field, "layers_pattern")}
        if field == "target_modules":
            without = {"target_modules": ["k_proj"]}
        moved = reference.difference(logits(cases.in_double(cases.build(model, without, like=settings))), with_all)
        assert moved >= 100 * TINY, f"{field} does not move the reference: {moved}"


@pytest.mark.parametrize("seed", range(DRAWN))
def test_drawn(seed, tmp_path):
    on, settings = cases.draw(seed)
    folder, model = base(on)
    wrapped = cases.build(model, settings)
    reference.save_adapter(wrapped, tmp_path / "a")
    compare(tmp_path / "a", wrapped, folder)


def test_the_draw_reaches_every_field():
    drawn = [cases.draw(seed)[1] for seed in range(DRAWN)]
    fields = {k for c in drawn for k in c}
    assert fields == {
        *("r", "lora_alpha", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
        *("use_rslora", "rank_pattern", "alpha_pattern", "bias", "lora_bias", "modules_to_save", "lora_dropout"),
        *("trainable_token_indices", "ensure_weight_tying", "init_lora_weights"),
    }
    for field in fields:
        assert sum(field in c for c in drawn) >= 10, f"{field} is drawn too seldom"


# ---------------------------------------------------------------------------------------------- ours in PEFT
OURS = {
    "patterns": (
        "tied",
        {"target": "all-linear", "rank_pattern": "up_proj=3,.*_proj=5", "alpha_pattern": "q_proj=20", "rslora": True},
    ),
    "some layers": ("tied", {"target": "all-linear", "layers": [0, 2]}),
    "excluded": ("own head", {"target": "q_proj,v_proj", "exclude": r"re:.*\.1\..*"}),
    "biases": ("biased", {"target": "q_proj,down_proj", "bias": "all", "lora_bias": True}),
    "their biases": ("biased", {"target": "q_proj,down_proj", "bias": "lora_only", "init": "gaussian"}),
    "copies": ("biased", {"target": "q_proj", "modules_to_save": "model.norm,lm_head,1.mlp"}),
    "embeddings": ("own head", {"target": "embed_tokens,lm_head,q_proj", "init": "orthogonal"}),
    "tied update": ("tied", {"target": "lm_head,q_proj", "ensure_weight_tying": True}),
    "tied copy": ("tied", {"target": "q_proj", "modules_to_save": "lm_head", "ensure_weight_tying": True}),
    "tokens": ("tied", {"target": "q_proj", "token_rows": [5, 17, 300]}),
    "tokens apart": ("tied", {"target": "q_proj", "token_rows": [5, 17], "head_token_rows": [7, 90]}),
    "dropout": ("tied", {"target": "all-linear", "dropout": 0.3, "init": "random"}),
}


@pytest.mark.parametrize("name", OURS)
def test_what_we_train_loads_in_peft(name, tmp_path):
    on, settings = OURS[name]
    folder, model = base(on)
    smidgen.tune(folder, tiny.data(), tmp_path / "run", max_steps=4, learning_rate=1e-2, **settings)
    adapter = tmp_path / "run" / "adapter"
    import peft

    with reference.without_hub():
        wrapped = peft.PeftModel.from_pretrained(copy.deepcopy(model), str(adapter))
    held = peft.get_peft_model_state_dict(wrapped)
    for name, x in smidgen.tensors(adapter / "adapter_model.safetensors").items():
        assert np.array_equal(held.pop(name).numpy(), x), name
    # PEFT stores the base's embedding beside its update; smidgen does not, and PEFT does not need it.
    assert all(name.endswith("base_layer.weight") for name in held), sorted(held)
    theirs = logits(cases.in_double(wrapped))
    assert reference.difference(logits(model), theirs) >= 100 * TINY
    ours = smidgen.forward(folder, adapter=adapter, ids=IDS)["logits"]
    assert reference.difference(ours, theirs) <= TINY


@pytest.mark.parametrize("name", OURS)
def test_export_equals_attached_and_loads_in_transformers(name, tmp_path):
    on, settings = OURS[name]
    folder, _ = base(on)
    smidgen.tune(folder, tiny.data(), tmp_path / "run", max_steps=4, learning_rate=1e-2, **settings)
    adapter = tmp_path / "run" / "adapter"
    attached = smidgen.forward(folder, adapter=adapter, ids=IDS)["logits"]
    smidgen.ok("export", model=folder, adapter=adapter, out=tmp_path / "merged")
    assert reference.difference(smidgen.forward(tmp_path / "merged", ids=IDS)["logits"], attached) <= TINY
    theirs = logits(cases.in_double(reference.llama(tmp_path / "merged")))
    assert reference.difference(attached, theirs) <= TINY
    tied = json.loads((tmp_path / "merged" / "config.json").read_text())["tie_word_embeddings"]
    stored = {n for f in (tmp_path / "merged").glob("*.safetensors") for n in smidgen.tensors(f)}
    assert tied == ("lm_head.weight" not in stored)
    assert tied == ("tied" in on and name not in ("tokens apart",))
