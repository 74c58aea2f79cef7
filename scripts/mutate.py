#!/usr/bin/env python3
"""Breaks the code in the ways of tests/mutants/mutants.txt, one at a time; the named tests must fail each time.

    mutate.py                 all mutants
    mutate.py rng epsilon     those whose file or reason holds one of the words
    mutate.py --list          only check that every mutant still fits the tree

Works on a copy under build/mutate, so the tree is never touched; the copy's build is kept for the next time.
"""

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import processes
from tree import ROOT, Tree

LISTING = ROOT / "tests" / "mutants" / "mutants.txt"
COPY = ROOT / "build" / "mutate" / "tree"
LOGS = ROOT / "build" / "log" / "mutate"
BUILD_LIMIT, TEST_LIMIT = 1800, 300  # seconds


@dataclass
class Mutant:
    line: int  # in the listing
    reason: str
    file: str = ""
    tests: tuple = ()
    old: str = ""
    new: str = ""


def read(listing: Path) -> list[Mutant]:
    """Blocks of `# reason`, `file:`, `test:`, `- old`, `+ new`, each on a line of its own, parted by empty lines."""
    mutants = []
    number = 0
    for block in listing.read_text().split("\n\n"):
        start = number + 1
        number += block.count("\n") + 2
        rows = [row for row in block.splitlines() if row.strip()]
        if all(row.startswith("#") for row in rows):
            continue
        mutant = Mutant(start, " ".join(row[1:].strip() for row in rows if row.startswith("#")))
        for row in rows:
            if row.startswith("file:"):
                mutant.file = row[5:].strip()
            elif row.startswith("test:"):
                mutant.tests = tuple(row[5:].split())
            elif row.startswith("- "):
                mutant.old = row[2:]
            elif row.startswith("+ "):
                mutant.new = row[2:]
            elif not row.startswith("#"):
                raise SystemExit(f"error: {listing}:{start}: cannot read the line: {row}")
        if not (mutant.reason and mutant.file and mutant.tests and mutant.old) or mutant.old == mutant.new:
            raise SystemExit(f"error: {listing}:{start}: a mutant needs a reason, file, test, old and another new text")
        mutants.append(mutant)
    return mutants


def misfits(mutants: list[Mutant], root: Path) -> list[str]:
    """Mutants whose old text does not stand exactly once in their file."""
    wrong = []
    for m in mutants:
        path = root / m.file
        count = path.read_text().count(m.old) if path.exists() else -1
        if count != 1:
            found = "the file does not exist" if count < 0 else f"the old text stands there {count} times, not once"
            wrong.append(f"{LISTING.name}:{m.line}: {m.file}: {found}")
    return wrong


def refresh_copy():
    """Brings the copy up to date, leaving equal files alone so that nothing of them is built again."""
    names = set(Tree().names)
    for name in names:
        source, target = ROOT / name, COPY / name
        data = source.read_bytes()
        if not target.exists() or target.read_bytes() != data:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            shutil.copymode(source, target)
    for path in COPY.rglob("*"):
        name = path.relative_to(COPY)
        if path.is_file() and not path.is_symlink() and name.parts[0] not in ("build", ".venv") and str(name) not in names:
            path.unlink()
    if not (COPY / ".venv").exists():
        (COPY / ".venv").symlink_to(ROOT / ".venv")


def build(tests, log: str):
    return processes.run(["scripts/build.sh", "release", *tests], LOGS / log, BUILD_LIMIT, {"WERROR": "OFF"}, COPY)


def run_tests(tests, log: str) -> str:
    """How the first failing program ended; empty when all pass."""
    for test in tests:
        argv = [COPY / "build" / "release" / test, "--gtest_fail_fast", "--gtest_brief=1"]
        done = processes.run(argv, LOGS / f"{log}-{test}.txt", TEST_LIMIT)
        if done.ending():
            return f"{test}: {done.ending()}"
    return ""


def judge(mutant: Mutant, log: str) -> tuple[str, str]:
    """(caught | survived | broken, how)"""
    path = COPY / mutant.file
    sound = path.read_text()
    path.write_text(sound.replace(mutant.old, mutant.new))
    try:
        built = build(mutant.tests, f"{log}-build.txt")
        if built.ending():
            return "broken", f"does not compile: {built.output()[-500:]}"
        how = run_tests(mutant.tests, log)
        return ("caught", how) if how else ("survived", "all pass: " + " ".join(mutant.tests))
    finally:
        path.write_text(sound)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    mutants = read(LISTING)
    wrong = misfits(mutants, ROOT)
    if wrong:
        raise SystemExit("error: mutants that do not fit the tree any more:\n  " + "\n  ".join(wrong))
    if arguments.words:
        mutants = [m for m in mutants if any(w in m.file or w in m.reason for w in arguments.words)]
    if arguments.list or not mutants:
        print(f"{len(mutants)} mutants")
        return 0 if mutants else 1
    refresh_copy()
    tests = sorted({test for m in mutants for test in m.tests})
    print(f"building {' '.join(tests)} unchanged", flush=True)
    built = build(tests, "sound-build.txt")
    if built.ending():
        raise SystemExit(f"error: the unchanged tree does not build\n{built.output()[-4000:]}")
    if how := run_tests(tests, "sound"):
        raise SystemExit(f"error: a test fails without any mutant: {how}")
    counts = {"caught": 0, "survived": 0, "broken": 0}
    for number, mutant in enumerate(mutants, 1):
        outcome, how = judge(mutant, f"{number:02}")
        counts[outcome] += 1
        print(f"{outcome:<9} {mutant.file}: {mutant.reason} ({how})", flush=True)
    build(tests, "restored-build.txt")
    if counts["broken"]:
        print(f"{counts['broken']} mutants do not compile and prove nothing")
    print(f"{counts['caught']} caught, {counts['survived']} survived")
    return 1 if counts["survived"] or counts["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
