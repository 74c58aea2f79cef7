"""`smidgen compress` against the public code of ComPEFT (prateeky2806/ComPEFT, src/qlora/scripts and ties_utils.py),
transcribed to numpy from its description: the flat vector in sorted-name order, one threshold and one standard deviation
for all of it. And PEFT itself opens what decompress writes."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import smidgen
from support.merges import make_models, tensors


def reference_ternary(tensors, density, alpha):
    """{name: array} -> {name: array}: keep |tau| >= the (d - int(d K))-th smallest, replace by alpha * std * sign."""
    names = sorted(tensors)
    flat = np.concatenate([tensors[n].ravel() for n in names])
    k = len(flat) - int(len(flat) * density)
    threshold = np.partition(np.abs(flat), k - 1)[k - 1] if k > 0 else 0.0
    keep = np.abs(flat) >= threshold
    sigma = flat.astype(np.float64).std(ddof=1)
    coded = np.where(keep, np.sign(flat) * alpha * sigma, 0).astype(np.float32)
    out, at = {}, 0
    for name in names:
        size = tensors[name].size
        out[name] = coded[at : at + size].reshape(tensors[name].shape)
        at += size
    return out, sigma, int(np.count_nonzero(coded))


@pytest.fixture
def adapter(tmp_path):
    """A LoRA adapter as PEFT writes it, with values of two scales, many of them tied."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Linear(96, 160), torch.nn.ReLU(), torch.nn.Linear(160, 64))
    tuned = get_peft_model(model, LoraConfig(r=8, target_modules=["0", "2"], lora_alpha=16))
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if "lora_" in name:
                p.copy_(torch.randn_like(p) * (0.02 if "lora_A" in name else 0.005))
                if "2.lora_B" in name:
                    p.copy_((p * 400).round() / 400)
    tuned.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("density", [0.01, 0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("codec", ["masks", "rice", "rans"])
def test_equals_the_reference(adapter, tmp_path, density, codec):
    theirs = {n: t.numpy() for n, t in load_file(adapter / "adapter_model.safetensors").items()}
    expected, sigma, kept = reference_ternary(theirs, density, 1.5)
    out, back = tmp_path / "d", tmp_path / "back"
    report = smidgen.read_json(
        smidgen.ok(
            "compress", adapter, out=out, density=density, alpha=1.5, codec=codec, reference=True, json=True
        ).stdout
    )
    assert report["sigma"] == pytest.approx(sigma, rel=1e-12)
    assert report["kept"] == kept
    smidgen.ok("decompress", out, out=back)
    ours = load_file(back / "adapter_model.safetensors")
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        assert np.array_equal(np.sign(tensor.numpy()), np.sign(expected[name])), name
        np.testing.assert_allclose(tensor.numpy(), expected[name], rtol=1e-6)


def test_keeps_exactly_k_without_reference(adapter, tmp_path):
    flat = [t.numpy().ravel() for _, t in sorted(load_file(adapter / "adapter_model.safetensors").items())]
    flat = np.concatenate(flat)
    k = int(len(flat) * 0.3)
    # numpy's stable sort: of equal magnitudes the first.
    kept = np.zeros(len(flat), bool)
    kept[np.argsort(-np.abs(flat), kind="stable")[:k]] = True
    smidgen.ok("compress", adapter, out=tmp_path / "d", density=0.3, balance=smidgen.NO)
    smidgen.ok("decompress", tmp_path / "d", out=tmp_path / "back")
    back = [t.numpy().ravel() for _, t in sorted(load_file(tmp_path / "back/adapter_model.safetensors").items())]
    assert np.array_equal(np.concatenate(back) != 0, kept & (flat != 0))


def test_factors_are_brought_to_one_spread(adapter, tmp_path):
    """By numpy: each module's factors rescaled, then the largest of all values and the scale that keeps the norm."""
    factors = {n: t.numpy().astype(np.float64) for n, t in load_file(adapter / "adapter_model.safetensors").items()}
    products = {}
    for a in [n for n in factors if ".lora_A." in n]:
        b = a.replace(".lora_A.", ".lora_B.")
        products[a] = factors[b] @ factors[a]
        f = np.sqrt(factors[b].std() / factors[a].std())
        factors[a], factors[b] = factors[a] * f, factors[b] / f
        assert factors[a].std() == pytest.approx(factors[b].std())
    flat = np.concatenate([factors[n].ravel() for n in sorted(factors)])
    k = int(len(flat) * 0.2)
    threshold = np.sort(np.abs(flat))[-k]
    said = smidgen.read_json(smidgen.ok("compress", adapter, out=tmp_path / "d", density=0.2, json=True).stdout)
    assert said["balanced"] == len(products) == 2
    assert said["sigma"] == pytest.approx(flat.std(ddof=1), rel=1e-6)
    assert said["scale"] == pytest.approx(np.linalg.norm(flat) / np.sqrt(k), rel=1e-6)
    smidgen.ok("decompress", tmp_path / "d", out=tmp_path / "back")
    for name, tensor in load_file(tmp_path / "back/adapter_model.safetensors").items():
        clear = np.abs(np.abs(factors[name]) / threshold - 1) > 1e-5  # of ties any may be kept
        kept = np.where(np.abs(factors[name]) >= threshold, np.sign(factors[name]), 0)
        assert np.array_equal(np.sign(tensor.numpy())[clear], kept[clear]), name
    # All values kept as they are: the product is the tuned one.
    smidgen.ok("compress", adapter, out=tmp_path / "whole", density=1, mode="prune")
    smidgen.ok("decompress", tmp_path / "whole", out=tmp_path / "same")
    same = load_file(tmp_path / "same/adapter_model.safetensors")
    for a, product in products.items():
        b = a.replace(".lora_A.", ".lora_B.")
        np.testing.assert_allclose(same[b].double().numpy() @ same[a].double().numpy(), product, rtol=0, atol=1e-6 * np.abs(product).max())


def test_peft_opens_it(adapter, tmp_path):
    from peft import PeftModel

    smidgen.ok("compress", adapter, out=tmp_path / "d", density=0.4)
    smidgen.ok("decompress", tmp_path / "d", out=tmp_path / "back")
    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Linear(96, 160), torch.nn.ReLU(), torch.nn.Linear(160, 64))
    weights = {n: p.detach().clone() for n, p in model.named_parameters()}
    x = torch.randn(3, 96)
    got = PeftModel.from_pretrained(model, str(tmp_path / "back"))(x)
    factors = load_file(tmp_path / "back/adapter_model.safetensors")

    def layer(i, rows):
        name = f"base_model.model.{i}.lora_{{}}.weight"
        delta = factors[name.format("B")] @ factors[name.format("A")] * (16 / 8)
        assert delta.abs().max() > 0
        return rows @ (weights[f"{i}.weight"] + delta).T + weights[f"{i}.bias"]

    torch.testing.assert_close(got, layer(2, torch.relu(layer(0, x))))


def test_a_changed_value_changes_the_kept_set(adapter, tmp_path):
    """The comparison above can fail: one large value moves another one out."""
    tensors = load_file(adapter / "adapter_model.safetensors")
    smidgen.ok("compress", adapter, out=tmp_path / "d", density=0.1, balance=smidgen.NO)
    name = sorted(tensors)[0]
    smidgen.ok("decompress", tmp_path / "d", out=tmp_path / "back")
    before = load_file(tmp_path / "back/adapter_model.safetensors")
    zero = (before[name] == 0).nonzero()[0]
    tensors[name][tuple(zero)] = 9.0
    save_file(tensors, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    smidgen.ok("compress", adapter, out=tmp_path / "d2", density=0.1, balance=smidgen.NO)
    smidgen.ok("decompress", tmp_path / "d2", out=tmp_path / "back2")
    after = load_file(tmp_path / "back2/adapter_model.safetensors")
    assert after[name][tuple(zero)] > 0
    moved = sum(int(((before[n] != 0) != (after[n] != 0)).sum()) for n in before)
    assert moved == 2


# ---------------------------------------------------------------------------------------------- deltas of whole models


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def models(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    make_models(home, tied=request.param)
    return home


def coded(models, name, density, alpha):
    """What the fine-tune `name` becomes: base + its coded difference, by the reference."""
    base, tuned = tensors(models / "base"), tensors(models / name)
    update = {n: (tuned[n] - base[n]).numpy() for n in tuned}
    ternary, _, _ = reference_ternary(update, density, alpha)
    return {n: base[n] + torch.from_numpy(ternary[n]) for n in base}


def close(got, wanted, tolerance=1e-5):
    assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()


def reference_logits(models, weights, ids):
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(models / "base", dtype=torch.float32)
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


IDS = [3, 14, 15, 9, 2, 6, 5, 35, 8, 9]


def test_a_models_delta_beside_its_base_and_merged(models, tmp_path):
    delta = tmp_path / "delta"
    smidgen.ok("compress", models / "a", base=models / "base", out=delta, density=0.3, alpha=2, reference=True)
    weights = coded(models, "a", 0.3, 2)
    wanted = reference_logits(models, weights, IDS)
    close(smidgen.forward(models / "base", ids=IDS, adapter=delta)["logits"], wanted)
    close(smidgen.forward(f"{models / 'base'}+{delta}", ids=IDS)["logits"], wanted)
    # The comparison can fail: without the delta, and with the fine-tune itself.
    for other in ("base", "a"):
        assert np.abs(smidgen.forward(models / other, ids=IDS)["logits"] - wanted).max() > 1e-3 * np.abs(wanted).max()
    # Half of it, and many rows at once: another way through the products.
    long = [i * i % 67 for i in range(90)]
    base = tensors(models / "base")
    halves = {n: (base[n] + weights[n]) / 2 for n in base}
    close(smidgen.forward(models / "base", ids=long, adapter=f"{delta}:0.5")["logits"], reference_logits(models, halves, long))
    # Decompressed, exported and merged by recipe: the same weights.
    smidgen.ok("decompress", delta, base=models / "base", out=tmp_path / "back")
    smidgen.ok("export", model=models / "base", adapter=delta, out=tmp_path / "exported")
    (tmp_path / "r.yaml").write_text(f"merge_method: linear\ndtype: float32\nmodels:\n  - model: {models / 'base'}+{delta}\n    parameters: {{weight: 1}}\n")
    smidgen.ok("merge", tmp_path / "r.yaml", tmp_path / "merged")
    for folder in ("back", "exported", "merged"):
        ours = tensors(tmp_path / folder)
        assert set(ours) == set(weights), folder
        for name, value in ours.items():
            np.testing.assert_allclose(value.numpy(), weights[name].numpy(), rtol=1e-6, atol=1e-7, err_msg=f"{folder} {name}")


@pytest.mark.parametrize("how", [{"mode": "prune", "density": 0.4}, {"codec": "bf16"}, {"codec": "int8"}, {"codec": "int4"}, {"codec": "sign1"}])
def test_other_kinds_beside_the_base_are_what_they_decompress_to(models, tmp_path, how):
    smidgen.ok("compress", models / "b", base=models / "base", out=tmp_path / "d", **how)
    smidgen.ok("decompress", tmp_path / "d", base=models / "base", out=tmp_path / "back")
    close(
        smidgen.forward(models / "base", ids=IDS, adapter=tmp_path / "d")["logits"],
        smidgen.forward(tmp_path / "back", ids=IDS)["logits"],
    )


def test_deltas_are_compared_by_their_bits(models, tmp_path):
    flat = {}
    for name in ("a", "b"):
        smidgen.ok("compress", models / name, base=models / "base", out=tmp_path / name, density=0.3, alpha=1.5, reference=True)
        weights, base = coded(models, name, 0.3, 1.5), tensors(models / "base")
        flat[name] = {n: (weights[n].double() - base[n].double()).numpy().ravel() for n in base if base[n].dim() == 2}
    report = smidgen.read_json(smidgen.ok("compare", tmp_path / "a", tmp_path / "b", base=models / "base", json=True).stdout)
    rows = {t["name"]: t["pairs"][0] for t in report["tensors"]}
    for name, x in flat["a"].items():
        y = flat["b"][name]
        assert rows[name]["cosine"] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-5), name


def test_a_delta_on_another_base(models, tmp_path):
    smidgen.ok("compress", models / "a", base=models / "base", out=tmp_path / "d")
    for verb, flags in (
        ("decompress", {"from": tmp_path / "d", "base": models / "c", "out": tmp_path / "x"}),
        ("forward", {"model": models / "c", "adapter": tmp_path / "d", "ids": IDS, "out": tmp_path / "x.safetensors"}),
    ):
        done = smidgen.call(verb, **flags)
        assert done.returncode != 0 and "digest" in done.stderr and "--allow-other-base" in done.stderr, done.stderr
        smidgen.ok(verb, **flags, allow_other_base=True)


def test_bad_input_is_refused_and_leaves_nothing(models, adapter, tmp_path):
    def refused(*parts, **flags):
        done = smidgen.call(*parts, **flags)
        assert done.returncode != 0 and not (tmp_path / "out").exists(), done.stderr
        return done.stderr

    out = tmp_path / "out"
    assert "density" in refused("compress", adapter, out=out, density=0)
    assert "density" in refused("compress", adapter, out=out, density=1.5)
    assert "--base" in refused("compress", models / "a", out=out)
    assert "nothing moved" in refused("compress", models / "base", base=models / "base", out=out)
    assert "alpha" in refused("compress", adapter, out=out, alpha=0)
    assert "--data" in refused("compress", adapter, out=out, alpha="tuned")
    assert "would lie in" in smidgen.call("compress", adapter, out=adapter / "small").stderr
    assert "would lie in" in smidgen.call("compress", models / "a", base=models / "base", out=models / "base" / "d").stderr
    smidgen.ok("compress", adapter, out=tmp_path / "d", density=1)
    assert "would lie in" in smidgen.call("decompress", tmp_path / "d", out=tmp_path / "d" / "x").stderr
    assert "compressed already" in refused("compress", tmp_path / "d", out=out)
    json_file = tmp_path / "d" / "delta.json"
    text = json_file.read_text()
    json_file.write_text(text.replace('"version": 1', '"version": 2'))
    assert "newer version: 2" in refused("decompress", tmp_path / "d", out=out)
    values = load_file(adapter / "adapter_model.safetensors")
    name = sorted(values)[1]
    values[name][0, 0] = float("nan")
    save_file(values, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    assert name in refused("compress", adapter, out=out)


def test_a_full_disk_leaves_nothing_behind(models, tmp_path):
    """The largest file that the process may write is smaller than what it would write."""
    import subprocess

    smidgen.ok("compress", models / "a", base=models / "base", out=tmp_path / "d")
    for parts in (["compress", models / "a", "--base", models / "base", "--codec", "bf16"], ["decompress", tmp_path / "d", "--base", models / "base"]):
        line = " ".join(f"'{p}'" for p in [smidgen.binary(), *parts, "--out", tmp_path / "out"])
        done = subprocess.run(["bash", "-c", f"trap '' XFSZ; ulimit -f 8; exec {line}"], capture_output=True, text=True, env=smidgen.environment())
        assert done.returncode != 0 and "error:" in done.stderr, done
        assert sorted(p.name for p in tmp_path.iterdir()) == ["d"], done.stderr
