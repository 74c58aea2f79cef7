"""Fixtures that every folder of tests may use."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def build() -> Path:
    """The build folder with the executable, its libraries and the test programs; SMIDGEN_BUILD names another."""
    folder = Path(os.environ.get("SMIDGEN_BUILD", ROOT / "build" / "release"))
    if not (folder / "build.ninja").exists():
        pytest.fail(f"{folder} holds no build; run `make build`")
    return folder


@pytest.fixture(scope="session")
def program(build) -> Path:
    """The executable."""
    path = Path(os.environ.get("SMIDGEN_BIN", build / "smidgen"))
    if not path.exists():
        pytest.fail(f"{path} does not exist; run `make build`")
    return path
