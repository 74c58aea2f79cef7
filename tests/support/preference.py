"""Preference tuning and distillation in PyTorch around trl's own loss functions: what runs of smidgen are replayed by."""

import json
from pathlib import Path

import torch
from support import reference, replay, trl


def units(model: Path, data: Path) -> list[dict]:
    """Rows with their sequences: {"chosen", "rejected"} or {"answer", "label"}, each {"ids", "answer"}."""
    out = []
    for line in Path(data).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "chosen" in row:
            out.append({k: reference.answered(model, row["prompt"], row[k]) for k in ("chosen", "rejected")})
        else:
            sequence = reference.answered(model, row["prompt"], row["completion"])
            out.append({"sequence": sequence, "label": row["label"]})
    return out


def tokens_of(unit: dict) -> int:
    return sum(len(s["ids"]) for s in unit.values() if isinstance(s, dict))


def steps(rows: list[dict], metrics: list[dict]):
    """The units of each step, in file order and round again, cut where their tokens make the step's `tokens`."""
    at = 0
    for row in metrics:
        taken = []
        while sum(map(tokens_of, taken)) < row["tokens"]:
            taken.append(rows[at % len(rows)])
            at += 1
        assert sum(map(tokens_of, taken)) == row["tokens"], f"step {row['step']}"
        yield taken


def log_probabilities(model, sequence: dict, every: bool = False) -> torch.Tensor:
    """Of the answer's tokens, or of every token after the first."""
    ids = torch.tensor(sequence["ids"])
    logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
    each = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]
    return each if every else each[torch.tensor(sequence["answer"][1:], dtype=torch.bool)]


def bare(model, sequences: list[dict]) -> torch.Tensor:
    """Sums of the reference: the adapter is off."""
    with torch.no_grad(), model.disable_adapter():
        return torch.stack([log_probabilities(model, s).sum() for s in sequences])


def mismatched(rows: list[dict], unit: dict) -> dict:
    """The unit's prompt with the answer of the row before it in the data set."""
    mine, other = unit["sequence"], rows[rows.index(unit) - 1]["sequence"]
    prompt = mine["answer"].index(1)
    answer = other["answer"].index(1)
    ids = mine["ids"][:prompt] + other["ids"][answer:]
    return {"ids": ids, "answer": [0] * prompt + other["answer"][answer:]}


def loss_of(name: str, model, rows: list[dict], taken: list[dict], config: dict):
    """(loss, metrics) of one step by trl."""
    if name == "kto":
        sequences = [u["sequence"] for u in taken]
        others = [mismatched(rows, u) for u in taken]
        with torch.no_grad():
            policy = torch.stack([log_probabilities(model, s).sum() for s in others])
        answers = [log_probabilities(model, s) for s in sequences]
        labels = [u["label"] for u in taken]
        return trl.kto(answers, labels, bare(model, sequences), (policy, bare(model, others)), **config)
    sides = {k: [u[k] for u in taken] for k in ("chosen", "rejected")}
    chosen, rejected = ([log_probabilities(model, s) for s in sides[k]] for k in ("chosen", "rejected"))
    if name == "dpo":
        return trl.dpo(chosen, rejected, bare(model, sides["chosen"]), bare(model, sides["rejected"]), **config)
    if name == "orpo":
        nll = -torch.cat([log_probabilities(model, s, every=True) for s in sides["chosen"]]).mean()
        return trl.orpo(chosen, rejected, nll, **config)
    return trl.simpo(chosen, rejected, -torch.cat(chosen).mean(), **config)


def distillation(model, teacher, taken: list[dict], *, divergence=0.0, temperature=1.0, distill_weight=0.5):
    """trl's divergence over the answer tokens of a step, mixed with their cross-entropy."""
    student, other, nll = [], [], []
    for s in taken:
        ids = torch.tensor(s["ids"])
        mask = torch.tensor(s["answer"][1:], dtype=torch.bool)
        student.append(model(input_ids=ids[None], use_cache=False).logits[0, :-1][mask])
        with torch.no_grad():
            other.append(teacher(input_ids=ids[None], use_cache=False).logits[0, :-1][mask])
        nll.append(-log_probabilities(model, s))
    p, q = torch.cat(student)[None], torch.cat(other)[None]
    labels = torch.zeros(p.shape[:2], dtype=torch.long)
    shared = trl.jsd(p, q, labels, divergence=divergence, temperature=temperature)
    return distill_weight * shared + (1 - distill_weight) * torch.cat(nll).mean()


def train(model, batches, loss, *, learning_rate: float):
    """(loss, metrics) before each step of AdamW."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = replay.optimiser("adamw", trained, learning_rate, 0.0)
    out = []
    for taken in batches:
        optimiser.zero_grad()
        made = loss(taken)
        value, metrics = made if isinstance(made, tuple) else (made, {})
        value.backward()
        optimiser.step()
        out.append((value.item(), metrics))
    return out
