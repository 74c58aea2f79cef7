"""A run that breaks down stops and says on what."""

import json

import numpy as np
import pytest
import tiny
from support import runs, smidgen

STEP = {"batch_tokens": 1, "micro_tokens": 1, "shuffle": smidgen.NO, "save_every": 10, "eval_every": None, "eval_data": None}


def row(word: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": word}, {"role": "assistant", "content": answer}]}


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["nan", "inf"])
def test_a_value_that_is_no_number_names_its_batch(value, tmp_path):
    """The embedding of one letter is broken, and only line 26 has that letter."""
    folder = smidgen.copy(tiny.model(tie_word_embeddings=False), tmp_path / "m")
    tensors = smidgen.tensors(folder / "model.safetensors")
    broken = tiny.tokenizer().token_to_id("Z")
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"].copy()
    tensors["model.embed_tokens.weight"][broken] = value
    tiny.write_safetensors(folder / "model.safetensors", tensors)
    rows = [row("ka", "lori") for _ in range(40)]
    rows[25] = row("ka Z", "lori")
    assert broken in tiny.tokenizer().encode(json.dumps(rows[25])).ids
    data = tiny.write_jsonl(tmp_path / "data.jsonl", rows)
    run = tmp_path / "run"
    done = smidgen.call("tune", **runs.arguments(folder, data, run, **{**STEP, "max_steps": 40, "learning_rate": 1e-6}))
    assert done.returncode == 1, done.stderr
    assert "step 26" in done.stderr
    assert "data.jsonl:26" in done.stderr or "line 26" in done.stderr
    assert any(w in done.stderr.lower() for w in ("nan", "inf", "not finite")), done.stderr
    assert "--debug-nan" in done.stderr
    traced = smidgen.call("tune", **runs.arguments(folder, data, tmp_path / "traced", **{**STEP, "max_steps": 40, "learning_rate": 1e-6, "debug_nan": True}))
    assert traced.returncode == 1 and "step 26, forward: model.embed_tokens gives" in traced.stderr, traced.stderr
    # The last good state is there: nothing that holds the broken value was saved.
    for checkpoint in runs.checkpoints(run):
        for file in checkpoint.rglob("*.safetensors"):
            assert all(np.isfinite(x).all() for x in smidgen.tensors(file).values() if x.dtype.kind == "f"), file


def spike(tmp_path, at: int, steps: int):
    """The same short answer on every line but one, whose answer is far less likely; learning is as good as off."""
    folder = tiny.model()
    losses = {}
    for answer in ("lori", "ka", "ta", "Ver", "sel", "qzx", "JJQ", "#", "%%"):
        probe = tiny.write_jsonl(tmp_path / "probe.jsonl", [row("in", answer)])
        losses[answer] = smidgen.evaluate(folder, probe, dtype="fp32")["loss"]
    low, high = min(losses, key=losses.get), max(losses, key=losses.get)
    assert losses[high] > losses[low] + 0.5
    rows = [row("in", low) for _ in range(steps)]
    rows[at - 1] = row("in", high)
    data = tiny.write_jsonl(tmp_path / "data.jsonl", rows)
    flags = {**STEP, "max_steps": steps, "learning_rate": 1e-9, "schedule": "constant", "warmup_steps": 0}
    return smidgen.call("tune", **runs.arguments(folder, data, tmp_path / "run", **flags))


def test_a_jump_of_the_loss_names_its_batch(tmp_path):
    done = spike(tmp_path, 41, 60)
    assert done.returncode == 1, done.stderr
    assert "step 41" in done.stderr
    assert "data.jsonl:41" in done.stderr or "line 41" in done.stderr


def test_a_jump_in_the_first_twenty_steps_is_let_pass(tmp_path):
    assert spike(tmp_path, 15, 18).returncode == 0
