"""`smidgen merge` against mergekit 0.1.5, recipe by recipe: the same file for both, every tensor and the configuration."""

import json

import pytest
import torch
import yaml
from support import merges, smidgen

TOLERANCE = 1e-6  # of the largest value of a tensor
ROUNDED = 2**-8  # where both round to bf16


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("merge")
    merges.make_models(folder)
    return folder


def by_mergekit(text, home, out, monkeypatch):
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    monkeypatch.chdir(home)
    options = MergeOptions(write_model_card=False, copy_tokenizer=False, quiet=True, num_threads=None)
    run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), str(out), options)
    return merges.tensors(out)


def by_smidgen(text, home, out, **flags):
    file = out.parent / f"{out.name}.yaml"
    file.write_text(text)
    smidgen.ok("merge", file, out, cwd=home, **flags)
    return merges.tensors(out)


def compare(ours, theirs, tolerance, apart=0.0):
    """`apart`: the share of elements on the other side of a threshold that both compute, one of them in fp32."""
    assert ours.keys() == theirs.keys()
    for name, wanted in theirs.items():
        got = ours[name]
        assert got.dtype == wanted.dtype and got.shape == wanted.shape, name
        differences = (got.double() - wanted.double()).abs() / wanted.double().abs().max()
        assert (differences > tolerance).double().mean() <= apart, f"{name}: {differences.max():.2e}"


@pytest.mark.parametrize("name", merges.RECIPES)
def test_values(name, home, tmp_path, monkeypatch):
    text = merges.RECIPES[name]
    theirs = by_mergekit(text, home, tmp_path / "theirs", monkeypatch)
    apart = 0.01 if name == "arcee_fusion" else 0.0
    compare(by_smidgen(text, home, tmp_path / "ours"), theirs, ROUNDED if "bfloat16" in text else TOLERANCE, apart)
    ours, wanted = (json.loads((tmp_path / side / "config.json").read_text()) for side in ("ours", "theirs"))
    assert ours["num_hidden_layers"] == wanted["num_hidden_layers"]
    assert ours["dtype"] == wanted["dtype"]


@pytest.mark.parametrize("name", merges.RANDOM)
def test_random_masks(name, home, tmp_path, monkeypatch):
    """Theirs and ours keep other entries: as many, and with the same sum of magnitudes."""
    text = merges.RANDOM[name]
    theirs = by_mergekit(text, home, tmp_path / "theirs", monkeypatch)
    ours = by_smidgen(text, home, tmp_path / "ours")
    base, tuned = merges.tensors(home / "base"), merges.tensors(home / "a")
    for key, start in base.items():
        norms = [(side[key] - start).double().abs().sum() for side in (ours, theirs, tuned)]
        assert norms[0] == pytest.approx(norms[2].item(), rel=1e-4) and norms[1] == pytest.approx(norms[2].item(), rel=1e-4)
        kept = [((side[key] - start) != 0).double().mean().item() for side in (ours, theirs)]
        bound = 6 * (0.25 / start.numel()) ** 0.5
        assert abs(kept[0] - kept[1]) < 2 * bound, key
    again = by_smidgen(text, home, tmp_path / "again")
    assert all(torch.equal(ours[key], again[key]) for key in ours)
    other = by_smidgen(text, home, tmp_path / "other", seed=5)
    assert any(not torch.equal(ours[key], other[key]) for key in ours)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("name", merges.NARROW)
def test_bits_of_mergekits_steps(name, dtype, home, tmp_path, monkeypatch):
    """compat: mergekit computes every step in the type, as mergekit does: the same bits."""
    for out in ("", "out_dtype: float32\n"):
        text = merges.NARROW[name].replace("float32", dtype, 1) + out
        theirs = by_mergekit(text, home, tmp_path / f"theirs{len(out)}", monkeypatch)
        ours = by_smidgen(text + "smidgen: {compat: mergekit}\n", home, tmp_path / f"ours{len(out)}")
        assert ours.keys() == theirs.keys()
        different = [key for key in theirs if not torch.equal(ours[key], theirs[key])]
        if "slerp" not in name:
            assert not different
            continue
        # mergekit adds the products up in fp32, we in double: a weight may differ in its last bit.
        count = sum((ours[key] != theirs[key]).sum().item() for key in theirs)
        assert dtype == "float32" or count <= 1e-3 * sum(value.numel() for value in theirs.values())
        compare(ours, theirs, {"bfloat16": 2**-7, "float16": 2**-10, "float32": 1e-6}[dtype])


def test_types_of_the_files_are_those_of_the_arithmetic(home, tmp_path, monkeypatch):
    """Without dtype mergekit computes in what the inputs are promoted to."""
    for name, dtype in (("x", torch.bfloat16), ("y", torch.bfloat16), ("z", torch.float16)):
        merges.convert(home / {"x": "a", "y": "b", "z": "c"}[name], tmp_path / name, dtype)
    merges.convert(home / "base", tmp_path / "base", torch.bfloat16)
    for models in ("xy", "xz"):
        listed = merges.listed(*(tmp_path / m for m in models), weight=(0.7, 0.4), density=0.4)
        text = merges.recipe("ties", listed, base=tmp_path / "base").replace("dtype: float32\n", "")
        theirs = by_mergekit(text, home, tmp_path / f"theirs-{models}", monkeypatch)
        ours = by_smidgen(text + "smidgen: {compat: mergekit}\n", home, tmp_path / f"ours-{models}")
        assert all(value.dtype == (torch.bfloat16 if models == "xy" else torch.float32) for value in theirs.values())
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_methods_that_do_not_follow_say_so(home, tmp_path):
    text = merges.recipe("karcher", merges.listed("a", "b"), dtype="bfloat16") + "smidgen: {compat: mergekit}\n"
    (tmp_path / "r.yaml").write_text(text)
    done = smidgen.call("merge", tmp_path / "r.yaml", tmp_path / "out", cwd=home)
    assert done.returncode == 1 and "karcher is not computed in 16 bits" in done.stderr and "slerp" in done.stderr
    assert not (tmp_path / "out").exists()


def test_tied_head_stays_tied(tmp_path, monkeypatch):
    merges.make_models(tmp_path, tied=True)
    # Whole paths: mergekit keeps open what it once found under a name.
    text = merges.recipe("linear", merges.listed(tmp_path / "a", tmp_path / "b", weight=0.5))
    theirs = by_mergekit(text, tmp_path, tmp_path / "theirs", monkeypatch)
    compare(by_smidgen(text, tmp_path, tmp_path / "ours"), theirs, TOLERANCE)
    assert "lm_head.weight" not in merges.tensors(tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["tie_word_embeddings"]


def test_transformers_opens_the_result(home, tmp_path):
    from transformers import LlamaForCausalLM

    by_smidgen(merges.RECIPES["passthrough stack"], home, tmp_path / "ours", shard_size="20KB")
    model = LlamaForCausalLM.from_pretrained(tmp_path / "ours")
    assert model.config.num_hidden_layers == 7
    parts = {name: LlamaForCausalLM.from_pretrained(home / name) for name in "ab"}
    expected = [parts[m].model.layers[i].mlp.up_proj.weight for m, i in (("a", 0), ("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 3), ("a", 2))]
    assert all(torch.equal(layer.mlp.up_proj.weight, want) for layer, want in zip(model.model.layers, expected, strict=True))
