"""A run of smidgen once more in PyTorch: same starting weights, same batches, same optimiser."""

import torch
from support import reference, smidgen


def batches(samples: list[dict], rows: list[dict]):
    """The samples of each step, in file order and round again, cut where their answer tokens make the row's `answers`.

    A step whose answers are not a whole number of the next samples is a step that split or skipped one: an error.
    """
    position = 0
    for row in rows:
        taken, answers = [], 0
        while answers < row["answers"]:
            taken.append(samples[position % len(samples)])
            # What stands at position 0 has nothing before it and is never a target.
            answers += sum(taken[-1]["answer"][1:])
            position += 1
        assert answers == row["answers"], f"step {row['step']}: {row['answers']} answers are not whole samples"
        assert row.get("tokens") in (None, sum(len(s["ids"]) for s in taken)), f"step {row['step']}: tokens"
        yield taken


def optimiser(name: str, parameters, learning_rate: float, weight_decay: float):
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=learning_rate, weight_decay=weight_decay)
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.999), eps=1e-8)


def losses(model, samples, rows, *, name="adamw", learning_rate, weight_decay=0.0, max_grad_norm=0.0) -> list[float]:
    """The mean loss per answer token before each update. Sum of token losses backward, divided once, then clipped."""
    trained = [p for p in model.parameters() if p.requires_grad]
    steps = optimiser(name, trained, learning_rate, weight_decay)
    out = []
    for taken in batches(samples, rows):
        tokens = sum(sum(s["answer"][1:]) for s in taken)
        steps.zero_grad()
        total = 0.0
        for s in taken:
            each = reference.token_losses(model, s["ids"])
            loss = (each * torch.tensor(s["answer"][1:], dtype=each.dtype)).sum()
            loss.backward()
            total += loss.item()
        for p in trained:
            p.grad /= tokens
        if max_grad_norm:
            torch.nn.utils.clip_grad_norm_(trained, max_grad_norm)
        steps.step()
        out.append(total / tokens)
    return out


def mean_loss(model, samples) -> float:
    """The loss per answer token over a data set."""
    total = tokens = 0.0
    with torch.no_grad():
        for s in samples:
            each = reference.token_losses(model, s["ids"])
            total += (each * torch.tensor(s["answer"][1:], dtype=each.dtype)).sum().item()
            tokens += sum(s["answer"][1:])
    return total / tokens


def compare(run, wanted: list[float], tolerance: float = 1e-4) -> None:
    ours = [r["loss"] for r in smidgen.metrics(run)]
    assert len(ours) == len(wanted)
    for k, (a, b) in enumerate(zip(ours, wanted)):
        assert abs(a - b) <= tolerance * max(1.0, abs(b)), f"step {k + 1}: {a} here, {b} in the reference"
