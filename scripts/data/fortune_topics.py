#!/usr/bin/env python3
"""Short texts of Debian's fortunes and their topic, one of six of its files.

Split by a hash of the text. labelled.py says what is written.
"""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))  # `python -I` leaves it out
import labelled  # noqa: E402
from packages import debian  # noqa: E402

FOLDER = "usr/share/games/fortunes"
TOPICS = {"art": "art", "computers": "computers", "definitions": "definitions", "politics": "politics", "science": "science",
          "songs-poems": "songs"}


def fortunes(text):
    """Entries lie between lines with a percent sign. Overstriking (letter, backspace, letter) is undone."""
    for entry in re.split(r"^%\s*$", text, flags=re.MULTILINE):
        entry = re.sub(r".\x08", "", entry).strip()
        if len(entry) >= 40:
            yield entry


def read(options):
    version, root = debian("fortunes", options.cache)
    items = []
    for file, topic in TOPICS.items():
        for text in fortunes((root / FOLDER / file).read_text(encoding="utf-8")):
            items.append(labelled.Item(text, topic, labelled.held_out(options, labelled.normal(text)), {"file": file}))
    return {"fortunes": version}, items


SET = labelled.LabelledSet(
    name="fortune-topics", question="What is the topic of this text?", labels=sorted(TOPICS.values()),
    licence="BSD for the collection; single texts are their authors'", split="by a hash of the text", read=read, max_chars=300)


def main(argv=None):
    return labelled.main(SET, argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
