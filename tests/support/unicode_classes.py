"""Code points whose class differs between the Unicode versions of `tokenizers` and of smidgen's libraries.

Both sides read one line per code point through a tokenizer that shows one class or mapping: byte-level BPE without merges
shows what a normaliser made of a character, and the pieces of a pre-tokeniser count differently by the character's class.
What gives other ids has another class. None of these may be a character that no version since Unicode 3.2 has changed.

    python tests/support/unicode_classes.py     prints them
"""

import unicodedata
from pathlib import Path

from tokenizers import Regex, Tokenizer
from tokenizers import models as m
from tokenizers import normalizers as n
from tokenizers import pre_tokenizers as p

# Within these all characters are of one class; only the ends, which versions move, are looked at.
UNIFORM = [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xE000, 0xF8FF), (0x17000, 0x187F7), (0x20000, 0x2A6DF), (0x2A700, 0x2EBE0), (0x30000, 0x3134A)]
LAST, EDGE, GROUP = 0x323B0, 80, 64


def points() -> list[int]:
    inner = [range(a + EDGE, b - EDGE) for a, b in UNIFORM]
    plain = [c for c in range(1, LAST) if not 0xD800 <= c < 0xE000 and c != 10 and not any(c in r for r in inner)]
    return plain + list(range(0xE0000, 0xE01F0))


def byte_vocabulary() -> dict[str, int]:
    return {letter: i for i, letter in enumerate(sorted(p.ByteLevel.alphabet()))}


def normalizing(normalizer) -> Tokenizer:
    out = Tokenizer(m.BPE(byte_vocabulary(), []))
    out.normalizer = normalizer
    out.pre_tokenizer = p.ByteLevel(add_prefix_space=False, use_regex=False)
    return out


def cutting(pre) -> Tokenizer:
    out = Tokenizer(m.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    out.pre_tokenizer = pre
    return out


def probes() -> dict[str, tuple[Tokenizer, str]]:
    """Tokenizers, each with the line that shows a character `c`."""
    # A letter joins its 2 neighbours, a number its 4, a sign its 6: the three sums of pieces differ.
    mixed = "a{c}a;1{c}1{c}1;!{c}!{c}!{c}!"
    out = {
        name: (normalizing(make()), "{c}")
        for name, make in {
            "NFD": n.NFD, "NFKC": n.NFKC, "lower": n.Lowercase, "accents": n.StripAccents,
            "bert": lambda: n.BertNormalizer(lowercase=False, strip_accents=False),
            "bert accents": lambda: n.BertNormalizer(clean_text=False, lowercase=False, strip_accents=True),
        }.items()
    }  # fmt: skip
    out["composed"] = (normalizing(n.NFC()), "{c}\u0301{c}")
    for name, pre in {
        "words": p.ByteLevel(add_prefix_space=False),
        "classes": p.Split(Regex(r"[\p{L}]+|[\p{N}]+|[^\s\p{L}\p{N}]+"), "isolated"),
        "signs": p.Split(Regex(r"[\p{M}]+|[\p{P}\p{S}]+"), "isolated"),
        "\\w": p.Whitespace(),
        "punctuation": p.BertPreTokenizer(),
        "digits": p.Digits(),
    }.items():
        out[name] = (cutting(pre), mixed)
    return out


def unchanged_since_3_2(c: int) -> bool:
    old, new = unicodedata.ucd_3_2_0, unicodedata
    x = chr(c)
    return (
        old.category(x) == new.category(x) != "Cn"
        and old.normalize("NFKD", x) == new.normalize("NFKD", x)
        and old.combining(x) == new.combining(x)
    )


def differing(encode) -> dict[int, set[str]]:
    """By code point, the probes that differ. `encode(tokenizer, lines)` gives smidgen's ids.

    Many code points share a line first; those of lines that differ are then looked at alone.
    """
    out: dict[int, set[str]] = {}
    all_points = points()
    for name, (tokenizer, line) in probes().items():
        suspects = [all_points[i : i + GROUP] for i in range(0, len(all_points), GROUP)]
        for alone in (False, True):
            lines = [";".join(line.format(c=chr(c)) for c in group) for group in suspects]
            theirs = [e.ids for e in tokenizer.encode_batch_fast(lines)]
            ours = encode(tokenizer, [x.encode() for x in lines])
            wrong = [group for group, a, b in zip(suspects, ours, theirs, strict=True) if a != b]
            suspects = [[c] for group in wrong for c in group]
            if alone:
                for (c,) in suspects:
                    out.setdefault(c, set()).add(name)
    return out


if __name__ == "__main__":
    import sys
    import tempfile

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from support import token_folder

    with tempfile.TemporaryDirectory() as scratch:
        for c, names in sorted(differing(lambda t, lines: token_folder.encode(token_folder.write(t, scratch), lines)).items()):
            print(f"U+{c:04X} {unicodedata.name(chr(c), '?')}: {', '.join(sorted(names))}")
