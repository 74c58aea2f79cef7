"""What a run of a reversible network tells its user, keeps, resumes and refuses."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import smidgen  # noqa: E402

RUN = {"method": "meft1", "rank": None, "alpha": None, "target": None, "max_steps": 4}


def tune(model, data, out, **settings):
    return smidgen.tune(model, data, out, **(RUN | settings))


@pytest.fixture(scope="module")
def trained(model, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("meft") / "run"
    return out, tune(model, data, out, save_every=2, quiet=False)


def test_the_first_step_says_how_exact_the_way_back_is(trained):
    out, done = trained
    assert "reversed layers differ" in done.stderr + done.stdout
    start = json.loads((out / "start.json").read_text())
    first, *others = smidgen.metrics(out)
    assert start["reconstruction_error"] == first["reconstruction_error"] == 0
    assert len(start["reconstruction_errors"]) == 3
    assert 0.01 < first["starting_distance"] < 1
    assert all("reconstruction_error" not in row for row in others)


def test_it_resumes_to_the_same_bits(trained, model, data, tmp_path):
    whole = trained[0] / "adapter" / "adapter_model.safetensors"
    tune(model, data, tmp_path / "run", save_every=2)
    (tmp_path / "run" / "checkpoints" / "step-00000004" / "DONE").unlink()
    tune(model, data, tmp_path / "run", save_every=2, resume=True)
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").read_bytes() == whole.read_bytes()


def test_the_adapter_generates_and_scores(trained, model, data):
    adapter = trained[0] / "adapter"
    text = smidgen.generate(model, "Hello", adapter=adapter, greedy=True, raw=True, max_new_tokens=8, dtype="fp32")
    again = smidgen.generate(model, "Hello", adapter=adapter, greedy=True, raw=True, max_new_tokens=8, dtype="fp32")
    assert text["ids"] == again["ids"]
    assert smidgen.evaluate(model, data, adapter=adapter)["loss"] > 0


def test_a_way_back_that_is_off_is_refused_with_what_would_work(model, data, tmp_path):
    with pytest.raises(smidgen.Failed) as refused:
        tune(model, data, tmp_path / "run", reverse="anchors", anchor_every=3, tolerance=1e-9)
    said = refused.value.done.stderr
    assert "reconstruct" in said or "reversed layers" in said, said
    assert "reverse: exact" in said and "reverse: cached" in said, said


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"x1_factor": 0.3}, ["x1_factor", "1/k"]),
        ({"memory": "checkpoint"}, ["memory", "reverse: cached"]),
        ({"anchor_every": 2}, ["anchor_every", "reverse: anchors"]),
    ],
)
def test_what_cannot_go_together_is_refused_before_weights_are_read(settings, words, model, data, tmp_path):
    with pytest.raises(smidgen.Failed) as refused:
        tune(model, data, tmp_path / "run", **settings)
    assert all(word in refused.value.done.stderr for word in words), refused.value.done.stderr
    assert not (tmp_path / "run").exists()


def test_the_recipe_of_the_paper_resolves(model, data, tmp_path):
    recipe = Path(__file__).resolve().parents[2] / "papers" / "14-meft" / "recipe.yaml"
    done = smidgen.ok("tune", recipe, model=model, data=data, max_length=128, out=tmp_path / "run", dry_run=True, json=True)
    assert smidgen.read_json(done.stdout)["method"] == "meft1"
