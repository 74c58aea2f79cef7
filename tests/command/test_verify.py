"""Whether `verify` tells models that compute the same from others, by exit code and by figures."""

import shutil

import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file, save_file
from support import smidgen


def verify(a, b, **flags):
    done = smidgen.call("verify", a, b, json=True, **flags)
    assert done.returncode in (0, 1), done.stderr
    found = smidgen.read_json(done.stdout)
    assert found["same"] == (done.returncode == 0)
    return found


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "run"
    smidgen.tune(tiny.model(), tiny.data(), run, max_steps=3, save_every=1)
    return run / "adapter"


def moved(folder, to, by):
    shutil.copytree(folder, to)
    tensors = load_file(to / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"] *= np.float32(1 + by)
    save_file(tensors, to / "model.safetensors", {"format": "pt"})
    return to


def test_a_model_is_itself():
    found = verify(tiny.model(), tiny.model())
    assert found["same"] and found["texts"][0]["max_abs"] == 0 and found["texts"][0]["same_top"] == 1


def test_a_merged_model_is_its_parts(adapter, tmp_path):
    smidgen.ok("export", model=tiny.model(), adapter=adapter, out=tmp_path / "merged", dtype_out="fp32")
    both = f"{tiny.model()}+{adapter}"
    assert verify(both, tmp_path / "merged", tolerance=1e-4)["same"]
    assert not verify(tiny.model(), tmp_path / "merged")["same"]


def test_figures_are_those_of_forward(tmp_path):
    """The logits of both, from the forward verb, and numpy."""
    text = "lori ka an the vering"
    other = moved(tiny.model(), tmp_path / "other", 0.02)
    row = verify(tiny.model(), other, text=text)["texts"][1]
    z = smidgen.forward(tiny.model(), text=text)["logits"].astype(np.float64)
    w = smidgen.forward(other, text=text)["logits"].astype(np.float64)
    assert row["positions"] == len(z)
    assert row["max_abs"] == pytest.approx(np.abs(z - w).max(), rel=1e-3)
    assert row["relative"] == pytest.approx(np.abs(z - w).max() / np.abs(z).max(), rel=1e-3)
    p, q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (z, w))
    assert row["mean_kl"] == pytest.approx((np.exp(p) * (p - q)).sum(-1).mean(), rel=1e-2, abs=1e-9)
    assert row["same_top"] == pytest.approx((z.argmax(-1) == w.argmax(-1)).mean())


def test_the_tolerance_decides(tmp_path):
    other = moved(tiny.model(), tmp_path / "other", 1e-3)
    relative = verify(tiny.model(), other)["texts"][0]["relative"]
    assert relative > 1e-5
    assert verify(tiny.model(), other, tolerance=relative * 1.01)["same"]
    assert not verify(tiny.model(), other, tolerance=relative * 0.99)["same"]


def test_nan_is_not_the_same(tmp_path):
    other = moved(tiny.model(), tmp_path / "other", float("nan"))
    done = smidgen.call("verify", tiny.model(), other, tolerance=1e9)
    assert done.returncode == 1 and "not the same" in done.stdout
    assert f" of {other} are no numbers" in done.stdout and f" of {tiny.model()} " not in done.stdout
    found = verify(tiny.model(), other)
    assert found["texts"][0]["not_finite"][0] == 0 < found["texts"][0]["not_finite"][1]
    # Not even of itself: what it computes is nothing.
    assert not verify(other, other)["same"]


def test_adapters_on_a_base(adapter, tmp_path):
    assert verify(adapter, adapter, base=tiny.model())["same"]
    assert not verify(adapter, f"{adapter}:0.5", base=tiny.model())["same"]
    assert verify(f"{tiny.model()}+{adapter}", adapter, base=tiny.model())["same"]
    done = smidgen.call("verify", adapter, adapter)
    assert done.returncode == 2 and "--base MODEL" in done.stderr


def test_long_texts_are_cut_into_windows(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("\n".join(tiny.corpus(40, seed=3)))
    other = moved(tiny.model(), tmp_path / "other", 1e-3)
    row = verify(tiny.model(), other, file=words)["texts"][1]
    assert row["positions"] == len(smidgen.tokenize_file(tiny.model(), words)) > 200
    assert row["max_abs"] > 0
