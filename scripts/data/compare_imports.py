#!/usr/bin/env python3
"""Runs `smidgen import` over the LoRA examples that axolotl, LLaMA-Factory and torchtune ship (sources.py fetches them).

Every key of every example must be in the answer, and none may be unknown; prints the counts and each unknown key.
"""
import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import sources
import yaml

TOOLS = ("axolotl", "llamafactory", "torchtune")


def is_lora(tool, recipe):
    if tool == "axolotl":
        return str(recipe.get("adapter")) in ("lora", "qlora")
    if tool == "llamafactory":
        return recipe.get("finetuning_type") == "lora"
    return isinstance(recipe.get("model"), dict) and "lora" in str(recipe["model"].get("_component_"))


def examples(cache):
    for tool in TOOLS:
        for name, data in sources.members(sources.fetch(tool, cache)):
            if not name.endswith((".yaml", ".yml")):
                continue
            try:
                recipe = yaml.safe_load(data)
            except yaml.YAMLError:
                continue
            if isinstance(recipe, dict) and is_lora(tool, recipe):
                yield tool, name, data, recipe


def missing(recipe, answered, prefix=""):
    """Keys of the recipe for which the answer has neither a word nor one about something inside or around."""
    for key, value in recipe.items():
        path = f"{prefix}{key}"
        if path in answered:
            continue
        if isinstance(value, dict) and any(name.startswith(path + ".") for name in answered):
            yield from missing(value, answered, path + ".")
        else:
            yield path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("build/sources"))
    parser.add_argument("--smidgen", default=os.environ.get("SMIDGEN_BIN", "build/release/smidgen"))
    given = parser.parse_args()
    files, fates, wrong = collections.Counter(), collections.defaultdict(collections.Counter), 0
    with tempfile.TemporaryDirectory() as folder:
        for tool, name, data, recipe in examples(given.cache):
            path = pathlib.Path(folder) / "recipe.yaml"
            path.write_bytes(data)
            done = subprocess.run([given.smidgen, "import", str(path), "--json"], capture_output=True, text=True)
            files[tool] += 1
            if done.returncode:
                wrong += 1
                print(f"{tool}: {name}: {done.stderr.strip()}")
                continue
            answer = json.loads(done.stdout)
            plain = subprocess.run([given.smidgen, "import", str(path)], capture_output=True, text=True)
            written = yaml.safe_load(plain.stdout)
            answered = {row["key"] for rows in answer["keys"].values() for row in rows}
            lost = list(missing(recipe, answered))
            if lost or answer["tool"] != tool or written != answer["recipe"]:
                wrong += 1
                print(f"{tool}: {name}: {answer['tool']}: not in the answer: {lost}; YAML as JSON: {written == answer['recipe']}")
            for fate, rows in answer["keys"].items():
                fates[tool][fate] += len(rows)
            for row in answer["keys"]["unknown"]:
                print(f"{tool}: {name}: unknown: {row['key']}: {row['words']}")
    for tool in TOOLS:
        print(f"{tool}: {files[tool]} recipes; keys: {dict(fates[tool])}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
