"""Files as others write and read them: safetensors byte by byte, event files, adapter_config.json."""

import json
import struct

import numpy as np
import pytest
import tiny
from safetensors import safe_open
from safetensors.numpy import load_file, save
from support import reference, smidgen


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("files") / "run"
    settings = {"max_steps": 12, "rank": 3, "alpha": 5, "target": "q_proj,v_proj", "save_every": 4}
    smidgen.tune(tiny.model(), tiny.data(), out, eval_data=tiny.data(6, seed=8), eval_every=4, **settings)
    return out


def rewritten(path):
    """The same tensors and metadata through Python's writer."""
    with safe_open(str(path), "np") as f:
        metadata = f.metadata()
    return save(load_file(str(path)), metadata)


def header(path) -> dict:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length])


def test_every_safetensors_of_a_run_has_the_bytes_of_the_python_writer(run):
    files = [run / "adapter" / "adapter_model.safetensors", *run.rglob("*.safetensors")]
    assert len(set(files)) >= 2
    for path in files:
        # The order of metadata keys is a hash order in the Python writer; one key leaves it no choice.
        if len(header(path).get("__metadata__", {})) <= 1:
            assert path.read_bytes() == rewritten(path), path.name
        else:
            ours, theirs = header(path), json.loads(rewritten(path)[8:].split(b"}}", 1)[0] + b"}}")
            assert list(ours)[1:] == list(theirs)[1:], path.name
    assert header(files[0])["__metadata__"] == {"format": "pt"}


def test_output_of_forward_has_the_bytes_of_the_python_writer(tmp_path):
    out = tmp_path / "o.safetensors"
    smidgen.ok("forward", model=tiny.model(), ids=[1, 2, 3], dtype="fp32", out=out)
    assert out.read_bytes() == rewritten(out)
    assert {n: v["shape"] for n, v in header(out).items() if n != "__metadata__"} == {
        "logits": [3, tiny.vocab_size()],
        "hidden": [3, tiny.CONFIG["hidden_size"]],
    }


def test_exported_model_has_the_bytes_of_the_python_writer(run, tmp_path):
    smidgen.ok("export", model=tiny.model(), adapter=run / "adapter", out=tmp_path / "m")
    for path in (tmp_path / "m").glob("*.safetensors"):
        assert path.read_bytes() == rewritten(path)
        assert header(path)["__metadata__"] == {"format": "pt"}


def test_inspect_lists_every_tensor(run):
    for path in (run / "adapter" / "adapter_model.safetensors", tiny.model() / "model.safetensors", tiny.gguf("Q4_1")):
        seen = smidgen.read_json(smidgen.ok("inspect", path, json=True).stdout)
        names = {t["name"] for t in seen["tensors"]}
        if path.suffix == ".gguf":
            from gguf import GGUFReader

            theirs = {t.name: t for t in GGUFReader(str(path)).tensors}
            assert names == set(theirs)
        else:
            assert names == set(load_file(str(path)))


def test_adapter_config_is_what_peft_writes(run, tmp_path):
    """Read by PEFT and written back by it: the same keys, values, order, indentation and end."""
    import peft

    path = run / "adapter" / "adapter_config.json"
    text = path.read_text()
    ours = json.loads(text)
    with reference.without_hub():
        config = peft.LoraConfig.from_pretrained(str(path.parent))
        config.inference_mode = True
        config.save_pretrained(str(tmp_path))
    theirs = json.loads((tmp_path / "adapter_config.json").read_text())
    assert set(ours["target_modules"]) == set(theirs["target_modules"])
    assert ours["target_modules"] == sorted(ours["target_modules"])
    for free in ("target_modules", "peft_version"):
        theirs[free] = ours.get(free)
    assert ours == theirs
    assert text == json.dumps(theirs, indent=2, sort_keys=True)
    assert ours["r"] == 3 and ours["lora_alpha"] == 5 and ours["peft_type"] == "LORA" and ours["inference_mode"] is True
    assert ours["task_type"] == "CAUSAL_LM"


def test_sidecar_says_what_the_adapter_belongs_to(run):
    side = json.loads((run / "adapter" / "smidgen.json").read_text())
    text = json.dumps(side)
    assert "<|im_end|>" in text and "im_start" in text, "template and stop tokens"
    assert "digest" in text and "recipe" in side


# ---------------------------------------------------------------------------------------------- events and metrics
def scalars(run) -> dict[str, list]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = {p.parent for p in run.rglob("*tfevents*")}
    assert len(folders) == 1, "one folder of events"
    events = EventAccumulator(str(folders.pop()), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}


def test_tensorboard_reads_the_events(run):
    rows = smidgen.metrics(run)
    read = scalars(run)
    for tag, key in (("loss/train", "loss"), ("learning_rate", "lr"), ("grad_norm", "grad_norm")):
        assert [e.step for e in read[tag]] == [r["step"] for r in rows]
        assert np.allclose([e.value for e in read[tag]], [r[key] for r in rows], rtol=1e-6), tag
    assert [e.step for e in read["loss/eval"]][-3:] == [4, 8, 12]


def test_metrics_have_the_promised_keys(run):
    rows = smidgen.metrics(run)
    assert [r["step"] for r in rows] == list(range(1, 13))
    for row in rows:
        assert {"step", "loss", "tokens", "tokens_per_s", "peak_mb", "lr"} <= row.keys()
        assert all(isinstance(row[k], (int, float)) for k in ("step", "loss", "tokens", "tokens_per_s", "peak_mb", "lr"))
        assert row["tokens"] > 0 and row["tokens_per_s"] > 0 and 10 < row["peak_mb"] < 24_000


def test_recipe_of_a_run_repeats_it(run, tmp_path):
    """The resolved recipe alone, with another folder, gives the same adapter bit by bit."""
    (recipe,) = [p for p in run.iterdir() if p.name in ("recipe.yaml", "recipe.yml")]
    smidgen.ok("tune", recipe, out=tmp_path / "again", quiet=True, timeout=240)
    name = "adapter/adapter_model.safetensors"
    assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()


def test_forward_reads_what_python_wrote_in_any_alignment(tmp_path):
    """A header whose length is odd puts every tensor at an odd address; the values are the same."""
    folder = smidgen.copy(tiny.model(), tmp_path / "m")
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    text = raw[8 : 8 + length].rstrip(b" ")
    text += b" " * (1 - len(text) % 2)
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
    assert len(text) % 2 == 1 and load_file(str(path))
    ids = [1, 2, 3]
    assert np.array_equal(smidgen.forward(folder, ids=ids)["logits"], smidgen.forward(tiny.model(), ids=ids)["logits"])
