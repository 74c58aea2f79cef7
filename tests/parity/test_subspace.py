"""Subspace overlaps, norms and cosines of `compare` against numpy.linalg.svd in fp64."""

import json
import shutil

import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file, save_file
from support import smidgen

ENERGIES = [0.05, 0.3, 0.5, 0.8, 0.97]
LAYERS = [0, 1, 2]
SHAPES = {"self_attn.q_proj": (128, 96), "self_attn.v_proj": (64, 96), "mlp.up_proj": (160, 96), "mlp.down_proj": (96, 160)}


def left(d, eta):
    u, s, _ = np.linalg.svd(d, full_matrices=False)
    share = np.cumsum(s**2)
    k = int(np.searchsorted(share, eta * (s**2).sum() * (1 - 1e-12))) + 1
    return u[:, :k]


def overlap(a, b, eta):
    q, p = left(a, eta), left(b, eta)
    return np.linalg.norm(q.T @ p) ** 2 / min(q.shape[1], p.shape[1]), max(q.shape[1], p.shape[1]) / len(a)


def cosine(a, b):
    return (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)


def adapter(folder, seed, rank, alpha, sites=SHAPES):
    """A LoRA folder with random factors, and its updates in fp64."""
    rng = np.random.default_rng(seed)
    tensors, updates = {}, {}
    for layer in LAYERS:
        for site, (m, n) in sites.items():
            name = f"model.layers.{layer}.{site}"
            # Falling sizes, so that the energies pick different ranks.
            a = (rng.standard_normal((rank, n)) * np.geomspace(1, 0.05, rank)[:, None]).astype(np.float32)
            b = rng.standard_normal((m, rank)).astype(np.float32)
            tensors[f"base_model.model.{name}.lora_A.weight"] = a
            tensors[f"base_model.model.{name}.lora_B.weight"] = b
            updates[name + ".weight"] = alpha / rank * b.astype(np.float64) @ a.astype(np.float64)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": [s.split(".")[1] for s in sites], "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder, updates


def compare(*paths, **flags):
    done = smidgen.ok("compare", *paths, base=tiny.model(), energy=ENERGIES, json=True, **flags)
    return smidgen.read_json(done.stdout)


def test_adapters(tmp_path):
    (a, da), (b, db) = adapter(tmp_path / "a", 1, 4, 8), adapter(tmp_path / "b", 2, 9, 3)
    found = compare(a, b)
    assert found["energies"] == ENERGIES
    assert {row["name"] for row in found["tensors"]} == set(da)
    for row in found["tensors"]:
        x, y = da[row["name"]], db[row["name"]]
        pair = row["pairs"][0]
        assert row["norms"] == pytest.approx([np.linalg.norm(x), np.linalg.norm(y)], rel=1e-10)
        assert pair["cosine"] == pytest.approx(cosine(x, y), abs=1e-10)
        assert pair["same_sign"] == pytest.approx((x * y > 0).mean(), abs=3 / x.size)
        for eta, mine, random in zip(ENERGIES, pair["overlap"], pair["random"]):
            want, chance = overlap(x, y, eta)
            assert mine == pytest.approx(want, abs=1e-10), (row["name"], eta)
            assert random == pytest.approx(chance, abs=1e-15)
    flat = [np.concatenate([d[n].ravel() for n in sorted(da)]) for d in (da, db)]
    assert found["all"]["pairs"][0]["cosine"] == pytest.approx(cosine(*flat), abs=1e-10)
    mean = np.mean([[overlap(da[n], db[n], eta)[0] for eta in ENERGIES] for n in da], 0)
    assert found["all"]["pairs"][0]["overlap"] == pytest.approx(mean, abs=1e-10)


def test_stacked_blocks(tmp_path):
    (a, da), (b, db) = adapter(tmp_path / "a", 1, 4, 8), adapter(tmp_path / "b", 2, 9, 3)
    rows = {row["name"]: row for row in compare(a, b, unit="block")["tensors"]}
    assert len(rows) == 2 * len(LAYERS)
    for layer in LAYERS:
        names = [f"model.layers.{layer}.{s}.weight" for s, (_, n) in SHAPES.items() if n == 96]
        x, y = (np.concatenate([d[n] for n in names]) for d in (da, db))
        row = rows[f"model.layers.{layer} [96 columns]"]
        assert row["rows"] == len(x)
        for eta, mine in zip(ENERGIES, row["pairs"][0]["overlap"]):
            # The order of the stacked rows changes both bases alike, and no overlap.
            assert mine == pytest.approx(overlap(x, y, eta)[0], abs=1e-10)


def tuned(folder, seed):
    """A copy of the tiny model with moved matrices of falling spectrum."""
    shutil.copytree(tiny.model(), folder)
    rng = np.random.default_rng(seed)
    tensors = load_file(folder / "model.safetensors")
    for name, w in tensors.items():
        if w.ndim == 2 and "layers" in name:
            r = min(w.shape)
            d = (rng.standard_normal((w.shape[0], r)) * np.geomspace(1, 0.01, r)) @ rng.standard_normal((r, w.shape[1]))
            tensors[name] = (w.astype(np.float64) + 0.01 * d).astype(np.float32)
        elif "layernorm" in name:
            tensors[name] = (w + 0.1 * rng.standard_normal(w.shape)).astype(np.float32)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_models(tmp_path):
    a, b = tuned(tmp_path / "a", 1), tuned(tmp_path / "b", 2)
    base, x, y = (load_file(f / "model.safetensors") for f in (tiny.model(), a, b))
    found = compare(a, b)
    seen = 0
    for row in found["tensors"]:
        # The difference in fp32, as it is defined; everything after it in fp64.
        dx, dy = ((m[row["name"]].astype(np.float32) - base[row["name"]].astype(np.float32)).astype(np.float64) for m in (x, y))
        pair = row["pairs"][0]
        if not dx.any():
            assert row["norms"] == [0, 0] and pair["overlap"] is None
            continue
        seen += 1
        assert row["norms"] == pytest.approx([np.linalg.norm(dx), np.linalg.norm(dy)], rel=1e-10)
        assert pair["cosine"] == pytest.approx(cosine(dx, dy), abs=1e-10)
        used = (dx != 0) & (dy != 0)
        assert pair["same_sign"] == (np.sign(dx) == np.sign(dy))[used].mean()
        if dx.ndim == 1:
            assert pair["overlap"] is None
            continue
        for eta, mine in zip(ENERGIES, pair["overlap"]):
            assert mine == pytest.approx(overlap(dx, dy, eta)[0], abs=1e-9), (row["name"], eta)
    assert seen > 20


def test_a_model_and_an_adapter(tmp_path):
    """The same update once as factors and once merged: one subspace."""
    a, _ = adapter(tmp_path / "a", 1, 4, 8)
    smidgen.ok("export", model=tiny.model(), adapter=a, out=tmp_path / "merged", dtype_out="fp32")
    found = compare(a, tmp_path / "merged", f"{tiny.model()}+{a}")
    for pair in found["all"]["pairs"]:
        assert pair["cosine"] == pytest.approx(1, abs=1e-9)
    for row in found["tensors"]:
        if row["pairs"][0]["overlap"]:
            assert row["pairs"][0]["overlap"] == pytest.approx([1] * len(ENERGIES), abs=1e-6)
            assert row["pairs"][1]["overlap"] == pytest.approx([1] * len(ENERGIES), abs=1e-12)


def test_the_page(tmp_path):
    (a, _), (b, _) = adapter(tmp_path / "a", 1, 4, 8), adapter(tmp_path / "b<i>", 2, 9, 3)
    smidgen.ok("compare", a, b, base=tiny.model(), out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 2 and "b<i>" not in page and "b&lt;i&gt;" in page
    assert page.count("self_attn.q_proj.weight</code>") == len(LAYERS)


def test_what_cannot_be_compared(tmp_path):
    (a, _), (b, _) = adapter(tmp_path / "a", 1, 4, 8), adapter(tmp_path / "b", 2, 3, 8, {"self_attn.k_proj": (64, 96)})
    done = smidgen.call("compare", a, b, base=tiny.model())
    assert done.returncode == 1 and "change no tensor in common" in done.stderr
    done = smidgen.call("compare", a, tiny.model(), base=tiny.model())
    assert done.returncode == 1 and "does not differ from the base" in done.stderr
    done = smidgen.call("compare", a, base=tiny.model())
    assert done.returncode == 2 and "name two or more" in done.stderr
