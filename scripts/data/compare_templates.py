#!/usr/bin/env python3
"""Renders the corpus of chat_templates.py on every conversation of tests/support/templates.py, by jinja2 and by smidgen.

Prints one line for each difference and a closing count; --show prints both texts of the first differences.
"""
import argparse
import collections
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests"))
from support import templates  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=pathlib.Path, default=pathlib.Path("build/templates"))
    parser.add_argument("--only", default="", help="part of a file name")
    parser.add_argument("--show", type=int, default=0, metavar="N")
    given = parser.parse_args()
    rows = [row for row in json.loads((given.corpus / "index.json").read_text()) if given.only in row["file"]]
    cases = []
    for row in rows:
        source = (given.corpus / row["file"]).read_bytes().decode()
        cases += [(row["file"], name, {"template": source, **talk}) for name, talk in templates.CONVERSATIONS.items()]
    ours = templates.by_smidgen([request for _, _, request in cases])
    counts, files, shown = collections.Counter(), set(), 0
    for (file, name, request), mine in zip(cases, ours):
        theirs = templates.by_jinja(**request)
        what = templates.differs(theirs, mine)
        if what and "strftime_now" in request["template"]:  # the second may have changed in between
            theirs, mine = templates.by_jinja(**request), templates.by_smidgen([request])[0]
            what = templates.differs(theirs, mine)
        counts["refused by both" if "error" in theirs and not what else what or "equal"] += 1
        if not what:
            continue
        files.add(file)
        print(f"{file}: {name}: {what}: {theirs.get('error', '')[:200]} | {mine.get('where', '')} {mine.get('error', '')[:200]}")
        if shown < given.show:
            shown += 1
            print("--- jinja2\n" + theirs.get("text", "") + "\n--- smidgen\n" + mine.get("text", ""))
    print(f"{len(rows)} templates x {len(templates.CONVERSATIONS)} conversations: {dict(counts)}; differing templates: {len(files)}")
    return 1 if files else 0


if __name__ == "__main__":
    sys.exit(main())
