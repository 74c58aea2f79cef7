#!/usr/bin/env python3
"""Chat templates that other projects ship, as a corpus to render while developing: build/templates/, not committed.

Takes every *.jinja of the packages of sources.py, and every string of their Python, JSON and YAML files that mentions
`messages` between Jinja's brackets. Equal templates are kept once. index.json has a row for each: file, SHA-256, origins.
"""
import argparse
import ast
import hashlib
import json
import pathlib
import re
import shutil
import sys

import sources

PACKAGES = ("axolotl", "llama-cpp-python", "llamafactory", "mergekit", "transformers", "trl", "vllm")
JINJA = (".jinja", ".jinja2", ".j2")
MARK = re.compile(r"\{[%{][^}]*\bmessages\b")


def strings_of_python(text):
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def strings_of_json(value, path=""):
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from strings_of_json(item, f"{path}/{key}")


def templates_of(name, data):
    """(place, template) of one file."""
    if name.endswith(JINJA):
        yield "", data.decode("utf-8")
        return
    suffix = pathlib.PurePath(name).suffix
    if suffix not in (".py", ".json", ".yaml", ".yml") or b"messages" not in data or b"{%" not in data:
        return
    text = data.decode("utf-8", "replace")
    if suffix == ".py":
        found = strings_of_python(text)
    elif suffix == ".json":
        found = strings_of_json(json.loads(text))
    else:
        import yaml

        found = strings_of_json(yaml.safe_load(text))
    for place, value in found:
        if MARK.search(value):
            yield f":{place}", value


def collect(cache):
    """{template: [origin, ...]}, in the order found."""
    found = {}
    for package in PACKAGES:
        version = sources.PACKAGES[package][0]
        for name, data in sources.members(sources.fetch(package, cache)):
            for place, template in templates_of(name, data):
                if MARK.search(template):
                    found.setdefault(template, []).append(f"{package}-{version}/{name}{place}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("build/sources"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/templates"))
    given = parser.parse_args()
    found = collect(given.cache)
    shutil.rmtree(given.out, ignore_errors=True)
    given.out.mkdir(parents=True)
    index = []
    for template, origins in found.items():
        digest = hashlib.sha256(template.encode()).hexdigest()
        stem = re.sub(r"\W+", "-", pathlib.PurePath(origins[0].partition(":")[0]).stem).strip("-")[:60]
        file = f"{stem}-{digest[:8]}.jinja"
        (given.out / file).write_bytes(template.encode())
        index.append({"file": file, "sha256": digest, "origins": origins})
    (given.out / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    print(f"{len(index)} templates, {sum(len(row['origins']) for row in index)} places, in {given.out}")


if __name__ == "__main__":
    sys.exit(main())
