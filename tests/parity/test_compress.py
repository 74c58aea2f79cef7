"""`smidgen compress` against the public code of ComPEFT (prateeky2806/ComPEFT, src/qlora/scripts and ties_utils.py),
transcribed to numpy from its description: the flat vector in sorted-name order, one threshold and one standard deviation
for all of it. And PEFT itself opens what decompress writes."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import smidgen


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
    smidgen.ok("compress", adapter, out=tmp_path / "d", density=0.3)
    smidgen.ok("decompress", tmp_path / "d", out=tmp_path / "back")
    back = [t.numpy().ravel() for _, t in sorted(load_file(tmp_path / "back/adapter_model.safetensors").items())]
    assert np.array_equal(np.concatenate(back) != 0, kept & (flat != 0))


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
    smidgen.ok("compress", adapter, out=tmp_path / "d", density=0.1)
    name = sorted(tensors)[0]
    smidgen.ok("decompress", tmp_path / "d", out=tmp_path / "back")
    before = load_file(tmp_path / "back/adapter_model.safetensors")
    zero = (before[name] == 0).nonzero()[0]
    tensors[name][tuple(zero)] = 9.0
    save_file(tensors, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    smidgen.ok("compress", adapter, out=tmp_path / "d2", density=0.1)
    smidgen.ok("decompress", tmp_path / "d2", out=tmp_path / "back2")
    after = load_file(tmp_path / "back2/adapter_model.safetensors")
    assert after[name][tuple(zero)] > 0
    moved = sum(int(((before[n] != 0) != (after[n] != 0)).sum()) for n in before)
    assert moved == 2
