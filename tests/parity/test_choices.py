"""`eval --choices` against transformers: the log-likelihood of every answer, whole sequence by whole sequence."""

import math

import numpy as np
import pytest
import tiny
import torch
from support import reference, smidgen

CHOICES = ["lorine", "lo", "the end", "verin"]


def write(path, count=14):
    rows = tiny.samples(count, "prompt", seed=9)
    for i, row in enumerate(rows):
        row["completion"] = CHOICES[i * 7 % len(CHOICES)]
    return tiny.write_jsonl(path, rows), rows


def scores(model, folder, rows):
    """[rows, choices]: the sum over the tokens that reference.samples calls the answer."""
    out = []
    for row in rows:
        out.append([])
        for choice in CHOICES:
            talk = reference.answered(folder, row["prompt"], choice)
            losses = reference.token_losses(model, talk["ids"])
            out[-1].append(-(losses * torch.tensor(talk["answer"][1:])).sum().item())
    return np.array(out)


def check(folder, model, path, rows, tmp_path, **flags):
    wanted = scores(model, folder, rows)
    right = np.array([CHOICES.index(row["completion"]) for row in rows])
    out = tmp_path / "picked.jsonl"
    said = smidgen.evaluate(folder, path, choices=CHOICES, per_sample=out, dtype="fp32", **flags)
    lines = smidgen.json_lines(out.read_text())
    assert np.allclose([line["scores"] for line in lines], wanted, rtol=1e-5)
    picked = wanted.argmax(1)
    assert [line["picked"] for line in lines] == [CHOICES[i] for i in picked]
    accuracy = float((picked == right).mean())
    assert said["accuracy"] == pytest.approx(accuracy, rel=1e-12)
    hits = (picked == right).astype(float)
    assert said["accuracy_error"] == pytest.approx(hits.std(ddof=1) / math.sqrt(len(hits)), rel=1e-9)
    total = torch.logsumexp(torch.tensor(wanted), 1).numpy()
    assert said["loss"] == pytest.approx(float((total - wanted[np.arange(len(right)), right]).mean()), rel=1e-4)
    return said


@pytest.mark.parametrize("micro", [1, 2048])
def test_scores_are_log_likelihoods(micro, tmp_path):
    folder = tiny.model()
    path, rows = write(tmp_path / "rows.jsonl")
    said = check(folder, reference.llama(folder, torch.float64), path, rows, tmp_path, micro_tokens=micro)
    assert said["questions"] == len(rows) and said["files"][0]["choices"] == CHOICES


def test_with_an_adapter(tmp_path):
    folder = tiny.model()
    smidgen.tune(folder, tiny.data(), tmp_path / "run", learning_rate=5e-3)
    adapter = tmp_path / "run" / "adapter"
    path, rows = write(tmp_path / "rows.jsonl")
    check(folder, reference.load_adapter(reference.llama(folder, torch.float64), adapter), path, rows, tmp_path, adapter=adapter)


def test_each_file_has_its_own_choices(tmp_path):
    folder = tiny.model()
    for name, pair in (("a", ("lo", "verin")), ("b", ("the", "end"))):
        rows = [{"prompt": f"ask {i}", "completion": pair[i % 2]} for i in range(6)]
        tiny.write_jsonl(tmp_path / f"{name}.jsonl", rows)
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    both = smidgen.evaluate(folder, files, choices="auto", dtype="fp32")
    assert [part["choices"] for part in both["files"]] == [["lo", "verin"], ["end", "the"]]
    alone = [smidgen.evaluate(folder, file, choices="auto", dtype="fp32") for file in files]
    assert both["accuracy"] == pytest.approx(np.mean([one["accuracy"] for one in alone]))
    assert both["loss"] == pytest.approx(np.mean([one["loss"] for one in alone]))


def test_the_real_model_knows_capitals(smollm2, smollm2_reference, tmp_path):
    rows = [{"prompt": f"What is the capital of {land}? One word.", "completion": city} for land, city in (("France", "Paris"), ("Italy", "Rome"))]
    path = tiny.write_jsonl(tmp_path / "rows.jsonl", rows)
    out = tmp_path / "picked.jsonl"
    said = smidgen.evaluate(smollm2, path, choices=["Paris", "Rome", "Madrid"], per_sample=out, dtype="fp32")
    assert said["accuracy"] == 1
    for row, line in zip(rows, smidgen.json_lines(out.read_text())):
        talk = reference.answered(smollm2, row["prompt"], "Rome")
        losses = reference.token_losses(smollm2_reference, talk["ids"])
        assert line["scores"][1] == pytest.approx(-(losses * torch.tensor(talk["answer"][1:])).sum().item(), rel=1e-3)


def test_a_completion_that_is_no_choice(tmp_path):
    path, _ = write(tmp_path / "rows.jsonl")
    done = smidgen.call("eval", model=tiny.model(), data=path, choices=["verina", "lo", "the end"])
    assert done.returncode == 1 and "is no choice" in done.stderr and "rows.jsonl:" in done.stderr
    done = smidgen.call("eval", model=tiny.model(), data=path, choices="auto", too_long="truncate", max_length=20)
    assert done.returncode == 2 and "cuts off" in done.stderr
