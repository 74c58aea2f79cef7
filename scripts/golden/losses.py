#!/usr/bin/env python3
"""Writes smidgen/train/losses/golden_trl.h from trl: values and gradients of its losses on given log-probabilities.

Run from the root of the tree: PYTHONPATH=tests .venv/bin/python scripts/golden/losses.py > smidgen/train/losses/golden_trl.h
"""

import json

import torch
from support import trl

torch.manual_seed(7)
COUNTS = [3, 1, 5, 2, 4]  # answer tokens of chosen; those of rejected are one more
PAIRS = len(COUNTS)


def numbers(x) -> str:
    return "{" + ", ".join(repr(float(v)) for v in torch.as_tensor(x, dtype=torch.float64).flatten()) + "}"


def tokens(counts, scale=1.0):
    return [(-torch.rand(n, dtype=torch.float64) * scale - 0.02).requires_grad_() for n in counts]


def gradient(sides) -> list[float]:
    """Of the summed log-probability of each answer: every token of an answer has the same."""
    return [t.grad[0].item() for t in sides]


def sums(sides):
    return torch.stack([t.detach().sum() for t in sides])


chosen, rejected = tokens(COUNTS, 2.5), tokens([n + 1 for n in COUNTS], 3.0)
ref_chosen = sums(chosen) + torch.randn(PAIRS, dtype=torch.float64)
ref_rejected = sums(rejected) + torch.randn(PAIRS, dtype=torch.float64)
labels = [True, False, True, True, False]
kl = (torch.tensor([-3.0, -4.0, -2.0], dtype=torch.float64), torch.tensor([-3.5, -5.0, -1.9], dtype=torch.float64))

cases = []


def case(name, config, call):
    for t in (*chosen, *rejected):
        t.grad = None
    loss, metrics = call(**config)
    loss.backward()
    by_rejected = gradient(rejected) if rejected[0].grad is not None else [0.0] * PAIRS
    rewards = [metrics[k] for k in ("rewards/chosen", "rewards/rejected", "rewards/margins")]
    cases.append(
        f'    {{"{name}", R"({json.dumps(config)})",'
        f"\n     {loss.item()!r}, {numbers(gradient(chosen))}, {numbers(by_rejected)},\n     {numbers(rewards)}}},"
    )


for config in (
    {"beta": 0.1},
    {"beta": 0.7},
    {"beta": 0.7, "variant": "hinge"},
    {"beta": 0.7, "variant": "ipo"},
    {"beta": 0.7, "variant": "robust", "label_smoothing": 0.2},
):
    case("dpo", config, lambda **c: trl.dpo(chosen, rejected, ref_chosen, ref_rejected, **c))
for config in ({"beta": 2.0, "gamma": 1.0}, {"beta": 0.5, "gamma": 0.2, "label_smoothing": 0.1}):
    case("simpo", config, lambda **c: trl.simpo(chosen, rejected, **c))
case(
    "simpo",
    {"beta": 2.0, "gamma": 1.0, "nll_weight": 0.3},
    lambda **c: trl.simpo(chosen, rejected, -torch.cat(chosen).mean(), **c),
)
for config in ({"beta": 0.1}, {"beta": 0.8}):
    case("orpo", config, lambda **c: trl.orpo(chosen, rejected, -torch.cat(chosen).mean(), **c))
for config in ({"beta": 0.1}, {"beta": 0.9, "desirable_weight": 1.3, "undesirable_weight": 0.6}):
    case("kto", config, lambda **c: trl.kto(chosen, labels, ref_chosen, kl, **c))

student = torch.randn(1, 4, 9, dtype=torch.float64).requires_grad_()
teacher = torch.randn(1, 4, 9, dtype=torch.float64) * 2
rows = []
for divergence, temperature in ((0.0, 1.0), (1.0, 1.0), (0.3, 1.0), (0.0, 2.5), (0.6, 0.7)):
    student.grad = None
    loss = trl.jsd(student, teacher, torch.zeros(1, 4, dtype=torch.long), divergence=divergence, temperature=temperature)
    loss.backward()
    rows.append(f"    {{{divergence}, {temperature}, {loss.item()!r}, {numbers(student.grad)}}},")

print(f"""// Values and gradients of trl's losses on given log-probabilities.
// Written by scripts/golden/losses.py with trl 1.16.0; tests/parity/test_losses.py makes it again.
#pragma once

#include <vector>

namespace smidgen::golden {{

// Answer tokens and summed log-probabilities of five pairs, and what the reference says of them.
inline const std::vector<double> kChosenTokens = {numbers(COUNTS)};
inline const std::vector<double> kRejectedTokens = {numbers([n + 1 for n in COUNTS])};
inline const std::vector<double> kChosen = {numbers(sums(chosen))};
inline const std::vector<double> kRejected = {numbers(sums(rejected))};
inline const std::vector<double> kReferenceChosen = {numbers(ref_chosen)};
inline const std::vector<double> kReferenceRejected = {numbers(ref_rejected)};
// For KTO the chosen answers alone, with these labels; policy and reference on mismatched answers.
inline const std::vector<double> kLabels = {numbers([float(v) for v in labels])};
inline const std::vector<double> kKlPolicy = {numbers(kl[0])};
inline const std::vector<double> kKlReference = {numbers(kl[1])};

struct LossCase {{
  const char* loss;
  const char* config;
  double value;                              // the mean
  std::vector<double> by_chosen, by_rejected;  // its gradients by kChosen and kRejected
  std::vector<double> rewards;               // means: chosen, rejected, margins
}};
inline const std::vector<LossCase> kLossCases = {{
{chr(10).join(cases)}
}};

// Logits [4, 9] of student and teacher.
inline const std::vector<double> kStudent = {numbers(student.detach())};
inline const std::vector<double> kTeacher = {numbers(teacher)};
struct JsdCase {{
  double divergence, temperature, value;  // the mean over rows
  std::vector<double> by_student;
}};
inline const std::vector<JsdCase> kJsdCases = {{
{chr(10).join(rows)}
}};

}}  // namespace smidgen::golden""")
