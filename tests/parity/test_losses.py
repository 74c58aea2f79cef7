"""Preference losses and distillation against trl: values, gradients, and training step by step."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tiny
import torch
from support import preference, reference, smidgen
from support.paths import ROOT

RATE = 5e-3
LOSSES = {
    "dpo": [{}, {"beta": 0.5, "variant": "hinge"}, {"beta": 0.5, "variant": "ipo"}, {"variant": "robust", "label_smoothing": 0.2}],
    "orpo": [{"beta": 0.5}],
    "simpo": [{}, {"nll_weight": 0.4, "label_smoothing": 0.1}],
    "kto": [{"beta": 0.5, "desirable_weight": 1.4, "undesirable_weight": 0.7}],
}
CASES = [pytest.param(name, config, id="-".join([name, *map(str, config.values())])) for name, all in LOSSES.items() for config in all]


def data_of(name: str):
    return tiny.data(24, "labelled" if name == "kto" else "pairs")


# ---------------------------------------------------------------------------------------------- on given numbers
def test_the_golden_numbers_are_those_of_trl():
    """What the unit tests compare with, to the last digit: made again from trl by the script that made them."""
    path = os.pathsep.join([str(ROOT / "tests"), *sys.path])
    script = ROOT / "scripts" / "golden" / "losses.py"
    made = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": path})

    def content(text):
        return re.sub(r"\s|//[^\n]*", "", text)

    kept = (ROOT / "smidgen" / "train" / "losses" / "golden_trl.h").read_text()
    assert content(made.stdout) == content(kept)


# ---------------------------------------------------------------------------------------------- the reference can fail
def test_every_option_moves_the_reference():
    """A run's loss differs by far more than the tolerance below when an option, or what a loss is fed, changes."""
    folder = tiny.model()

    def values(name, config, change=lambda rows: rows):
        rows = change(preference.units(folder, data_of(name)))
        model = reference.lora(reference.llama(folder, torch.float64), target_modules="all-linear", scale=0.3)
        return preference.train(
            model, [rows[:3], rows[3:5]], lambda taken: preference.loss_of(name, model, rows, taken, config), learning_rate=RATE
        )

    def apart(a, b):
        return max(abs(x[0] - y[0]) for x, y in zip(a, b))

    flips = {
        "dpo": [{"beta": 0.3}, {"variant": "hinge"}, {"variant": "ipo"}, {"variant": "robust", "label_smoothing": 0.2}],
        "orpo": [{"beta": 0.5}],
        "simpo": [{"beta": 1.0}, {"gamma": 0.4}, {"label_smoothing": 0.1}, {"nll_weight": 0.4}],
        "kto": [{"beta": 0.5}, {"desirable_weight": 1.4}, {"undesirable_weight": 0.7}],
    }
    for name, configs in flips.items():
        plain = values(name, {})
        for config in configs:
            assert apart(plain, values(name, config)) >= 100 * 1e-4, (name, config)

    def exchanged(rows):
        return [{"chosen": r["rejected"], "rejected": r["chosen"]} for r in rows]

    def relabelled(rows):
        return [r | {"label": not r["label"]} for r in rows]

    for name, change in (("dpo", exchanged), ("orpo", exchanged), ("simpo", exchanged), ("kto", relabelled)):
        assert apart(values(name, {"beta": 0.5}), values(name, {"beta": 0.5}, change)) >= 100 * 1e-4, name


def test_the_options_of_distillation_move_the_reference():
    folder = tiny.model()
    model = reference.lora(reference.llama(folder, torch.float64), target_modules="all-linear")
    teacher = reference.llama(tiny.model(seed=4), torch.float64)
    samples = reference.samples(folder, tiny.data())[:3]

    def value(**config):
        return preference.distillation(model, teacher, samples, **({"distill_weight": 0.9} | config)).item()

    for config in ({"divergence": 1.0}, {"divergence": 0.4}, {"temperature": 2.0}, {"distill_weight": 0.5}):
        assert abs(value(**config) - value()) >= 100 * 1e-4, config


# ---------------------------------------------------------------------------------------------- ten steps
def started(folder, data, scratch, loss, **flags):
    """The adapter that a run begins with, and the run's ten steps."""
    settings = {"loss": loss, "learning_rate": RATE, "max_grad_norm": 0.0, "batch_tokens": 160, **flags}
    smidgen.tune(folder, data, scratch / "start", max_steps=0, **settings)
    smidgen.tune(folder, data, scratch / "run", max_steps=10, **settings)
    model = reference.load_adapter(reference.llama(folder, torch.float64), scratch / "start" / "adapter", trainable=True)
    return model, smidgen.metrics(scratch / "run"), scratch / "run" / "adapter"


def compare(model, adapter, rows, wanted):
    assert len(rows) == len(wanted) == 10
    assert max(r["loss"] for r in rows) - min(r["loss"] for r in rows) > 1e-2, "nothing moves"
    for row, (value, metrics) in zip(rows, wanted):
        assert row["loss"] == pytest.approx(value, abs=1e-4 * max(1.0, abs(value))), f"step {row['step']}"
        for key, number in metrics.items():
            if key.startswith(("rewards/", "kl", "nll_loss", "log_odds_ratio")) and key in row:
                assert row[key] == pytest.approx(number, abs=2e-4 * max(1.0, abs(number))), f"step {row['step']}: {key}"
    stored = smidgen.tensors(adapter / "adapter_model.safetensors")
    for name, p in model.named_parameters():
        if p.requires_grad:
            error = reference.rms_difference(stored[reference.peft_name(name)], p.detach().numpy())
            assert error < 2e-3, name


@pytest.mark.parametrize(("name", "config"), CASES)
def test_ten_steps(name, config, tmp_path):
    """Several units a step, so that means over them, over their tokens and over labels matter."""
    folder, data = tiny.model(), data_of(name)
    model, rows, adapter = started(folder, data, tmp_path, name, **config)
    units = preference.units(folder, data)
    wanted = preference.train(
        model,
        preference.steps(units, rows),
        lambda taken: preference.loss_of(name, model, units, taken, config),
        learning_rate=RATE,
    )
    assert {"rewards/chosen", "rewards/rejected", "rewards/margins"} <= set().union(*rows)
    compare(model, adapter, rows, wanted)


@pytest.mark.parametrize(
    "config", [{"distill_weight": 0.9}, {"divergence": 1.0, "temperature": 2.0}, {"divergence": 0.3, "distill_weight": 1.0}], ids=["forward", "reverse", "jsd"]
)
def test_ten_steps_of_distillation(config, tmp_path):
    folder, teacher, data = tiny.model(), tiny.model(seed=4), tiny.data()
    model, rows, adapter = started(folder, data, tmp_path, "distill", teacher=teacher, **config)
    theirs = reference.llama(teacher, torch.float64)
    samples = [{"s": s} for s in reference.samples(folder, data)]
    wanted = preference.train(
        model,
        preference.steps(samples, rows),
        lambda taken: preference.distillation(model, theirs, [t["s"] for t in taken], **config),
        learning_rate=RATE,
    )
    compare(model, adapter, rows, wanted)


def test_dpo_with_an_output_layer_that_trains(tmp_path):
    """Blocks of logits are made again for the gradient of a trained output layer."""
    folder, data = tiny.model(tie_word_embeddings=False), data_of("dpo")
    settings = {"loss": "dpo", "learning_rate": 1e-3, "max_grad_norm": 0.0, "batch_tokens": 160}
    full = {"method": "full", "rank": None, "alpha": None, "target": None}
    smidgen.tune(folder, data, tmp_path / "run", **settings, **full)
    rows = smidgen.metrics(tmp_path / "run")
    model, base = (reference.llama(folder, torch.float64) for _ in range(2))

    def loss(taken):
        from support import trl

        sides = {k: [u[k] for u in taken] for k in ("chosen", "rejected")}
        with torch.no_grad():
            held = [torch.stack([preference.log_probabilities(base, s).sum() for s in side]) for side in sides.values()]
        return trl.dpo(*[[preference.log_probabilities(model, s) for s in side] for side in sides.values()], *held)

    wanted = preference.train(model, preference.steps(preference.units(folder, data), rows), loss, learning_rate=1e-3)
    for row, (value, _) in zip(rows, wanted):
        assert row["loss"] == pytest.approx(value, abs=1e-4), f"step {row['step']}"
    losses = [r["loss"] for r in rows]
    assert max(losses) - min(losses) > 0.1, "nothing moves"
    stored = smidgen.tensors(tmp_path / "run" / "model" / "model.safetensors")
    head = dict(model.named_parameters())["lm_head.weight"].detach().numpy()
    before = reference.llama(folder).get_output_embeddings().weight.detach().numpy()
    moved = np.linalg.norm(head - before)
    assert np.linalg.norm(stored["lm_head.weight"] - head) < 0.02 * moved


# ---------------------------------------------------------------------------------------------- laws
@pytest.mark.parametrize("name", LOSSES)
def test_how_a_step_is_cut_does_not_matter(name, tmp_path):
    settings = {"loss": name, "batch_tokens": 400, "learning_rate": RATE}
    runs = []
    for micro in (1, 4096):
        smidgen.tune(tiny.model(), data_of(name), tmp_path / str(micro), micro_tokens=micro, **settings)
        runs.append(np.array([r["loss"] for r in smidgen.metrics(tmp_path / str(micro))]))
    assert np.abs(runs[0] - runs[1]).max() <= 1e-4 * max(1.0, np.abs(runs[0]).max())


def test_dpo_raises_the_margin_on_held_out_pairs(tmp_path):
    """Pairs that were not trained on are told apart afterwards."""
    held = tiny.data(16, "pairs", seed=11)
    smidgen.tune(
        tiny.model(),
        tiny.data(96, "pairs"),
        tmp_path / "run",
        loss="dpo",
        beta=0.2,
        eval_data=held,
        eval_every=20,
        learning_rate=1e-2,
        rank=8,
        batch_tokens=400,
        max_steps=60,
        shuffle=True,
    )
    rows = [r for r in smidgen.json_lines((tmp_path / "run" / "metrics.jsonl").read_text()) if "eval_loss" in r]
    report = smidgen.json_lines((tmp_path / "run" / "report.json").read_text().replace("\n", ""))[0]
    held_out = report["held_out"]
    assert held_out["before"] == pytest.approx(np.log(2), abs=1e-6), "the base is its own reference"
    assert held_out["metrics_before"]["rewards/margins"] == pytest.approx(0, abs=1e-6)
    assert held_out["metrics_after"]["rewards/margins"] > 0.5
    assert held_out["metrics_after"]["rewards/accuracies"] >= 0.85
    assert held_out["after"] < 0.5
    assert rows[-1]["eval_rewards/margins"] == pytest.approx(held_out["metrics_after"]["rewards/margins"], rel=1e-3)
