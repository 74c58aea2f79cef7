"""Every family beside transformers: logits, hidden states, gradients, generation, and the same model from GGUF.

The cases are data in tests/support/families.py. Each family first shows that its cases can fail: every field that it
reads is flipped alone, and the reference must move by a hundred times the tolerance.
"""

import json

import numpy as np
import pytest
import tiny
import torch
from support import family_reference as reference
from support import reference as plain
from support import smidgen
from support.cases import IDS
from support.families import FAMILIES

TOLERANCE = 1e-5
TOKENS = [i % tiny.vocab_size() for i in IDS[:60]]
CASES = [(f, None) for f in FAMILIES] + [(f, more) for f, e in FAMILIES.items() for more in e.get("more", {})]
NAMES = [f if more is None else f"{f} {more}" for f, more in CASES]


def changes_of(family, more):
    return FAMILIES[family]["more"][more] if more else None


def logits(family, changes=None, flip=None):
    return reference.forward(reference.model(family, changes, flip), TOKENS)["logits"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_moves_the_reference(family):
    base = logits(family)
    for name, flip in FAMILIES[family]["flips"].items():
        moved = plain.difference(logits(family, flip=flip), base)
        assert moved >= 100 * TOLERANCE, f"{name}: {moved:.1e}"
    for name, changes in FAMILIES[family].get("more", {}).items():
        assert plain.difference(logits(family, changes), base) >= 100 * TOLERANCE, name


@pytest.mark.parametrize(("family", "more"), CASES, ids=NAMES)
def test_logits_and_hidden(family, more):
    changes = changes_of(family, more)
    wanted = reference.forward(reference.model(family, changes), TOKENS)
    ours = smidgen.forward(reference.folder(family, changes), ids=TOKENS)
    for name in ("hidden", "logits"):
        assert plain.difference(ours[name], wanted[name]) <= TOLERANCE, name


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_lora(family, tmp_path):
    """What PEFT writes attaches by name, and every gradient of the loss is PEFT's."""
    targets = FAMILIES[family]["targets"]
    plain.save_adapter(plain.lora(reference.model(family, dtype=torch.float32), target_modules=targets), tmp_path / "a")
    model = plain.load_adapter(reference.model(family), tmp_path / "a", trainable=True)
    wanted = model(input_ids=torch.tensor([TOKENS]), use_cache=False).logits[0].detach().numpy()
    assert plain.difference(wanted, logits(family)) >= 100 * TOLERANCE, "the adapter must act"
    slopes = plain.gradients(model, TOKENS)
    ours = smidgen.forward(reference.folder(family), adapter=tmp_path / "a", ids=TOKENS, gradients=True)
    assert plain.difference(ours["logits"], wanted) <= TOLERANCE
    assert ours["gradients"].keys() == slopes.keys()
    for name, slope in slopes.items():
        assert np.abs(slope).max() > 1e-4, f"{name}: too small a gradient to prove anything"
        assert plain.difference(ours["gradients"][name], slope) <= 5 * TOLERANCE, name


LONG = [(f, None) for f in FAMILIES] + [("llama", "dynamic"), ("llama", "longrope long")]


@pytest.mark.parametrize(("family", "more"), LONG, ids=[f if m is None else f"{f} {m}" for f, m in LONG])
def test_cached_generation_is_recomputation(family, more):
    """The reference reads prompt and answer in one pass without a cache, and would have taken every token."""
    changes = changes_of(family, more)
    rope = reference.settings(family, changes).get("rope_parameters", {})
    stepwise = rope.get("rope_type") in ("dynamic", "longrope")
    flags = {"raw": True, "ignore_eos": True, "greedy": True, "dtype": "fp32", "max_new_tokens": 45 if stepwise else 30}
    out = smidgen.generate(reference.folder(family, changes), "The quick brown fox jumps", **flags)
    ids = out["prompt_ids"] + out["ids"]
    assert len(out["ids"]) == flags["max_new_tokens"]
    model = reference.model(family, changes)
    # Lengths decide the angles of some schemes, so each token is asked for at its own length.
    for k in range(len(out["prompt_ids"]), len(ids), 1 if stepwise else len(ids)):
        end = k if stepwise else len(ids)
        scores = reference.forward(model, ids[:end])["logits"]
        rows = [end - 1] if stepwise else range(len(out["prompt_ids"]) - 1, end - 1)
        for row in rows:
            second, first = np.sort(scores[row])[-2:]
            tie = (first - second) / (scores[row].max() - scores[row].min()) < 1e-4
            assert tie or int(scores[row].argmax()) == ids[row + 1], f"token {row + 1}"


# ---------------------------------------------------------------------------------------------- GGUF
GGUF = [(f, {}) for f in FAMILIES]
GGUF += [
    ("llama", {"rope_parameters": FAMILIES["llama"]["more"][m]["rope_parameters"]}) for m in ("linear", "llama3", "yarn")
]
GGUF += [("llama", {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True})]
GGUF_NAMES = [f"{f}-{i}" for i, (f, _) in enumerate(GGUF)]


@pytest.mark.parametrize(("family", "changes"), GGUF, ids=GGUF_NAMES)
def test_gguf_is_the_same_model(family, changes):
    changes = FAMILIES[family]["gguf"] | changes
    wanted = reference.forward(reference.model(family, changes), TOKENS)
    ours = smidgen.forward(reference.gguf(family, changes), ids=TOKENS)
    assert plain.difference(ours["logits"], wanted["logits"]) <= TOLERANCE
    assert plain.difference(ours["hidden"], wanted["hidden"]) <= TOLERANCE


# ---------------------------------------------------------------------------------------------- words of older files
def test_older_words_of_rotary_settings(tmp_path):
    """rope_theta and rope_scaling of transformers 4, also with `type` for `rope_type`, are the same model."""
    folder = reference.folder("llama", FAMILIES["llama"]["more"]["yarn"])
    config = json.loads((folder / "config.json").read_text())
    wanted = smidgen.forward(folder, ids=TOKENS)["logits"]
    group = config.pop("rope_parameters")
    config["rope_theta"] = group.pop("rope_theta")
    group["type"] = group.pop("rope_type")
    config["rope_scaling"] = group
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert np.array_equal(smidgen.forward(tmp_path, ids=TOKENS)["logits"], wanted)


def test_an_unknown_kind_of_scaling_is_named(tmp_path):
    folder = reference.folder("llama")
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"]["rope_type"] = "spiral"
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = smidgen.call("forward", model=tmp_path, ids=TOKENS, dtype="fp32", out=tmp_path / "o.safetensors")
    assert done.returncode == 1 and "spiral" in done.stderr and "llama3" in done.stderr
