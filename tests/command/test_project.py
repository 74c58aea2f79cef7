"""Projected copies against numpy: what they keep, and what they leave as it was."""

import json
import shutil

import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file, save_file
from support import smidgen

SITE = "model.layers.1.mlp.up_proj"


def moved(folder, seed, source=None):
    shutil.copytree(source or tiny.model(), folder)
    rng = np.random.default_rng(seed)
    tensors = load_file(folder / "model.safetensors")
    for name, w in tensors.items():
        if "layers" in name:
            d = rng.standard_normal(w.shape)
            if w.ndim == 2:
                d = d * np.geomspace(1, 0.01, w.shape[0])[:, None]
            tensors[name] = (w + 0.05 * d).astype(w.dtype)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    aligned = moved(home / "aligned", 1)
    tuned = moved(home / "tuned", 2, aligned)
    return [load_file(f / "model.safetensors") for f in (tiny.model(), aligned, tuned)], aligned, tuned


def basis(v, fraction):
    u, s, _ = np.linalg.svd(v.reshape(len(v), -1).astype(np.float64), full_matrices=False)
    return u[:, : max(1, round(fraction * min(v.reshape(len(v), -1).shape)))]


def differences(models):
    base, aligned, tuned = models
    for name in base:
        v, u = aligned[name] - base[name], tuned[name] - aligned[name]
        yield name, v.astype(np.float64), u.astype(np.float64)


def test_the_table_is_numpys(models):
    tensors, aligned, tuned = models
    found = smidgen.read_json(
        smidgen.ok("project", tuned, aligned=aligned, base=tiny.model(), fractions=[0.1, 0.5, 0.9], json=True).stdout
    )
    pairs = [(n, v, u) for n, v, u in differences(tensors)]
    total = sum((u**2).sum() for _, _, u in pairs)
    assert found["norm_update"] == pytest.approx(np.sqrt(total), rel=1e-9)
    rows = {(r["directions"], r["fraction"]): r for r in found["rows"]}
    for fraction in (0.1, 0.5, 0.9):
        kept = sum((((basis(v, fraction).T @ u.reshape(len(u), -1)) ** 2).sum() if v.any() else 0) for _, v, u in pairs)
        assert rows["top", fraction]["parallel"] == pytest.approx(kept / total, rel=1e-9)
        # Random directions of spaces of a hundred dimensions are near their expectation.
        assert rows["random", fraction]["parallel"] == pytest.approx(rows["random", fraction]["expected_random"], abs=0.05)
    assert rows["top", 0.1]["parallel"] > 3 * rows["random", 0.1]["parallel"]


@pytest.mark.parametrize("mode", ["same", "orth", "opp"])
def test_a_model(mode, models, tmp_path):
    (base, aligned_tensors, tuned_tensors), aligned, tuned = models
    smidgen.ok("project", tuned, aligned=aligned, base=tiny.model(), mode=mode, fraction=0.3, out=tmp_path / "out")
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert set(written) == set(base)
    for name, v, u in differences((base, aligned_tensors, tuned_tensors)):
        par = 0 * u
        if v.any():
            q = basis(v, 0.3)
            par = (q @ (q.T @ u.reshape(len(u), -1))).reshape(u.shape)
        p = {"same": par, "orth": u - par, "opp": -par}[mode]
        assert written[name].dtype == base[name].dtype
        assert np.abs(written[name] - (aligned_tensors[name] + p)).max() < 1e-5, name
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (aligned / "tokenizer.json").read_bytes()
    smidgen.ok("forward", model=tmp_path / "out", ids="1,5,9", out=tmp_path / "logits.safetensors")


def test_a_lora_stays_one(models, tmp_path):
    (base, aligned_tensors, _), aligned, _ = models
    smidgen.tune(aligned, tiny.data(), tmp_path / "run", max_steps=3, learning_rate=1e-2)
    adapter = tmp_path / "run" / "adapter"
    for mode in ("same", "orth"):
        smidgen.ok("project", adapter, aligned=aligned, base=tiny.model(), mode=mode, fraction=0.3, out=tmp_path / mode)
    before, same, orth = (load_file(f / "adapter_model.safetensors") for f in (adapter, tmp_path / "same", tmp_path / "orth"))
    assert json.loads((adapter / "adapter_config.json").read_text()) == json.loads((tmp_path / "same" / "adapter_config.json").read_text())
    for name, values in before.items():
        if "lora_A" in name:
            assert (same[name] == values).all()
        else:
            assert np.abs(same[name] + orth[name] - values).max() < 1e-6
    b = before[f"base_model.model.{SITE}.lora_B.weight"].astype(np.float64)
    q = basis(aligned_tensors[SITE + ".weight"] - base[SITE + ".weight"], 0.3)
    assert np.abs(same[f"base_model.model.{SITE}.lora_B.weight"] - q @ (q.T @ b)).max() < 1e-6
    found = smidgen.read_json(smidgen.ok("project", tmp_path / "orth", aligned=aligned, base=tiny.model(), fractions=[0.3], json=True).stdout)
    assert found["rows"][0]["parallel"] < 1e-9


def test_what_cannot_be_projected(models, tmp_path):
    _, aligned, tuned = models
    done = smidgen.call("project", tuned, aligned=aligned, base=aligned)
    assert done.returncode == 1 and "the alignment is zero" in done.stderr
    done = smidgen.call("project", tuned, aligned=aligned, base=tiny.model(), fraction=1, out=tmp_path / "o")
    assert done.returncode == 2 and "not between 0 and 1" in done.stderr and not (tmp_path / "o").exists()
