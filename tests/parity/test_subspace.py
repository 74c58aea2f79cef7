"""Subspace overlaps, norms and cosines of `compare` against numpy.linalg.svd in fp64."""

import json
import shutil

import numpy as np
import pytest
import tiny
import torch
from safetensors.numpy import load_file, save_file
from support import reference, smidgen

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


def test_a_compressed_fine_tune(tmp_path):
    """In its ternary form as the model that decompress makes of it, in fp64 on both sides."""
    a, b = tuned(tmp_path / "a", 1), tuned(tmp_path / "b", 2)
    for name in ("a", "b"):
        smidgen.ok("compress", tmp_path / name, base=tiny.model(), out=tmp_path / f"small-{name}", density=0.3)
        smidgen.ok("decompress", tmp_path / f"small-{name}", base=tiny.model(), out=tmp_path / f"back-{name}")
    small = compare(tmp_path / "small-a", tmp_path / "small-b", a)
    back = compare(tmp_path / "back-a", tmp_path / "back-b", a)
    seen = 0
    rows = {row["name"]: row for row in back["tensors"]}
    for row in small["tensors"]:
        want = rows[row["name"]]
        # decompress rounds base + difference once.
        assert row["norms"] == pytest.approx(want["norms"], rel=1e-5)
        for mine, theirs in zip(row["pairs"], want["pairs"]):
            if theirs["cosine"] is None:
                continue
            seen += 1
            assert mine["cosine"] == pytest.approx(theirs["cosine"], abs=1e-5)
            assert mine["same_sign"] == pytest.approx(theirs["same_sign"], abs=1e-3)
            if mine["overlap"]:
                assert mine["overlap"] == pytest.approx(theirs["overlap"], abs=1e-3)
    assert seen > 60
    done = smidgen.call("compare", tmp_path / "small-a", tmp_path / "small-b", base=a)
    assert done.returncode == 1 and "was trained on the base with digest" in done.stderr
    smidgen.ok("compare", tmp_path / "small-a", tmp_path / "small-b", base=a, allow_other_base=True)


def test_a_tied_head_counts_once(tmp_path):
    """The delta of a model whose embedding moved has one tensor for it and the head, as the model's file."""
    a = tuned(tmp_path / "a", 1)
    tensors = load_file(a / "model.safetensors")
    tensors["model.embed_tokens.weight"] += np.float32(0.01)
    save_file(tensors, a / "model.safetensors", {"format": "pt"})
    smidgen.ok("compress", a, base=tiny.model(), out=tmp_path / "small", density=0.3)
    names = {row["name"] for row in compare(tmp_path / "small", a)["tensors"]}
    assert "model.embed_tokens.weight" in names and "lm_head.weight" not in names
    b = tuned(tmp_path / "b", 2)
    smidgen.ok("project", tmp_path / "small", aligned=tiny.model(), base=b, out=tmp_path / "copy")
    assert set(load_file(tmp_path / "copy" / "model.safetensors")) == set(tensors)


def states(prompts, layers):
    """Hidden states of the last token of each prompt, by transformers."""
    model = reference.llama(tiny.model())
    found = {layer: [] for layer in layers}
    with torch.no_grad():
        for ids in prompts:
            hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
            for layer in layers:
                found[layer].append(hidden[layer][0, -1].double().numpy())
    return {layer: np.stack(rows) for layer, rows in found.items()}


@pytest.mark.parametrize("centre", [False, True])
def test_hidden_states(tmp_path, centre):
    """Overlaps of two sets of prompts against transformers and numpy. The state after the last block is not among them:
    transformers gives it after the last norm."""
    lines = tiny.corpus(60, seed=5)
    sets = [[line[:90] for line in lines[:25]], [line[:90].upper() for line in lines[25:60]]]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"prompt": line}) + "\n" for line in sets[0]))
    (tmp_path / "b.txt").write_text("\n\n".join(sets[1]) + "\n")
    done = smidgen.ok(
        "compare", tiny.model(), prompts=[tmp_path / "a.jsonl", tmp_path / "b.txt"], layers="1,2", raw=True, centre=centre, energy=ENERGIES, json=True
    )
    found = smidgen.read_json(done.stdout)["models"][0]
    assert found["counts"] == [25, 35] and [row["layer"] for row in found["layers"]] == [1, 2]
    x, y = (states([smidgen.tokenize(tiny.model(), line) for line in chosen], [1, 2]) for chosen in sets)
    for row in found["layers"]:
        a, b = x[row["layer"]], y[row["layer"]]
        if centre:
            a, b = a - a.mean(0), b - b.mean(0)
        assert row["norms"] == pytest.approx([np.sqrt((z**2).sum(1).mean()) for z in (a, b)], rel=1e-5)
        for mine in row["overlaps"]:
            want, chance = overlap(a.T, b.T, mine["energy"])
            assert mine["ranks"] == [left(z.T, mine["energy"]).shape[1] for z in (a, b)]
            assert mine["overlap"] == pytest.approx(want, abs=1e-4)
            assert mine["random"] == pytest.approx(chance)


def test_prompts_are_what_stands_before_the_answer(tmp_path):
    """Rows of any form of data set give the states of their prompts; with a chat template as a user's turn."""
    forms = {
        "prompt": {"prompt": "lori ka an"},
        "completion": {"prompt": "lori ka an", "completion": "the vering"},
        "messages": {"messages": [{"role": "user", "content": "lori ka an"}, {"role": "assistant", "content": "no"}]},
        "alpaca": {"instruction": "lori ka an", "output": "x"},
    }
    other = {"prompt": "umsel dover 12"}
    for name, row in forms.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(other) + "\n")
    flags = {"layers": "1,3", "energy": [0.5, 1], "json": True}
    for name in forms:
        done = smidgen.ok("compare", tiny.model(), prompts=[tmp_path / "prompt.jsonl", tmp_path / f"{name}.jsonl"], **flags)
        for row in smidgen.read_json(done.stdout)["models"][0]["layers"]:
            assert row["norms"][0] == row["norms"][1], name
            assert row["overlaps"][1]["overlap"] == pytest.approx(1, abs=1e-9), name
    raw = smidgen.read_json(smidgen.ok("compare", tiny.model(), prompts=[tmp_path / "prompt.jsonl"] * 2, raw=True, **flags).stdout)
    chat = smidgen.read_json(smidgen.ok("compare", tiny.model(), prompts=[tmp_path / "prompt.jsonl"] * 2, **flags).stdout)
    assert raw["models"][0]["layers"][0]["norms"] != chat["models"][0]["layers"][0]["norms"]


def test_the_page_of_prompts(tmp_path):
    (a, _) = adapter(tmp_path / "a<i>", 1, 4, 8)
    smidgen.ok("compare", tiny.model(), a, base=tiny.model(), prompts=[tiny.data(), tiny.data(seed=4)], out=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 2 and "a<i>" not in page and "a&lt;i&gt;" in page


def test_what_cannot_be_compared(tmp_path):
    (a, _), (b, _) = adapter(tmp_path / "a", 1, 4, 8), adapter(tmp_path / "b", 2, 3, 8, {"self_attn.k_proj": (64, 96)})
    done = smidgen.call("compare", a, b, base=tiny.model())
    assert done.returncode == 1 and "change no tensor in common" in done.stderr
    done = smidgen.call("compare", a, tiny.model(), base=tiny.model())
    assert done.returncode == 1 and "does not differ from the base" in done.stderr
    done = smidgen.call("compare", a, base=tiny.model())
    assert done.returncode == 2 and "name two or more" in done.stderr
