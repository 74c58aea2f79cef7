"""Checks of the documentation."""

import re

import doc_blocks
from tree import Tree

REGISTRY = re.compile(r"^\s*smidgen_registry\((\S+) (\w+) (\S+)\)", re.M)


def rows(tree: Tree) -> list[str]:
    """Every line of a registry list has its source, its test, and its row in the docs table."""
    wrong = []
    for folder, _, page in REGISTRY.findall(tree.text("CMakeLists.txt")):
        listing = f"smidgen/{folder}/{folder.split('/')[-1]}.list"
        if not tree.has(listing) or not tree.has(page):
            wrong.append(f"CMakeLists.txt: {listing if not tree.has(listing) else page} does not exist")
            continue
        for number, line in tree.lines(listing):
            if not re.match("[a-z]", line):
                continue
            name = line.strip()
            for file in (f"smidgen/{folder}/{name}.cpp", f"smidgen/{folder}/{name}_test.cpp"):
                if not tree.has(file):
                    wrong.append(f"{listing}:{number}: {file} does not exist")
            if f"\n| `{name}`" not in tree.text(page):
                wrong.append(f"{listing}:{number}: {page} has no row that starts with | `{name}`")
    return wrong


def links(tree: Tree) -> list[str]:
    """Relative links and pictures lead to files that are tracked or made by the build."""
    wrong = []
    for page in doc_blocks.pages(tree):
        folder = (tree.root / page).parent
        fenced = False
        for number, line in tree.lines(page):
            fenced ^= line.lstrip().startswith("```")
            for target in [] if fenced else re.findall(r"\]\(([^)\s]+)", line):
                target = target.split("#")[0]
                if target and not re.match(r"[a-z]+:", target) and not (folder / target).exists():
                    wrong.append(f"{page}:{number}: the link leads to {target}, which does not exist")
    return wrong


NOT_RUN_SHELLS = ("bash", "shell", "zsh", "shellsession", "")


def fences(tree: Tree) -> list[str]:
    """Commands stand in ```sh, which a test runs; excerpts of a terminal in ```console; nothing stays unnamed."""
    wrong = []
    for page in doc_blocks.pages(tree):
        for block in doc_blocks.blocks(tree, page):
            if block.language in NOT_RUN_SHELLS:
                wrong.append(
                    f"{page}:{block.line}: a block of `{block.language or 'no language'}`; use sh (run by a test), "
                    f"console (an excerpt), or text"
                )
    return wrong


def targets(tree: Tree) -> list[str]:
    """Every `make TARGET` that the docs name is a target of the Makefile."""
    known = set(re.findall(r"^([a-z-]+):", tree.text("Makefile"), re.M))
    wrong = []
    for page in doc_blocks.pages(tree):
        for number, line in tree.lines(page):
            for code in re.findall(r"`([^`]*)`", line) + re.findall(r"^\s*\$ (.*)", line):
                match = re.match(r"make ([a-z][a-z-]*)\b", code)
                if match and match[1] not in known:
                    wrong.append(f"{page}:{number}: the Makefile has no target `{match[1]}`")
    return wrong
