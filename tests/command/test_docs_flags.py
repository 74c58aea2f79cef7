"""The flag tables of the docs are what the program has."""

import shutil
import subprocess
import sys

import pytest
from tree import ROOT


def check(program, root):
    argv = [sys.executable, root / "scripts" / "docs_flags.py", "--check", "--smidgen", program]
    return subprocess.run(argv, capture_output=True, text=True)


def test_tables_are_current(program):
    done = check(program, ROOT)
    assert done.returncode == 0, done.stderr


def test_flags_of_every_verb_are_those_of_the_table(program):
    """--help lists the five that the script knows by heart, and no sixth."""
    done = subprocess.run([program, "doctor", "--help"], capture_output=True, text=True, check=True)
    flags = [line.split()[0] for line in done.stdout.split("Everywhere")[1].splitlines() if line.startswith("  --")]
    assert flags == ["--threads", "--json", "--quiet", "--recipe", "--help"]


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("`--rank N`", "`--rnak N`", "tune.md: a table is not current"),
        ("flags tune method lora", "flags tune method lroa", "no page has the marker <!-- flags tune method lora -->"),
        ("<!-- flags tune -->", "<!-- flags tuen -->", "the schema knows no `tuen`"),
    ],
)
def test_a_slip_is_seen(program, tmp_path, old, new, said):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    page = tmp_path / "docs" / "tune.md"
    text = page.read_text()
    assert old in text
    page.write_text(text.replace(old, new))
    done = check(program, tmp_path)
    assert done.returncode == 1 and said in done.stderr, done.stderr
