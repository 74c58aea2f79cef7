#!/usr/bin/env python3
"""Checks of the tree that need no build. `check.py NAME...` runs only those; `--fix-format` rewrites instead.

A check is a function from a Tree to messages `file:line: what, and what would be right`. Each has a case in
tests/gate/test_check.py that shows it fail.
"""

import argparse
import sys

import check_docs
import check_sources
from tree import Tree

CHECKS = {
    "format": check_sources.format,
    "includes": check_sources.includes,
    "torch_rooms": check_sources.torch_rooms,
    "torch_header": check_sources.torch_header,
    "sizes": check_sources.sizes,
    "paths": check_sources.paths,
    "docs_rows": check_docs.rows,
    "docs_links": check_docs.links,
    "docs_fences": check_docs.fences,
    "docs_targets": check_docs.targets,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="CHECK", help=f"one of: {' '.join(CHECKS)} (default: all)")
    parser.add_argument("--fix-format", action="store_true")
    arguments = parser.parse_args()
    tree = Tree()
    if arguments.fix_format:
        check_sources.rewrite_format(tree)
        return 0
    unknown = [name for name in arguments.names if name not in CHECKS]
    if unknown:
        parser.error(f"no check is called {unknown[0]}; there are: {' '.join(CHECKS)}")
    wrong = 0
    for name in arguments.names or CHECKS:
        messages = CHECKS[name](tree)
        wrong += len(messages)
        print(f"{'ok  ' if not messages else 'FAIL'} {name}")
        for message in messages:
            print(f"     {message}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
