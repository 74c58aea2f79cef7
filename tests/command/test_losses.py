"""Runs of other losses than cross-entropy: resumed ones are the uninterrupted ones, and say what they scored."""

import shutil

import pytest
import tiny
from support import runs, smidgen

CASES = {
    "dpo": ("pairs", {"beta": 0.3}),
    "orpo": ("pairs", {}),
    "kto": ("labelled", {"beta": 0.3}),
    "distill": ("messages", {"divergence": 0.5}),
}


def flags_of(loss, config, **more):
    teacher = {"teacher": tiny.model(seed=4)} if loss == "distill" else {}
    return {"loss": loss, "max_steps": 12, "save_every": 4, "eval_every": 4, "max_length": 128} | config | teacher | more


@pytest.mark.parametrize("loss", CASES)
def test_a_resumed_run_is_the_same(loss, model, tmp_path):
    kind, config = CASES[loss]
    data, whole, cut = tiny.data(24, kind), tmp_path / "whole", tmp_path / "cut"
    for out in (whole, cut):
        smidgen.ok("tune", timeout=240, **runs.arguments(model, data, out, **flags_of(loss, config)))
    for checkpoint in runs.checkpoints(cut)[1:]:
        shutil.rmtree(checkpoint)
    smidgen.ok("tune", resume=True, timeout=240, **runs.arguments(model, data, cut, **flags_of(loss, config)))
    runs.same(cut, whole)
    rows = runs.rows(whole)
    if loss == "distill":
        assert "rewards/chosen" not in rows[0]
        return
    assert {"rewards/chosen", "rewards/rejected", "rewards/margins"} <= set().union(*rows)
    assert {"eval_rewards/margins", "eval_loss"} <= set(rows[3])
    page = (whole / "report.html").read_text()
    assert "Reward margin" in page and "Perplexity" not in page


def test_another_loss_is_another_run(model, tmp_path):
    data, out = tiny.data(24, "pairs"), tmp_path / "run"
    smidgen.ok("tune", **runs.arguments(model, data, out, **flags_of("dpo", {"beta": 0.3})))
    for config in ({"beta": 0.2}, {"beta": 0.3, "variant": "ipo"}):
        done = smidgen.call("tune", resume=True, **runs.arguments(model, data, out, **flags_of("dpo", config)))
        assert done.returncode == 1 and "cannot resume: loss" in done.stderr, done.stderr


def test_a_teacher_counts_by_its_content(model, tmp_path):
    data, out = tiny.data(12), tmp_path / "run"
    teacher = smidgen.copy(tiny.model(seed=4), tmp_path / "teacher")
    flags = flags_of("distill", {}, max_steps=2)
    smidgen.ok("tune", **runs.arguments(model, data, out, **flags | {"teacher": teacher}))
    teacher = teacher.rename(tmp_path / "moved")
    smidgen.ok("tune", resume=True, **runs.arguments(model, data, out, **flags | {"teacher": teacher}))
    other = tiny.model(seed=5)
    done = smidgen.call("tune", resume=True, **runs.arguments(model, data, out, **flags | {"teacher": other}))
    assert done.returncode == 1 and "cannot resume: loss" in done.stderr, done.stderr


def test_a_teacher_of_another_vocabulary(model, tmp_path):
    wider = tiny.model(vocab_size=tiny.vocab_size() + 8)
    done = smidgen.call("tune", **runs.arguments(model, tiny.data(12), tmp_path / "run", **flags_of("distill", {}, teacher=wider)))
    assert done.returncode == 1 and "vocabulary" in done.stderr, done.stderr
