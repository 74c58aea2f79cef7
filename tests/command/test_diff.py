"""What `diff` finds against numpy on the same files, its exit codes, and its memory."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file, save_file
from support import smidgen

CHANGED = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def pair(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    shutil.copytree(tiny.model(), a)
    shutil.copytree(tiny.model(), b)
    return a, b


def weights(folder):
    return load_file(folder / "model.safetensors")


def write(folder, tensors):
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def diff(a, b, **flags):
    done = smidgen.call("diff", a, b, json=True, **flags)
    assert done.returncode in (0, 1), done.stderr
    found = smidgen.read_json(done.stdout)
    assert found["equal"] == (done.returncode == 0)
    return found


def test_copies_are_equal(pair):
    found = diff(*pair)
    assert found["equal"] and not found["keys"] and not found["tensors"]
    assert found["tensor_count"] == len(weights(pair[0]))
    assert smidgen.call("diff", *pair).stdout == ""


def test_figures_are_numpys(pair):
    a, b = pair
    tensors = weights(b)
    before = tensors[CHANGED].astype(np.float64)
    rng = np.random.default_rng(1)
    moved = tensors[CHANGED].copy()
    moved[::3] += (0.01 * rng.standard_normal(moved[::3].shape)).astype(moved.dtype)
    tensors[CHANGED] = moved
    del tensors["model.layers.0.input_layernorm.weight"]
    tensors["extra.weight"] = np.ones((2, 3), np.float32)
    name = "model.layers.2.mlp.down_proj.weight"
    tensors[name] = tensors[name].reshape(-1, 10)
    half = "model.layers.0.mlp.up_proj.weight"
    tensors[half] = tensors[half].astype(np.float16)
    write(b, tensors)
    rows = {row["name"]: row for row in diff(a, b)["tensors"]}
    assert set(rows) == {CHANGED, "model.layers.0.input_layernorm.weight", "extra.weight", name, half}
    d = moved.astype(np.float64) - before
    row = rows[CHANGED]
    assert row["elements"] == d.size and row["differing"] == np.count_nonzero(d)
    assert row["max_abs"] == pytest.approx(np.abs(d).max(), rel=1e-12)
    assert row["relative"] == pytest.approx(np.abs(d).max() / np.abs(before).max(), rel=1e-12)
    assert row["rms"] == pytest.approx(np.sqrt((d**2).mean()), rel=1e-12)
    assert rows["extra.weight"]["a"] is None and rows["extra.weight"]["b"]["shape"] == [2, 3]
    assert rows["model.layers.0.input_layernorm.weight"]["b"] is None
    assert "max_abs" not in rows[name]
    assert rows[half]["b"]["format"] == "f16" and rows[half]["max_abs"] > 0


def test_keys_and_tokenizers(pair):
    a, b = pair
    config = json.loads((b / "config.json").read_text())
    config["rms_norm_eps"] *= 2
    config["new_key"] = {"x": 1}
    (b / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((b / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    x, y = list(vocabulary)[100:102]
    vocabulary[x], vocabulary[y] = vocabulary[y], vocabulary[x]
    (b / "tokenizer.json").write_text(json.dumps(tokenizer))
    found = diff(a, b)
    keys = {(row["file"], row["key"]): row for row in found["keys"]}
    assert set(keys) == {("config.json", "rms_norm_eps"), ("config.json", "new_key"), ("tokenizer.json", "model.vocab.sha256")}
    assert keys["config.json", "new_key"]["b"] == {"x": 1} and "a" not in keys["config.json", "new_key"]
    assert keys["config.json", "rms_norm_eps"]["b"] == 2 * keys["config.json", "rms_norm_eps"]["a"]
    assert not found["tensors"]
    text = smidgen.call("diff", a, b).stdout
    assert "rms_norm_eps: " in text and "new_key: absent | " in text


def test_values_that_are_no_numbers_are_counted_apart(pair):
    a, b = pair
    tensors = weights(b)
    tensors[CHANGED][0, 0] = np.nan
    tensors[CHANGED][1, 1] = np.inf
    tensors[CHANGED][2, 2] += 0.5
    write(b, tensors)
    (row,) = diff(a, b)["tensors"]
    assert (row["differing"], row["not_finite"]) == (3, 2) and row["max_abs"] == pytest.approx(0.5, rel=1e-6)
    assert "2 of them not finite" in smidgen.call("diff", a, b).stdout
    assert diff(b, b)["equal"]


def test_adapters(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        smidgen.tune(tiny.model(), tiny.data(), tmp_path / name, max_steps=2, seed=seed, rank=4 if seed == 1 else 5)
    a, b = tmp_path / "a" / "adapter", tmp_path / "b" / "adapter"
    assert diff(a, a)["equal"]
    found = diff(a, b)
    assert ("adapter_config.json", "r") in {(row["file"], row["key"]) for row in found["keys"]}
    assert any("lora_A" in row["name"] for row in found["tensors"])
    done = smidgen.call("diff", tiny.model(), a)
    assert done.returncode == 2 and "is an adapter" in done.stderr


def test_a_base_with_its_adapter_is_the_merged_model(tmp_path):
    smidgen.tune(tiny.model(), tiny.data(), tmp_path / "run", max_steps=3)
    adapter = tmp_path / "run" / "adapter"
    smidgen.ok("export", model=tiny.model(), adapter=adapter, out=tmp_path / "merged", dtype_out="fp32")
    found = diff(f"{tiny.model()}+{adapter}", tmp_path / "merged")
    assert all(row.get("max_abs", 0) == 0 for row in found["tensors"]), found["tensors"]
    assert any(row.get("max_abs", 0) > 0 for row in diff(tiny.model(), tmp_path / "merged")["tensors"])


def test_a_folder_and_its_gguf_file():
    found = diff(tiny.gguf(), tiny.gguf())
    assert found["equal"]
    mixed = diff(tiny.model(), tiny.gguf())
    names = {row["name"] for row in mixed["tensors"] if row["a"] is None or row["b"] is None}
    assert not names, names


@pytest.mark.parametrize("call", [["diff", "none", "none"], ["diff", "none"], ["diff", "a", "b", "c"]])
def test_trouble_is_a_2(call, tmp_path):
    done = smidgen.call(*call, cwd=tmp_path)
    assert done.returncode == 2 and "error: " in done.stderr


def test_memory_does_not_grow_with_the_model(tmp_path):
    """Two files of 300 MB, compared element by element within much less."""
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    values = np.random.default_rng(0).standard_normal(25_000_000, np.float32)
    save_file({f"w{i}": values.reshape(5000, 5000) for i in range(3)}, a)
    values[::7] += 1
    save_file({f"w{i}": values.reshape(5000, 5000) for i in range(3)}, b)
    script = "import resource, subprocess, sys\nsubprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)\nprint(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run(
        ["python3", "-c", script, *smidgen.argv("diff", a, b)], capture_output=True, text=True, env=smidgen.environment(), check=True
    )
    small = subprocess.run(
        ["python3", "-c", script, *smidgen.argv("diff", tiny.gguf(), tiny.gguf())], capture_output=True, text=True, env=smidgen.environment(), check=True
    )
    grown = (int(done.stdout) - int(small.stdout)) / 1024
    print(f"{int(done.stdout) / 1024:.0f} MB, {grown:.0f} more than for small files")
    assert grown < 60
