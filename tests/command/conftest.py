"""Fixtures of the command tests: these need no torch on the Python side."""

import os
import subprocess
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


@pytest.fixture
def mounted(tmp_path):
    """Mounts a small file system in memory at tmp_path/disk; only root can, and in some containers not even root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    used = []

    def mount(options: str):
        action = "remount," if used else ""
        call = ["mount", "-t", "tmpfs", "-o", action + options, "tmpfs", str(disk)]
        done = subprocess.run(call, capture_output=True, text=True)
        if done.returncode and not used:
            pytest.skip("cannot mount a tmpfs: needs root with CAP_SYS_ADMIN")
        assert done.returncode == 0, done.stderr
        used.append(options)
        return disk

    yield mount
    if used:
        subprocess.run(["umount", "-l", str(disk)], check=True)
