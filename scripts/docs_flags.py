#!/usr/bin/env python3
"""Writes the flag tables of the docs from what `smidgen schema` prints, between the markers of a page:

    <!-- flags VERB -->             the verb's own fields
    <!-- flags VERB ONEOF NAME -->  the fields of one choice, e.g. `flags tune method lora`
    <!-- flags * -->                what every verb takes
    ...
    <!-- end flags -->

    docs_flags.py             rewrites the tables in place
    docs_flags.py --check     exit 1 when a table is not current, when a verb of a page is unknown,
                              or when a verb, or a choice with fields, has no table

The executable is build/release/smidgen; --smidgen or SMIDGEN_BIN names another.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- flags ([^>]*?) -->\n)(.*?)(<!-- end flags -->)", re.S)
# Explained in one sentence of docs/README.md, without pages of their own.
WITHOUT_PAGE = {"completion", "help", "version"}
# Takes every field of `tune`, whose page shows the choices.
AS_TUNE = {"plan"}
# Of the command line, not of a verb, so the schema does not hold them; --help shows them under `Everywhere`.
EVERYWHERE = [
    ("--threads N", "", "Worker threads, 1 to 4096; by default what affinity and cgroup quota allow"),
    ("--json", "", "Results and progress as JSON on standard output, errors as JSON on standard error"),
    ("--quiet", "", "No progress and no notes"),
    ("--recipe PATH", "", "YAML file with values; a bare word does the same where the verb has no argument"),
    ("--help", "", "The verb's options; with a choice such as `--method NAME`, that choice's options too"),
]


def kebab(name: str) -> str:
    return name.replace("_", "-")


def number(value) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def placeholder(node: dict, registries: dict) -> str:
    kind = node["type"]
    if kind == "bool":
        return ""
    words = node.get("choices") or list(registries.get(node.get("registry"), {}))
    if words:
        return " " + " \\| ".join(words)
    if kind == "list":
        return " N,N,..." if node.get("items") == "int" else " A,B,..."
    return " " + {"int": "N", "float": "N", "string": "TEXT"}.get(kind, kind.upper())


def bounds(node: dict) -> str:
    low, high = node.get("min"), node.get("max")
    if low is not None and high is not None:
        return f"{number(low)} to {number(high)}"
    return f"at least {number(low)}" if low is not None else f"at most {number(high)}" if high is not None else ""


def standard(node: dict) -> str:
    if node.get("required"):
        return "required"
    value = node.get("default")
    if isinstance(value, dict):
        value = value.get("name")
    if value is None or value is False or value in ("", []):
        return ""
    if value is True:
        return "`true`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def row(node: dict, registries: dict, positional: str) -> tuple[str, str, str]:
    notes = ", ".join(n for n in (bounds(node), node.get("unit", "")) if n)
    text = node.get("help", "").replace("|", "\\|") + (f" ({notes})" if notes else "")
    if node["name"] in positional.split():
        return node["name"].upper(), standard(node), text
    return f"--{kebab(node['name'])}{placeholder(node, registries)}", standard(node), text


def leaves(fields: list) -> list:
    found = []
    for node in fields:
        found += leaves(node["fields"]) if node["type"] == "group" else [node]
    return found


def table(rows: list) -> str:
    lines = ["| flag | default | meaning |", "|---|---|---|"]
    lines += [f"| `{flag}` | {value} | {text} |" for flag, value, text in rows]
    # A bar inside code still parts cells in GitHub's tables unless it is escaped, which placeholder() did.
    return "\n".join(lines) + "\n"


def make(name: str, document: dict) -> str:
    """The table of one marker; KeyError when the schema does not know it."""
    if name == "*":
        return table(EVERYWHERE)
    verb, *choice = name.split()
    entry, registries = document["verbs"][verb], document["registries"]
    if choice:
        oneof, chosen = choice
        registry = next(n["registry"] for n in leaves(entry["fields"]) if n["name"] == oneof)
        return table([row(n, registries, "") for n in leaves(registries[registry][chosen]["fields"])])
    rows = [row(n, registries, entry.get("positional", "")) for n in leaves(entry["fields"])]
    return table(rows) if rows else "It has no flags of its own.\n"


def wanted(document: dict) -> set[str]:
    names = {"*"}
    for verb, entry in document["verbs"].items():
        if verb in WITHOUT_PAGE:
            continue
        names.add(verb)
        for node in leaves(entry["fields"]):
            if node["type"] == "oneof" and verb not in AS_TUNE:
                choices = document["registries"][node["registry"]]
                names |= {f"{verb} {node['name']} {name}" for name, choice in choices.items() if choice["fields"]}
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--smidgen", default=os.environ.get("SMIDGEN_BIN", ROOT / "build" / "release" / "smidgen"))
    arguments = parser.parse_args()
    printed = subprocess.run([str(arguments.smidgen), "schema"], check=True, capture_output=True, text=True).stdout
    document = json.loads(printed)

    wrong, seen = [], set()
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text()

        def fill(match, page=page):
            name = match[2].strip()
            seen.add(name)
            try:
                return match[1] + make(name, document) + match[4]
            except (KeyError, StopIteration, ValueError):
                wrong.append(f"{page.name}: the schema knows no `{name}`")
                return match[0]

        fresh = BLOCK.sub(fill, text)
        if fresh != text and arguments.check:
            wrong.append(f"{page.name}: a table is not current; run scripts/docs_flags.py")
        elif fresh != text:
            page.write_text(fresh)
            print(f"wrote docs/{page.name}")
    wrong += [f"no page has the marker <!-- flags {name} -->" for name in sorted(wanted(document) - seen)]
    for message in wrong:
        print(message, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
