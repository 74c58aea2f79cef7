"""`pip install .` into an empty environment gives a working command that computes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from tree import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("install") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    argv = [folder / "bin" / "python", "-m", "pip", "install", "-q", ROOT]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def run(environment, *arguments):
    # Nothing of the build tree may help: neither its folder nor a library path.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LD_", "PYTHON", "SMIDGEN_"))}
    return subprocess.run(
        [environment / "bin" / "smidgen", *map(str, arguments)], cwd=environment, env=env, capture_output=True, text=True
    )


def test_help(environment):
    done = run(environment, "--help")
    assert done.returncode == 0 and "tune" in done.stdout


def test_exit_code_is_the_executable_s(environment):
    assert run(environment, "no-such-verb").returncode == 2


def test_the_core_computes(environment, tmp_path):
    out = tmp_path / "out.safetensors"
    done = run(environment, "forward", "--model", tiny.model(), "--ids", "1,2,3", "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 0


def test_data_scripts_come_along(environment):
    assert list(environment.glob("lib/python*/site-packages/smidgen/share/smidgen/data/*.py"))


def test_the_cpp_package_comes_along(environment):
    done = subprocess.run(
        [environment / "bin" / "python", "-c", "import smidgen; print(smidgen.cmake_prefix_path)"], capture_output=True, text=True
    )
    prefix = Path(done.stdout.strip())
    assert (prefix / "lib" / "cmake" / "smidgen" / "smidgenConfig.cmake").exists()
    assert (prefix / "include" / "smidgen" / "smidgen.h").exists()
