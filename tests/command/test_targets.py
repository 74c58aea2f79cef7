"""SMIDGEN_TARGET forces the instruction set of the kernels: every one agrees with the slow reference, none is the default
in disguise, and a word that is no target is refused."""

import numpy as np
import pytest
import tiny
from support import smidgen

IDS = list(range(3, 60, 2))


def numbers(tmp_path, **env):
    """Logits and the gradients of a LoRA that is not at its start."""
    adapter = tmp_path / "adapter"
    if not adapter.exists():
        run = tmp_path / "run"
        smidgen.tune(tiny.model(), tiny.data(), run, max_steps=2, env=smidgen.environment(SMIDGEN_TARGET="scalar"))
        (run / "adapter").rename(adapter)
    ids = ",".join(map(str, IDS))
    return smidgen.forward(tiny.model(), ids=ids, adapter=adapter, gradients=True, env=smidgen.environment(**env))


@pytest.mark.parametrize("target", ["scalar", "avx2", "avx512"])
def test_a_forced_target_agrees_with_the_reference(tmp_path, target):
    done = smidgen.call("forward", model=tiny.model(), ids="1", out=tmp_path / "x", env=smidgen.environment(SMIDGEN_TARGET=target))
    if done.returncode != 0 and "has no kernels for" in done.stderr:
        pytest.skip(f"this machine has no {target}")
    found = numbers(tmp_path, SMIDGEN_TARGET=target)
    wanted = numbers(tmp_path, SMIDGEN_KERNELS="ref")
    pairs = [(found["logits"], wanted["logits"])]
    pairs += [(found["gradients"][name], wanted["gradients"][name]) for name in wanted["gradients"]]
    for a, b in pairs:
        assert np.abs(a - b).max() <= 2e-5 * max(np.abs(b).max(), 1e-6)


def test_the_variable_chooses(tmp_path):
    """Another order of additions gives other last bits; equal bits would mean that nothing was forced."""
    best = numbers(tmp_path)["logits"]
    assert not np.array_equal(best, numbers(tmp_path, SMIDGEN_TARGET="scalar")["logits"])


def test_a_word_that_is_no_target_is_refused(tmp_path):
    done = smidgen.call("forward", model=tiny.model(), ids="1", out=tmp_path / "x", env=smidgen.environment(SMIDGEN_TARGET="avx3000"))
    assert done.returncode == 2 and "there is no kernel target 'avx3000' (SMIDGEN_TARGET)" in done.stderr
