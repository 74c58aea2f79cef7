"""Calls and what they print: every row of "bad input", as text files under transcripts/."""

import hashlib
import os
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import broken, smidgen

FOLDER = Path(__file__).parent / "transcripts"
LITERALS = {"ids_161": ",".join(["7"] * 161), "long_prompt": "lori ka " * 200}
# What a crash prints, and what no user should read.
LEAKS = re.compile(r"terminate called|core dumped|Segmentation|Assertion|what\(\)|std::|c10::|nlohmann|YAML::|\[json\.exception")


@dataclass
class Case:
    name: str
    line: int
    call: str = ""
    exits: list[int] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def read(path: Path) -> list[Case]:
    cases = []
    for number, row in enumerate(path.read_text().splitlines(), 1):
        if not row or row.startswith("# "):
            continue
        mark, _, rest = row.partition(" ")
        if mark == "==":
            cases.append(Case(rest, number))
        elif mark == "$":
            cases[-1].call = rest
        elif mark == "exit":
            cases[-1].exits = [int(n) for n in rest.split()]
        elif mark == "~":
            cases[-1].wanted.append(rest)
        elif mark == "!":
            cases[-1].absent.append(rest)
        else:
            raise ValueError(f"{path.name}:{number}: {row!r} starts with no known mark")
    return cases


CASES = [(f.stem, c) for f in sorted(FOLDER.glob("*.txt")) for c in read(f)]


def state(folder: Path) -> dict[str, str]:
    """Every file with its digest: what the call was given must be there afterwards, unchanged."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.mark.parametrize(("group", "case"), CASES, ids=[f"{g}: {c.name}" for g, c in CASES])
def test_transcript(group, case, tmp_path):
    given, scratch = tmp_path / "given", tmp_path / "tmp"
    given.mkdir()
    scratch.mkdir()
    names = set(re.findall(r"\{(\w+)\}", case.call)) - {"tmp"}
    paths = {n: LITERALS.get(n) or str(broken.make(n, given)) for n in names} | {"tmp": str(scratch)}
    words = [w.format(**paths) for w in shlex.split(case.call)]
    env = smidgen.environment()
    while "=" in words[0]:
        key, _, value = words.pop(0).partition("=")
        env[key] = value
    assert words[0] == "smidgen"
    before = state(given)
    done = subprocess.run(
        [str(smidgen.binary()), *words[1:]], capture_output=True, text=True, errors="replace", timeout=60, env=env, input=""
    )
    shown = f"{group}.txt:{case.line}\n$ {case.call}\nexit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert done.returncode in case.exits, shown
    assert not LEAKS.search(done.stderr + done.stdout), shown
    for pattern in case.wanted:
        assert re.search(pattern.format(**paths) if "{tmp}" in pattern else pattern, done.stderr, re.I | re.S), f"no {pattern!r}\n{shown}"
    if done.returncode:
        assert re.search(r"^error: \S", done.stderr, re.M), shown
        assert done.stdout == "", shown
        assert len(done.stderr) < 4000, shown
        assert not list(scratch.rglob("*.tmp")), "a temporary file was left"
        assert not (scratch / "o").exists(), "output of a call that failed"
    else:
        assert "error:" not in done.stderr, shown
    for path in case.absent:
        assert not os.path.exists(path.format(**paths)), f"{path} should not be there\n{shown}"
    assert state(given) == before, "the call changed what it was given"


def test_every_case_is_whole():
    assert len(CASES) > 80
    for group, case in CASES:
        assert case.call and case.exits, f"{group}.txt:{case.line}"
        assert case.wanted or case.exits == [0], f"{group}.txt:{case.line}"
        for name in set(re.findall(r"\{(\w+)\}", case.call)) - {"tmp"} - set(LITERALS):
            assert name in broken.MAKERS, name
    used = {n for _, c in CASES for n in re.findall(r"\{(\w+)\}", c.call)}
    assert set(broken.MAKERS) <= used, f"made for no case: {set(broken.MAKERS) - used}"


def test_things_are_broken_as_said(tmp_path):
    """The public readers refuse what is called broken, and take what is called whole."""
    from gguf import GGUFReader
    from safetensors.numpy import load_file

    load_file(str(broken.make("model", tmp_path) / "model.safetensors"))
    load_file(str(broken.make("adapter", tmp_path) / "adapter_model.safetensors"))
    GGUFReader(str(broken.make("gguf", tmp_path)))
    for name in ("model_cut_in_data", "model_cut_in_header", "model_with_huge_header", "model_with_overlap"):
        with pytest.raises(Exception):
            load_file(str(broken.make(name, tmp_path) / "model.safetensors"))
    for name in ("gguf_cut_in_header", "gguf_cut_in_data", "gguf_of_another_kind", "gguf_of_version_9", "gguf_with_huge_count"):
        with pytest.raises(Exception):
            GGUFReader(str(broken.make(name, tmp_path)))
