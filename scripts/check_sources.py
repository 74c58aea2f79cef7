"""Checks of the C++ sources and of every tracked file's size and contents."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tree import Tree, is_torch_file, room_of, torch_rooms as rooms_with_torch

INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^">]+)[>"]')
SOURCES = (".h", ".cpp", ".cc")


# ---------------------------------------------------------------------------------------------- format
def formatter() -> str:
    beside = Path(sys.executable).parent / "clang-format"
    return str(beside) if beside.exists() else "clang-format"


def format(tree: Tree) -> list[str]:
    """Formatting as the pinned clang-format would have it."""
    names = tree.matching(*SOURCES)
    if not names:
        return []
    argv = [formatter(), "--dry-run", "--ferror-limit=1", "-style=file", *names]
    done = subprocess.run(argv, cwd=tree.root, capture_output=True, text=True)
    found = re.findall(r"^(\S+?:\d+):\d+: (?:warning|error): code should be clang-formatted", done.stderr, re.M)
    if done.returncode != 0 and not found:
        return [f"clang-format failed: {done.stderr.strip()[:400]}"]
    first = {}
    for place in found:
        first.setdefault(place.rsplit(":", 1)[0], place)
    return [f"{place}: not formatted; `make format` rewrites it" for place in first.values()]


def rewrite_format(tree: Tree):
    names = tree.matching(*SOURCES)
    if names:
        subprocess.run([formatter(), "-i", "-style=file", *names], cwd=tree.root, check=True)


# ------------------------------------------------------------------------------------------ directions
def read_deps(tree: Tree):
    """Ranks of the rooms, and the extra edges with the lines that list them."""
    ranks, edges = {}, {}
    for number, line in tree.lines("scripts/deps.txt"):
        line = line.split("#")[0].strip()
        if not line:
            continue
        if match := re.fullmatch(r"(\w+)\s*->\s*(\w+)", line):
            edges[match.groups()] = number
        elif match := re.fullmatch(r"(\d+)\s+(\w+)", line):
            ranks[match[2]] = int(match[1])
        else:
            raise SystemExit(f"error: scripts/deps.txt:{number}: expected `rank room` or `from -> to`, found: {line}")
    return ranks, edges


def includes(tree: Tree) -> list[str]:
    """Include directions by scripts/deps.txt, and the form in which includes are written."""
    ranks, edges = read_deps(tree)
    wrong = []
    for name in tree.matching(*SOURCES, under="smidgen/"):
        room = room_of(name)
        if room not in ranks:
            wrong.append(f"{name}:1: the room `{room}` has no rank in scripts/deps.txt")
            continue
        for number, line in tree.lines(name):
            match = INCLUDE.match(line)
            if not match:
                continue
            quote, target = match.groups()
            if quote == '"' and not target.startswith("smidgen/"):
                wrong.append(f'{name}:{number}: "{target}" is not written as "smidgen/room/file.h"')
            if not target.startswith("smidgen/"):
                continue
            other = room_of(target)
            if not tree.has(target):
                wrong.append(f"{name}:{number}: {target} does not exist")
            elif other not in ranks:
                wrong.append(f"{name}:{number}: the room `{other}` has no rank in scripts/deps.txt")
            elif other != room and ranks[other] >= ranks[room] and (room, other) not in edges:
                wrong.append(
                    f"{name}:{number}: the edge {room} -> {other} goes against the ranks ({ranks[room]} -> {ranks[other]}); "
                    f"a room includes itself, lower ranks, and what scripts/deps.txt lists"
                )
    return wrong


TORCH = re.compile(r"(torch|ATen|c10|caffe2)/")


def torch_rooms(tree: Tree) -> list[str]:
    """Rooms without torch stay so: neither torch's headers nor those of a room that computes."""
    with_torch = rooms_with_torch(tree)
    wrong = []
    for name in tree.matching(*SOURCES, under="smidgen/"):
        if is_torch_file(name, with_torch):
            continue
        for number, line in tree.lines(name):
            match = INCLUDE.match(line)
            if match and (TORCH.match(match[2]) or is_torch_file(match[2], with_torch)):
                wrong.append(f"{name}:{number}: includes {match[2]}, but is linked without torch (see CMakeLists.txt)")
    return wrong


def torch_header(tree: Tree) -> list[str]:
    """torch/torch.h costs 8 to 10 s in each unit that sees it: headers take the ATen headers they need."""
    wrong = []
    for name in tree.matching(".h", under="smidgen/"):
        if name.endswith("_test.h"):
            continue  # seen by test programs only, which precompile it
        for number, line in tree.lines(name):
            match = INCLUDE.match(line)
            if match and match[2] in ("torch/torch.h", "torch/all.h", "torch/extension.h"):
                wrong.append(f"{name}:{number}: a header may not include {match[2]}; include the few headers it needs")
    return wrong


# --------------------------------------------------------------------------------------- size and text
LONG, TOO_LONG = 500, 800


def sizes(tree: Tree) -> list[str]:
    """At most 800 lines; above 500 only with a reason in scripts/long_files.txt (`path: reason`)."""
    reasons = {}
    wrong = []
    listing = "scripts/long_files.txt"
    if tree.has(listing):
        for number, line in tree.lines(listing):
            path, colon, reason = (piece.strip() for piece in line.partition(":"))
            if not path or path.startswith("#"):
                continue
            if not colon or not reason:
                wrong.append(f"{listing}:{number}: expected `path: reason`")
            reasons[path] = number
    measured = (".h", ".cpp", ".py", ".sh", ".cmake", "CMakeLists.txt", "Makefile")
    for name in tree.matching(*measured):
        count = tree.text(name).count("\n")
        if count > TOO_LONG:
            wrong.append(f"{name}: {count} lines, refused above {TOO_LONG}; split it by topic")
        elif count > LONG and name not in reasons:
            wrong.append(f"{name}: {count} lines; above {LONG} it needs a reason in {listing}")
        elif count <= LONG and name in reasons:
            wrong.append(f"{listing}:{reasons[name]}: {name} has {count} lines and needs no entry")
    wrong += [f"{listing}:{number}: {path} does not exist" for path, number in reasons.items() if not tree.has(path)]
    return wrong


# Folders that exist on one machine only. /usr, /etc, /tmp, /proc, /sys, /dev and /path/to are everybody's.
MACHINE_PATH = re.compile(r"(?<![\w.$~})\]/-])/(root|home|work|workspace|opt|mnt|srv|Users)/[\w.-]+")


def paths(tree: Tree) -> list[str]:
    """No path of one machine, and none of the words in SMIDGEN_PRIVATE_WORDS (comma-separated) in a tracked file."""
    words = [w.strip() for w in os.environ.get("SMIDGEN_PRIVATE_WORDS", "").split(",") if w.strip()]
    private = re.compile("|".join(map(re.escape, words)), re.I) if words else None
    wrong = []
    for name in tree.names:
        if name in ("scripts/check_sources.py", "tests/gate/test_check.py"):
            continue
        text = tree.text(name)
        if "\0" in text[:4096]:
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if match := MACHINE_PATH.search(line):
                wrong.append(f"{name}:{number}: {match[0]} is a path of one machine")
            if private and (match := private.search(line)):
                wrong.append(f"{name}:{number}: holds the private word `{match[0]}`")
    return wrong
