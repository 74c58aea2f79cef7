"""The library from C++: an installed tree, found from another folder by CMAKE_PREFIX_PATH alone, builds and runs the examples."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from tree import ROOT

pytestmark = pytest.mark.timeout(600)
EXAMPLES = sorted(p.stem for p in (ROOT / "examples").glob("*.cpp"))


def outside() -> dict:
    """An environment in which nothing of the build tree helps: neither its folder nor a library path."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("LD_", "PYTHON", "SMIDGEN_", "CMAKE_"))}


def run(*argv, **options):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env=outside(), **options)
    assert done.returncode == 0, f"{argv}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def prefix(build, tmp_path_factory):
    at = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", build, "--component", "smidgen", "--prefix", at / "made")
    # Moved after it was installed: nothing in it may remember where it was.
    return (at / "made").rename(at / "moved")


@pytest.fixture(scope="session")
def built(prefix, tmp_path_factory):
    scratch = tmp_path_factory.mktemp("examples")
    shutil.copytree(ROOT / "examples", scratch / "source")
    # By the machine's own compiler, whichever built the library: that is what a user has.
    options = [f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Release"]
    options.append("-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror")
    run("cmake", "-G", "Ninja", "-S", scratch / "source", "-B", scratch / "build", *options)
    run("cmake", "--build", scratch / "build")
    return scratch / "build"


@pytest.fixture(scope="session")
def tuned(built, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    return run(built / "02_tune", tiny.model(), tiny.data(8), out), out / "adapter"


def test_every_example_is_short_and_listed():
    listed = (ROOT / "examples" / "README.md").read_text()
    assert len(EXAMPLES) >= 3
    for name in EXAMPLES:
        assert len((ROOT / "examples" / f"{name}.cpp").read_text().splitlines()) < 60
        assert f"({name}.cpp)" in listed


def test_generate(built):
    assert run(built / "01_generate", tiny.model(), "lori ne").endswith("\n")


def test_an_error_says_what_and_where(built, tmp_path):
    done = subprocess.run([built / "01_generate", tmp_path / "none", "x"], capture_output=True, text=True, env=outside())
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "none" in done.stderr


def test_tune_lowers_the_loss(tuned):
    text, adapter = tuned
    before, after = map(float, re.match(r"loss (\S+) -> (\S+) with", text).groups())
    assert after < before
    assert json.loads((adapter / "adapter_config.json").read_text())["r"] == 4


def test_adapters(built, tuned, tmp_path):
    rows = dict(row.split(maxsplit=1) for row in run(built / "03_adapters", tiny.model(), tuned[1], tmp_path / "out").splitlines())
    assert rows.keys() == {"on", "half", "off", "saved"}
    assert rows["on"] != rows["off"] != rows["half"]
    score = lambda row: float(row.split()[1])  # noqa: E731
    assert abs(score(rows["saved"]) - score(rows["on"])) < 0.1, "merged equals attached, up to the arithmetic"


def exported(library: Path) -> set[str]:
    rows = run("nm", "-D", "--defined-only", "--demangle", library).splitlines()
    return {row.split(maxsplit=2)[2] for row in rows if len(row.split(maxsplit=2)) == 3}


def test_the_core_exports_its_interface_and_nothing_else(prefix):
    names = exported(prefix / "lib" / "libsmidgen_core.so")
    assert "smidgen_core_api" in names
    assert any(n.startswith("smidgen::api::Model::load(") for n in names)
    foreign = [n for n in names if "smidgen::api::" not in n and n != "smidgen_core_api"]
    assert not foreign, foreign[:10]


def test_the_other_library_exports_only_smidgen(prefix):
    foreign = [n for n in exported(prefix / "lib" / "libsmidgen.so") if "smidgen::" not in n]
    assert not foreign, foreign[:10]


def test_the_public_header_needs_only_the_standard_library(prefix):
    headers = list((prefix / "include").rglob("*.h"))
    assert {h.name for h in headers} == {"smidgen.h", "error.h", "str.h"}
    for header in headers:
        for name in re.findall(r'#include\s*[<"]([^>"]+)', header.read_text()):
            assert (prefix / "include" / name).exists() or re.fullmatch(r"[a-z_]+", name), f"{header.name} includes {name}"


def test_the_package_says_what_is_missing(prefix, tmp_path):
    shutil.copytree(prefix / "lib" / "cmake", tmp_path / "lib" / "cmake")
    argv = ["cmake", "-S", ROOT / "examples", "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={tmp_path}"]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env=outside())
    assert done.returncode != 0 and "libsmidgen.so is missing" in " ".join(done.stderr.split())


def test_the_python_package_tells_where_it_is():
    code = "import smidgen; print(smidgen.cmake_prefix_path)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "python")
    assert done.stdout.strip() == str(ROOT / "python" / "smidgen")
