#!/usr/bin/env python3
"""Writes smidgen/delta/merge/golden_mergekit.h: what mergekit makes of small models by its deterministic methods.

Run from the root of the tree: .venv/bin/python scripts/golden/merge_methods.py > smidgen/delta/merge/golden_mergekit.h
"""

import mergekit.merge_methods
import numpy as np
import torch
from mergekit.merge_methods.base import ParameterScope, TensorGroup

torch.manual_seed(11)


def models(*shape, count=4, scale=0.1):
    """A base and models around it, whose differences have long tails, as fine-tuned ones have. Four decimals are enough."""
    base = torch.randn(shape)
    made = [base] + [base + scale * torch.randn(shape) ** 3 for _ in range(count)]
    return [x.mul(1e4).round().div(1e4) for x in made]


# Tensors that cases share, by name: the base first, then the models.
DATA = {
    "spec": [torch.zeros(4), torch.tensor([1, -2, 0.5, 0.1]), torch.tensor([-3, -1, 0.4, 0])],
    "vector": models(11),
    "matrix": models(4, 6),
    "stack": models(2, 2, 3),
}
# Equal magnitudes, so that whoever selects must say which of them come first.
steps = torch.tensor([-0.5, -0.25, 0, 0.25, 0.5, 0.75])
DATA["equals"] = [torch.zeros(6, 4)] + [steps[torch.randint(6, (6, 4))] for _ in range(3)]


def case(method, data, *, models=2, base=True, shared=None, **by_input):
    """The first `models` of the data (or those of a list), with its base or without. A keyword is a parameter of each
    model: a number for all, or a list."""
    return dict(method=method, data=data, models=models, base=base, shared=shared or {}, by_input=by_input)


def task_vectors():
    """task_arithmetic and what thins task vectors by a rule: the spec's values, then each parameter moved."""
    both = dict(weight=0.5)
    yield case("task_arithmetic", "spec", **both)
    yield case("ties", "spec", density=0.5, **both)
    yield case("breadcrumbs", "spec", weight=1, density=0.5, gamma=0.25)
    uneven = dict(weight=[0.7, -0.3, 0.4])
    for data in ("vector", "matrix", "stack"):
        yield case("task_arithmetic", data, models=3, **uneven)
    yield case("task_arithmetic", "matrix", models=3, shared={"normalize": True, "lambda": 0.6}, **uneven)
    yield case("task_arithmetic", "matrix", models=2, shared={"normalize": True}, weight=[0.5, -0.5])
    for data in ("vector", "matrix", "stack", "equals"):
        yield case("ties", data, models=3, density=[0.2, 0.5, 0.7], weight=[0.3, 0.5, 0.9])
    yield case("ties", "equals", models=3, density=[0.3, 0.4, 0.6], weight=1)
    yield case("ties", "matrix", models=3, density=[0.01, 1, 0], weight=1)
    yield case("ties", "matrix", models=3, density=0.5, **uneven)
    yield case("ties", "matrix", models=1, density=0.3, weight=0.8)
    for shared in ({"normalize": False}, {"rescale": True}, {"rescale": True, "normalize": False, "lambda": 1.3}, {"int8_mask": True}):
        yield case("ties", "matrix", models=3, density=[0.2, 0.5, 0.7], weight=[0.3, 0.5, 0.9], shared=shared)
    for method in ("breadcrumbs", "breadcrumbs_ties"):
        for data in ("vector", "matrix", "equals"):
            yield case(method, data, models=3, density=[0.2, 0.5, 0.7], gamma=[0.1, 0.05, 0.2], weight=[0.3, 0.5, 0.9])
        yield case(method, "matrix", models=2, density=0.9, gamma=0.3, weight=1)
        yield case(method, "matrix", models=2, density=0.5, weight=1)
        yield case(method, "matrix", models=3, density=[0.01, 1, 0], weight=1)
        yield case(method, "matrix", density=0.5, gamma=0.1, weight=1, shared={"rescale": True, "normalize": True, "lambda": 0.7})


CASES = [case("linear", "matrix", models=3, base=False, weight=[0.2, 0.5, -0.1]), *task_vectors()]


def result(c) -> torch.Tensor:
    data = DATA[c["data"]]
    chosen = range(1, c["models"] + 1) if isinstance(c["models"], int) else c["models"]
    ids = ([0] if c["base"] else []) + list(chosen)
    method = mergekit.merge_methods.get(c["method"])
    parameters = dict(c["shared"])
    for spec in method.spec.parameters:
        if spec.scope == ParameterScope.SHARED or spec.name not in c["by_input"]:
            continue
        parameters[spec.name] = dict(zip(chosen, each(c["by_input"][spec.name], len(chosen)), strict=True))
    group = TensorGroup.from_tensors([data[i] for i in ids], ids=ids, base_index=0 if c["base"] else None)
    return method((group,), parameters=parameters)[0]


def each(value, count: int) -> list:
    return value if isinstance(value, list) else [value] * count


def floats(x) -> str:
    return "{" + ", ".join(str(np.float32(v)) for v in torch.as_tensor(x).flatten().tolist()) + "}"


def values(pairs) -> str:
    return "{" + ", ".join(f'{{"{name}", {float(value)!r}}}' for name, value in pairs) + "}"


def row(c) -> str:
    chosen = list(range(1, c["models"] + 1)) if isinstance(c["models"], int) else c["models"]
    numbers = ", ".join(str(i - 1) for i in chosen)
    columns = {name: each(value, len(chosen)) for name, value in c["by_input"].items()}
    by_input = [values((name, column[i]) for name, column in columns.items()) for i in range(len(chosen))]
    by_input = ", ".join(by_input[:1] if len(set(by_input)) == 1 else by_input)
    return (
        f'    {{"{c["method"]}", "{c["data"]}", {{{numbers}}}, {str(c["base"]).lower()},\n     {values(c["shared"].items())},'
        f"\n     {{{by_input}}},\n     {floats(result(c))}}},"
    )


def data_row(name: str) -> str:
    base, *others = DATA[name]
    shape = ", ".join(map(str, base.shape))
    return f'    {{"{name}", {{{shape}}},\n     {floats(base)},\n     {{{", ".join(map(floats, others))}}}}},'


print(f"""// What mergekit makes of small models by its deterministic methods.
// Written by scripts/golden/merge_methods.py with mergekit 0.1.5; tests/parity/test_merge_methods.py makes it again.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace smidgen::golden {{

struct MergeData {{
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> base;
  std::vector<std::vector<float>> models;
}};
inline const std::vector<MergeData> kMergeData = {{
{chr(10).join(map(data_row, DATA))}
}};

struct Merged {{
  std::string method, data;
  std::vector<size_t> models;  // of the data
  bool base;                   // whether the method is given one
  std::map<std::string, double> shared;
  std::vector<std::map<std::string, double>> by_input;  // one map: the same for all
  std::vector<float> values;
}};
inline const std::vector<Merged> kMerged = {{
{chr(10).join(map(row, CASES))}
}};

}}  // namespace smidgen::golden""")
