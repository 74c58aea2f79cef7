"""Lines to tokenize: many languages, code, prose, and what goes wrong first."""

import gettext
import random
import sysconfig
from pathlib import Path

LOCALES = Path("/usr/share/locale")
# Digits, contractions, runs of space, marks, joined emoji, controls, and text that looks like a special token.
ODD = [
    "0", "007", "3.14159", "1,000,000", "²³", "٣٤٥", "Ⅷ", "½", "I'll", "don’t", "they'RE", "'s", "''s", "'ſ", "'LL",
    "  ", "   ", "\t", "\t\t", " \t ", "\u00a0", "\u3000", "\u2028", "\u0085", "\x0b", "\x0c", "\r", "\x00", "\x01\x1b[0m",
    "\x7f", "é", "e\u0301", "ﬁ", "İ", "ẞ", "K", "Å", "日本語", "한국어", "ไทย", "العربية", "עברית", "हिन्दी", "👩‍👩‍👧‍👦", "🏳️‍🌈",
    "👍🏽", "🇩🇪", "\U0010ffff", "\ufffd", "\ufeff", "\u200b", "\ue000", "<s>", "</s>", "<mask>", " <mask> ", "<unk>", "[UNK]", "[CLS]",
    "<tool_call>", "<0x0A>", "ZZ", " ZZ ", "The", "xThe", "Café", "▁", "▁▁", "##ing", "</w>", "Ġ", "->", "::", "/*", "'''", "\\n",
    "—", "…", "“q”", "a" * 300, "ab" * 200, "9" * 120, "=" * 90, " " * 70, "é" * 80, "😀" * 40, "Aa1 " * 30, "日" * 120,
]  # fmt: skip


def translations() -> list[str]:
    """What Debian's packages say in each language (iso-codes, and whatever else is there)."""
    out = []
    for path in sorted(LOCALES.glob("*/LC_MESSAGES/*.mo")):
        if not path.stem.startswith(("iso_3166-1", "iso_639-2", "iso_15924", "iso_4217", "dpkg", "make", "sed", "grep")):
            continue
        with open(path, "rb") as file:
            try:
                catalog = gettext.GNUTranslations(file)._catalog
            except (UnicodeDecodeError, OSError):
                continue
        texts = [t for t in catalog.values() if isinstance(t, str) and t.strip()]
        out += random.Random(path.as_posix()).sample(texts, min(len(texts), 25))
    return out


def documents() -> list[str]:
    code = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    prose = sorted(q for q in Path("/usr/share/doc").glob("*/copyright") if q.is_file())
    lines = set()
    for path in code + prose:
        lines.update(path.read_text(encoding="utf-8", errors="ignore").split("\n"))
    return sorted(line for line in lines if line.strip())


def synthetic(count: int, seed: int, odd=ODD) -> list[str]:
    pick = random.Random(seed)
    out = []
    for _ in range(count):
        pieces = []
        for _ in range(pick.randint(1, 9)):
            kind = pick.random()
            if kind < 0.7:
                pieces.append(pick.choice(odd))
            elif kind < 0.85:
                pieces.append("".join(chr(pick.randint(32, 0x2FFF)) for _ in range(pick.randint(1, 12))))
            else:
                points = [pick.choice([pick.randint(1, 0xD7FF), pick.randint(0xE000, 0x10FFFF)]) for _ in range(4)]
                pieces.append("".join(map(chr, points)))
        out.append(pick.choice(["", " "]).join(pieces))
    return out


def broken(count: int, seed: int) -> list[bytes]:
    """Lines that are not UTF-8: bytes at random, and cut, doubled or overlong characters."""
    pick = random.Random(seed)
    bad = [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\x80", "é".encode() * 2]
    out = []
    for _ in range(count):
        parts = [pick.choice([b"ab", b" the ", "日本".encode(), *bad]) for _ in range(pick.randint(1, 8))]
        parts.append(bytes(pick.randrange(256) for _ in range(pick.randint(0, 6))))
        out.append(b"".join(parts).replace(b"\n", b" "))
    return out


def all_lines() -> list[bytes]:
    """At least 10 000; none holds a line end."""
    foreign, real = translations(), documents()
    pick = random.Random(1)
    texts = pick.sample(foreign, min(len(foreign), 5000))
    texts += pick.sample(real, min(len(real), 11000 - len(texts) - 2500))
    texts += synthetic(2500, 2) + ["", " ", "a", *ODD]
    return [t.replace("\n", " ").encode() for t in texts] + broken(500, 3)
