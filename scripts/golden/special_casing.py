#!/usr/bin/env python3
"""Writes smidgen/text/special_casing.h: the characters whose upper or title case is more than one character."""
import pathlib

OUT = pathlib.Path(__file__).resolve().parents[2] / "smidgen" / "text" / "special_casing.h"


def row(code):
    def spelled(text):
        return "{" + ", ".join(f"0x{ord(c):X}" for c in text) + "}"

    return f"    {{0x{code:X}, {spelled(chr(code).upper())}, {spelled(chr(code).title())}}},"


def main():
    codes = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and max(len(chr(c).upper()), len(chr(c).title())) > 1]
    lines = [
        "// Made by scripts/golden/special_casing.py from Python's str: Unicode's SpecialCasing.txt.",
        "#pragma once",
        "",
        "#include <cstdint>",
        "",
        "namespace smidgen::tmpl {",
        "",
        "struct SpecialCase {",
        "  uint32_t code, upper[3], title[3];  // ended by 0",
        "};",
        "",
        "// clang-format off",
        "inline constexpr SpecialCase kSpecialCases[] = {",
        *map(row, codes),
        "};",
        "// clang-format on",
        "",
        "}  // namespace smidgen::tmpl",
        "",
    ]
    OUT.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
