"""Code blocks of the docs.

    ```sh        commands that a test runs (tests/command/test_docs.py)
    ```console   an excerpt of a terminal: `$ command` and what it printed; not run
    any other    text, json, yaml, cpp, cmake, python, ...: not commands

The blocks of one page run in order, in one temporary folder, each under `bash -euo pipefail`.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tree import Tree

FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*([^`\n]*)$")


@dataclass
class Block:
    page: str
    line: int  # of the opening fence
    language: str
    text: str


def pages(tree: Tree) -> list[str]:
    return [n for n in tree.matching(".md") if not n.startswith("tests/")]


def blocks(tree: Tree, page: str) -> list[Block]:
    found, opened = [], None
    for number, line in tree.lines(page):
        match = FENCE.match(line)
        if opened is None and match:
            opened = (match[2], number, match[3].strip(), len(match[1]), [])
        elif opened and match and match[2].startswith(opened[0]) and not match[3]:
            found.append(Block(page, opened[1], opened[2], "\n".join(opened[4]) + "\n"))
            opened = None
        elif opened:
            opened[4].append(line[opened[3] :] if line[: opened[3]].isspace() else line)
    if opened:
        raise SystemExit(f"error: {page}:{opened[1]}: the code block has no end")
    return found


def commands(tree: Tree, page: str) -> list[Block]:
    return [b for b in blocks(tree, page) if b.language == "sh"]


def run(block: Block, folder: Path, env: dict, limit: float) -> subprocess.CompletedProcess:
    argv = ["bash", "-euo", "pipefail", "-c", block.text]
    return subprocess.run(
        argv, cwd=folder, env=env, timeout=limit, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
