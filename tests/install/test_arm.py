"""The rooms without torch and the vector kernels, built for 64-bit ARM and run under qemu.

NEON is part of every such machine, so Highway leaves its scalar target out there; SVE and SVE2 are tested besides."""

import shutil
import subprocess

import pytest
from tree import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]
NEEDED = {"aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu", "qemu-aarch64-static": "qemu-user-static"}


def test_unit_tests_pass_on_arm():
    missing = [package for program, package in NEEDED.items() if not shutil.which(program)]
    if missing:
        pytest.skip(f"no cross compiler or emulator on this machine: {' '.join(missing)}")
    done = subprocess.run([ROOT / "scripts" / "arm.sh", "test"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    for target in ("NEON", "SVE", "SVE2"):
        assert f"[       OK ] Targets/OnTarget.CrossEntropy/{target} " in done.stdout
