"""Training against PEFT and PyTorch: the same losses, step by step, and the laws of batching."""

import itertools
import math

import numpy as np
import pytest
import tiny
import torch
from support import reference, replay, smidgen

LR = {"adamw": 5e-3, "sgd": 0.05}


def start_of(model, run, **flags):
    """The adapter a run starts from: the same run with no step."""
    smidgen.tune(model, tiny.data(), run, max_steps=0, **flags)
    return run / "adapter"


def follow(model, data, scratch, *, name="adamw", steps=10, dtype=torch.float64, tolerance=1e-4, settings=None, **flags):
    settings = {"learning_rate": LR[name], "weight_decay": 0.0, "max_grad_norm": 0.0} | (settings or {})
    every = {"optimizer": name, "max_grad_norm": settings["max_grad_norm"], **settings, **flags}
    before = start_of(model, scratch / "start", **every)
    smidgen.tune(model, data, scratch / "run", max_steps=steps, **every)
    theirs = reference.load_adapter(reference.llama(model, dtype), before, trainable=True)
    samples = reference.samples(model, data)
    rows = smidgen.metrics(scratch / "run")
    assert [r["step"] for r in rows] == list(range(1, steps + 1))
    wanted = replay.losses(theirs, samples, rows, name=name, **settings)
    replay.compare(scratch / "run", wanted, tolerance)
    return theirs, scratch / "run" / "adapter"


# ---------------------------------------------------------------------------------------------- the reference can fail
def test_ten_steps_move_the_loss_of_the_reference():
    """What the cases below vary must be visible: optimiser, rate, decay, clipping, packing without borders."""
    folder = tiny.model()
    samples = []
    for row in tiny.samples(24):
        ids = reference.encode(folder, reference.render(tiny.TEMPLATE, row["messages"]))
        samples.append({"ids": ids, "answer": [0] * (len(ids) - 8) + [1] * 8})
    rows = [{"step": k, "answers": 16} for k in range(1, 11)]

    def run(**settings):
        model = reference.lora(reference.llama(folder, torch.float64), target_modules="all-linear")
        return replay.losses(model, samples, rows, **{"learning_rate": LR["adamw"], **settings})

    plain = run()
    for changed in (
        {"name": "sgd"},
        {"learning_rate": 4.5e-3},
        {"weight_decay": 0.5},
        {"name": "sgd", "max_grad_norm": 0.5},
    ):
        other = run(**changed)
        assert max(abs(a - b) for a, b in zip(plain, other)) >= 100 * 1e-4, changed
    model = reference.llama(folder, torch.float64)
    apart = sum(reference.token_losses(model, s["ids"])[-8:].sum().item() for s in samples[:2])
    joined = reference.token_losses(model, samples[0]["ids"] + samples[1]["ids"])
    border = len(samples[0]["ids"]) - 1
    leaked = joined[border - 8 : border].sum().item() + joined[-8:].sum().item()
    assert abs(leaked - apart) / 16 >= 100 * 1e-4


# ---------------------------------------------------------------------------------------------- tiny
@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("batch_tokens", [1, 250])
def test_ten_steps(name, batch_tokens, tmp_path):
    """One sample a step, and several of them; the adapters agree as well."""
    model, ours = follow(tiny.model(), tiny.data(), tmp_path, name=name, batch_tokens=batch_tokens)
    stored = smidgen.tensors(ours / "adapter_model.safetensors")
    for parameter, p in model.named_parameters():
        if p.requires_grad:
            # Adam divides by the root of a gradient's square: where that is nearly zero, rounding decides the sign.
            error = reference.rms_difference(stored[reference.peft_name(parameter)], p.detach().numpy())
            assert error < 1e-3, parameter


@pytest.mark.parametrize("kind", ["messages", "prompt", "text"])
def test_every_kind_of_data(kind, tmp_path):
    follow(tiny.model(), tiny.data(24, kind), tmp_path, batch_tokens=250)


def test_weight_decay_is_decoupled_in_adamw(tmp_path):
    follow(tiny.model(), tiny.data(), tmp_path, settings={"weight_decay": 0.5})


def test_gradients_are_divided_before_they_are_clipped(tmp_path):
    follow(tiny.model(), tiny.data(), tmp_path, name="sgd", batch_tokens=250, settings={"max_grad_norm": 0.5})


def test_rslora_and_a_regex_target(tmp_path):
    follow(tiny.model(), tiny.data(), tmp_path, rslora=True, target="re:.*(q_proj|down_proj)")


def test_on_a_gguf_base(tmp_path):
    follow(tiny.gguf("Q4_1"), tiny.data(), tmp_path)


def test_full_method_trains_the_model_itself(tmp_path):
    """--method full: the losses of plain PyTorch, and a model folder that transformers loads."""
    folder = tiny.model(tie_word_embeddings=False)
    flags = {"learning_rate": 1e-3, "optimizer": "adamw", "max_grad_norm": 0.0, "batch_tokens": 250}
    smidgen.tune(folder, tiny.data(), tmp_path / "run", method="full", rank=None, alpha=None, target=None, **flags)
    model = reference.llama(folder, torch.float64)
    rows = smidgen.metrics(tmp_path / "run")
    wanted = replay.losses(model, reference.samples(folder, tiny.data()), rows, learning_rate=1e-3)
    replay.compare(tmp_path / "run", wanted)
    ids = [1, 17, 300, 5, 81]
    after = smidgen.forward(tmp_path / "run" / "model", ids=ids)["logits"]
    theirs = reference.forward(reference.llama(tmp_path / "run" / "model", torch.float64), ids)["logits"]
    assert reference.difference(after, theirs) <= 1e-5
    assert reference.difference(after, smidgen.forward(folder, ids=ids)["logits"]) > 1e-3


def test_real_model(smollm2, tmp_path):
    """Ten steps of AdamW on SmolLM2 with an adapter on every linear site."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Write a Python function that {what}."},
                {"role": "assistant", "content": f"def f(x):\n    return {how}"},
            ]
        }
        for what, how in itertools.product(
            ["doubles x", "negates x", "squares x", "halves x"], ["x + x", "-x", "x * x", "x / 2", "abs(x)"]
        )
    ]
    data = tiny.write_jsonl(tmp_path / "data.jsonl", rows)
    follow(
        smollm2,
        data,
        tmp_path,
        dtype=torch.float32,
        settings={"learning_rate": 5e-4, "max_grad_norm": 1.0},
        rank=8,
        alpha=16,
        batch_tokens=150,
        timeout=400,
    )


# ---------------------------------------------------------------------------------------------- laws of batching
def run_losses(out, **flags):
    smidgen.tune(tiny.model(), tiny.data(), out, **flags)
    return np.array([r["loss"] for r in smidgen.metrics(out)])


def test_packed_equals_unpacked_and_accumulated(tmp_path):
    """micro_tokens decides what shares a forward and how often one accumulates; the losses do not depend on it."""
    settings = {"batch_tokens": 400, "learning_rate": 5e-3}
    alone = run_losses(tmp_path / "1", micro_tokens=1, **settings)
    for micro in (90, 250, 4096):
        other = run_losses(tmp_path / str(micro), micro_tokens=micro, **settings)
        assert np.abs(other - alone).max() <= 2e-5 * np.abs(alone).max(), micro
    assert alone.max() - alone.min() > 0.05, "the losses must move, or equality says nothing"


def test_shuffling_is_a_permutation_by_seed(tmp_path):
    """With one sample a step an epoch visits each sample once, in an order that the seed decides."""
    lengths = sorted(len(s["ids"]) for s in reference.samples(tiny.model(), tiny.data()))

    def order(seed, out):
        smidgen.tune(tiny.model(), tiny.data(), tmp_path / out, max_steps=24, shuffle=True, seed=seed)
        return [r["tokens"] for r in smidgen.metrics(tmp_path / out)]

    one, again, other = order(1, "a"), order(1, "b"), order(2, "c")
    assert sorted(one) == sorted(other) == lengths
    assert one == again and one != other


def test_equal_seeds_give_equal_bits(tmp_path):
    for out in ("a", "b"):
        smidgen.tune(tiny.model(), tiny.data(), tmp_path / out, batch_tokens=250, shuffle=True)
    one, two = ((tmp_path / out / "adapter" / "adapter_model.safetensors").read_bytes() for out in ("a", "b"))
    assert one == two


# ---------------------------------------------------------------------------------------------- schedules
def rates(out, schedule, warmup, steps=20, **flags):
    smidgen.tune(tiny.model(), tiny.data(), out, schedule=schedule, warmup_steps=warmup, max_steps=steps, **flags)
    return np.array([r["lr"] for r in smidgen.metrics(out)])


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 5])
def test_schedules_are_those_of_transformers(schedule, warmup, tmp_path):
    """After the warm-up step t has transformers' rate of its step t - 1; the rise is t / warmup, so step 1 is not lost."""
    from transformers import get_scheduler

    kind = "constant_with_warmup" if schedule == "constant" else schedule
    dummy = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    ratio = get_scheduler(kind, dummy, num_warmup_steps=warmup, num_training_steps=20).lr_lambdas[0]
    wanted = [1e-3 * (t / warmup if t <= warmup else ratio(t - 1)) for t in range(1, 21)]
    np.testing.assert_allclose(rates(tmp_path / "run", schedule, warmup), wanted, rtol=1e-6, atol=1e-12)


def test_wsd_rises_stays_and_falls(tmp_path):
    ours = rates(tmp_path / "run", "wsd", 4, decay_steps=6) / 1e-3
    assert (np.diff(ours[:4]) > 0).all() and ours[0] <= 0.26
    assert np.allclose(ours[5:13], 1.0)
    assert (np.diff(ours[14:]) < 0).all() and ours[-1] < 0.25


# ---------------------------------------------------------------------------------------------- evaluation
def test_eval_is_the_mean_over_answer_tokens(tmp_path):
    folder, data = tiny.model(), tiny.data(30)
    model = reference.llama(folder, torch.float64)
    wanted = replay.mean_loss(model, reference.samples(folder, data))
    for micro in (1, 4096):
        ours = smidgen.evaluate(folder, data, dtype="fp32", micro_tokens=micro)
        assert ours["loss"] == pytest.approx(wanted, rel=1e-5)
        assert ours["perplexity"] == pytest.approx(math.exp(wanted), rel=1e-4)


def test_eval_with_an_adapter_and_inside_a_run(tmp_path):
    """The evaluation of a run at its last step is what `eval` says of the adapter it leaves."""
    folder, held = tiny.model(), tiny.data(12, seed=9)
    smidgen.tune(folder, tiny.data(), tmp_path / "run", eval_data=held, eval_every=5, learning_rate=5e-3)
    adapter = tmp_path / "run" / "adapter"
    model = reference.load_adapter(reference.llama(folder, torch.float64), adapter)
    wanted = replay.mean_loss(model, reference.samples(folder, held))
    ours = smidgen.evaluate(folder, held, adapter=adapter, dtype="fp32")
    assert ours["loss"] == pytest.approx(wanted, rel=1e-5)
    rows = smidgen.json_lines((tmp_path / "run" / "metrics.jsonl").read_text())
    inside = [r for r in rows if "eval_loss" in r]
    assert [r["step"] for r in inside][-2:] == [5, 10]
    assert inside[-1]["eval_loss"] == pytest.approx(ours["loss"], rel=1e-5)
    assert ours["loss"] != pytest.approx(smidgen.evaluate(folder, held, dtype="fp32")["loss"], rel=1e-3)


def test_eval_of_the_real_model(smollm2, smollm2_reference, tmp_path):
    talk = [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "The capital of France is Paris."},
    ]
    data = tiny.write_jsonl(tmp_path / "d.jsonl", [{"messages": talk}])
    wanted = replay.mean_loss(smollm2_reference, reference.samples(smollm2, data))
    assert smidgen.evaluate(smollm2, data, dtype="fp32")["loss"] == pytest.approx(wanted, rel=1e-4)
