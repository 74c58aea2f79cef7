"""Fixtures of the parity tests. The reference side is built lazily: a case that fails early costs nothing."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read once, when torch starts its threads
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: not part of make test; make slow runs it")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real model's GGUF file."""
    from support import reference

    return reference.smollm2()


@pytest.fixture(scope="session")
def smollm2_reference(smollm2):
    """transformers on its dequantised weights, fp32."""
    from support import reference

    return reference.llama(smollm2)
