#!/usr/bin/env python3
"""Paragraphs of Debian's manual pages and their language, one of six.

A page is on one side in all languages. Up to four paragraphs of a page are taken; one that stands in pages of two
languages is not translated and left out, and so is one of another language than English that has the word "the".
labelled.py says what is written.
"""
import gzip
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))  # `python -I` leaves it out
import labelled  # noqa: E402
from packages import debian, digest  # noqa: E402

# Language: package, folder of its pages.
LANGUAGES = {"Dutch": ("manpages-nl", "nl"), "English": ("manpages", "."), "French": ("manpages-fr", "fr"),
             "German": ("manpages-de", "de"), "Italian": ("manpages-it", "it"), "Spanish": ("manpages-es", "es")}
PER_PAGE = 4
# What roff spells in other characters.
ESCAPES = {r"\-": "-", r"\(aq": "'", r"\(oq": "'", r"\(cq": "'", r"\(lq": '"', r"\(rq": '"', r"\(dq": '"', r"\(em": "-",
           r"\(en": "-", r"\(bu": "", r"\&": "", r"\|": "", r"\/": "", r"\,": "", r"\ ": " ", r"\~": " ", r"\(co": "", r"\e": "\\"}


def plain(text):
    """A line of roff without fonts, sizes and escapes."""
    text = re.sub(r"\\f(\[[^]]*\]|\(..|.)", "", text)
    text = re.sub(r"\\s[-+]?\d|\\[mv]\[[^]]*\]|\\%|\\:|\\c\b", "", text)
    for escape, character in ESCAPES.items():
        text = text.replace(escape, character)
    return re.sub(r"\\\[u([0-9A-F]{4})\]", lambda m: chr(int(m[1], 16)), text)


def paragraphs(roff):
    """Running text between requests; of font requests the words belong to it. Tables and examples are left out."""
    lines, quiet = [], None
    for line in roff.splitlines():
        request = re.match(r"[.']\s*(\S*)\s*(.*)", line)
        name = request[1] if request else ""
        if quiet:
            quiet = None if name == quiet else quiet
            continue
        if name in ("EX", "nf", "TS"):
            quiet = {"EX": "EE", "nf": "fi", "TS": "TE"}[name]
        if not request and line.strip():
            lines.append(plain(line))
        elif name in ("B", "I", "BR", "BI", "IR", "RB", "RI", "IB") and lines:
            words = re.findall(r'"([^"]*)"|(\S+)', request[2])
            lines.append(plain(("" if len(name) == 2 else " ").join(a or b for a, b in words)))
        elif not name.startswith('\\"'):
            if lines:
                yield labelled.squeezed(" ".join(lines))
            lines = []
    if lines:
        yield labelled.squeezed(" ".join(lines))


def running_text(paragraph, language):
    """Sentences, and none of a page that is not translated yet."""
    letters = sum(c.isalpha() or c == " " for c in paragraph)
    if len(paragraph) < 60 or letters < 0.85 * len(paragraph) or "\\" in paragraph:
        return False
    return language == "English" or not re.search(r"\bthe\b", paragraph, re.IGNORECASE)


def read(options):
    versions, items, languages = {}, [], {}
    for language, (package, folder) in LANGUAGES.items():
        versions[package], root = debian(package, options.cache)
        for path in sorted((root / "usr/share/man" / folder).glob("man*/*.gz")):
            if path.is_symlink():
                continue
            page = path.name.removesuffix(".gz")
            roff = gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")
            good = [p for p in paragraphs(roff) if running_text(p, language)]
            for text in sorted(good, key=lambda text: digest(options.seed, text))[:PER_PAGE]:
                languages.setdefault(labelled.normal(text), set()).add(language)
                items.append(labelled.Item(text, language, labelled.held_out(options, page), {"page": page}))
    return versions, [item for item in items if len(languages[labelled.normal(item.text)]) == 1]


SET = labelled.LabelledSet(
    name="manpage-languages", question="Which language is this text?", labels=sorted(LANGUAGES),
    licence="GPL-3+ of the translations, various free ones of the originals",
    split="by a hash of the page's name, in all languages alike", read=read, max_chars=160)


def main(argv=None):
    return labelled.main(SET, argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
