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
# Equal magnitudes. Not for methods that select: torch's sort, and so mergekit, keeps others on other processors.
steps = torch.tensor([-0.5, -0.25, 0, 0.25, 0.5, 0.75])
DATA["equals"] = [torch.zeros(6, 4)] + [steps[torch.randint(6, (6, 4))] for _ in range(3)]
# Models a thousandth apart, and pairs that point nearly the same way and nearly opposite ways.
start = torch.randn(5, 4)
DATA["close"] = [(start + 1e-3 * torch.randn(5, 4)).mul(1e6).round().div(1e6) for _ in range(4)]
DATA["opposite"] = [torch.zeros(5, 4), *DATA["close"][:2], -DATA["close"][2], torch.zeros(5, 4)]
# Directions far enough apart that a mean of angles takes several steps.
DATA["spread"] = [torch.zeros(4), *(torch.randn(3, 4).mul(1e4).round().div(1e4))]


def case(method, data, *, models=2, base=True, shared=None, exact=False, **by_input):
    """The first `models` of the data (or those of a list), with its base or without. A keyword is a parameter of each
    model: a number for all, or a list. Exact: mergekit's fp32 is too coarse for the case, so it gets fp64."""
    return dict(method=method, data=data, models=models, base=base, shared=shared or {}, exact=exact, by_input=by_input)


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
    for data in ("vector", "matrix", "stack"):
        yield case("ties", data, models=3, density=[0.2, 0.5, 0.7], weight=[0.3, 0.5, 0.9])
    yield case("ties", "matrix", models=3, density=[0.01, 1, 0], weight=1)
    yield case("ties", "matrix", models=3, density=0.5, **uneven)
    yield case("ties", "matrix", models=1, density=0.3, weight=0.8)
    for shared in ({"normalize": False}, {"rescale": True}, {"rescale": True, "normalize": False, "lambda": 1.3}, {"int8_mask": True}):
        yield case("ties", "matrix", models=3, density=[0.2, 0.5, 0.7], weight=[0.3, 0.5, 0.9], shared=shared)
    for method in ("breadcrumbs", "breadcrumbs_ties"):
        for data in ("vector", "matrix"):
            yield case(method, data, models=3, density=[0.2, 0.5, 0.7], gamma=[0.1, 0.05, 0.2], weight=[0.3, 0.5, 0.9])
        yield case(method, "matrix", models=2, density=0.9, gamma=0.3, weight=1)
        yield case(method, "matrix", models=2, density=0.5, weight=1)
        yield case(method, "matrix", models=3, density=[0.01, 1, 0], weight=1)
        yield case(method, "matrix", density=0.5, gamma=0.1, weight=1, shared={"rescale": True, "normalize": True, "lambda": 0.7})


def on_the_sphere():
    """What interpolates directions: near and far models, vectors of each direction, each parameter moved."""
    for data in ("spec", "vector", "matrix", "stack", "close"):
        yield case("slerp", data, models=1, shared={"t": 0.3}, exact=True)
    for data, models in (("matrix", [1]), ("opposite", [2])):
        yield case("slerp", data, models=models, shared={"t": 0.8}, exact=True)
    lines = [{}, {"nuslerp_flatten": False}, {"nuslerp_flatten": False, "nuslerp_row_wise": True}]
    for data, models in (("vector", 2), ("matrix", 2), ("stack", 2), ("close", 2), ("opposite", [2, 3]), ("opposite", [1, 4])):
        for shared in lines:
            for base in (False, True):
                yield case("nuslerp", data, models=models, base=base, shared=shared, weight=[0.7, 0.5], exact=True)
    yield case("nuslerp", "matrix", base=False, weight=[0.5, -0.5], exact=True)
    yield case("nuslerp", "matrix", base=False, weight=[0.5, -0.1], exact=True)
    for data, models in (("vector", 3), ("matrix", 3), ("close", 3), ("opposite", [1, 2, 4]), ("matrix", 1)):
        weight = [0.7, 0.2, 0.4][: 3 if models != 1 else 1]
        for base in (False, True):
            yield case("multislerp", data, models=models, base=base, weight=weight, exact=True)
    yield case("multislerp", "matrix", models=3, weight=[0.7, -0.2, 0.4], shared={"normalize_weights": False}, exact=True)
    yield case("multislerp", "matrix", models=3, weight=[0.7, 0.2, 0.4], shared={"eps": 0.3}, exact=True)
    yield case("multislerp", "opposite", models=[2, 3], weight=[0.7, 0.2], exact=True)
    yield case("multislerp", "opposite", models=[2, 3], base=False, weight=1, shared={"eps": 0.1}, exact=True)
    for data, models in (("spec", 2), ("vector", 3), ("matrix", 3), ("stack", 4), ("close", 3), ("opposite", [1, 2, 4])):
        yield case("karcher", data, models=models, base=False, exact=True)
    for shared in ({"max_iter": 1}, {"max_iter": 0}, {"tol": 0.05}, {"tol": 1e-9, "max_iter": 50}):
        yield case("karcher", "spread", models=3, base=False, shared=shared, exact=True)
    yield case("karcher", "opposite", models=[2, 3], base=False, exact=True)
    yield case("model_stock", "spec", exact=True)
    for data, models in (("vector", 3), ("matrix", 3), ("matrix", 2), ("stack", 4), ("close", 3), ("opposite", 3)):
        for filter_wise in (False, True):
            yield case("model_stock", data, models=models, shared={"filter_wise": filter_wise}, exact=True)


def chosen_elements():
    """What takes, averages or drops element by element."""
    for t in (0.05, 0.5, -1):
        yield case("nearswap", "matrix", models=1, shared={"t": t})
    yield case("passthrough", "matrix", models=1, base=False)
    yield case("passthrough", "matrix", models=1, base=False, scale=-0.3)
    yield case("sce", "spec")
    for data in ("vector", "matrix", "stack"):
        yield case("sce", data, models=3)
        yield case("sce", data, models=2, shared={"int8_mask": True})
    for topk in (0.5, 0.3, 0.9, 0.01, 0):
        yield case("sce", "matrix", models=3, shared={"select_topk": topk})
        yield case("sce", "stack", models=4, shared={"select_topk": topk})
    yield case("sce", "matrix", models=1, shared={"select_topk": 0.5})
    yield case("sce", "close", models=3, shared={"select_topk": 0.5}, exact=True)
    for data in ("vector", "matrix", "stack", "close"):
        yield case("arcee_fusion", data, models=1, exact=True)
    for data in ("matrix", "equals"):
        for method in ("ram", "ramplus_tl"):
            yield case(method, data, models=3)
            yield case(method, data, models=4 if data == "matrix" else 1, shared={"epsilon": 0.09})
    yield case("ramplus_tl", "equals", models=3, shared={"r": 0.7, "alpha": 0.05, "epsilon": 0.3})
    yield case("ramplus_tl", "equals", models=3, shared={"r": 0.7, "alpha": 50, "epsilon": 0.3})


CASES = [case("linear", "matrix", models=3, base=False, weight=[0.2, 0.5, -0.1]), *task_vectors(), *on_the_sphere(), *chosen_elements()]


def result(c) -> torch.Tensor:
    data = [x.double() if c["exact"] else x for x in DATA[c["data"]]]
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
// Written by scripts/golden/merge_methods.py with mergekit 0.1.5;
// tests/parity/test_merge_methods.py makes it again.
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
// clang-format off: a row a line, or the tables fill 1500
inline const std::vector<MergeData> kMergeData = {{
{chr(10).join(map(data_row, DATA))}
}};
// clang-format on

struct Merged {{
  std::string method, data;
  std::vector<size_t> models;  // of the data
  bool base;                   // whether the method is given one
  std::map<std::string, double> shared;
  std::vector<std::map<std::string, double>> by_input;  // one map: the same for all
  std::vector<float> values;
}};
// clang-format off
inline const std::vector<Merged> kMerged = {{
{chr(10).join(map(row, CASES))}
}};
// clang-format on

}}  // namespace smidgen::golden""")
