"""Fixtures of the command tests: these need no torch on the Python side."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: not part of make test; make slow runs it")


@pytest.fixture(scope="session")
def model():
    import tiny

    return tiny.model()


@pytest.fixture(scope="session")
def data():
    import tiny

    return tiny.data()
