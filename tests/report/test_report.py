"""The run report in a real browser: no console message, not blank, readable in light, dark and on a phone.

`report_test` (the unit tests of the room) writes the pages into $SMIDGEN_REPORT_OUT; Debian's `chromium` draws
them. Without a browser the tests skip and say so. SMIDGEN_REPORT_SHOTS=folder keeps the pictures.
"""
import os
import pathlib
import re
import shutil
import struct
import subprocess
import zlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SMIDGEN_BUILD", ROOT / "build" / "release"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAGES = ["full", "hostile", "empty"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian package chromium)")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    program = BUILD / "report_test"
    if not program.exists():
        pytest.fail(f"{program} is not built (make build)")
    folder = tmp_path_factory.mktemp("report")
    subprocess.run([program, "--gtest_filter=RunReport.*"], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "SMIDGEN_REPORT_OUT": str(folder)})
    return folder


def browse(page, folder, *options):
    """Console lines of one page; options decide what else is made."""
    # Chromium refuses its sandbox for root, which is what a container has.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [CHROMIUM, "--headless", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
               "--disable-background-networking", "--no-first-run", f"--user-data-dir={folder / 'profile'}",
               *sandbox, *options, page.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, errors="replace")
    assert done.returncode == 0, done.stderr
    return done, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def read_png(path):
    """Width, height and rows of RGB tuples of an 8-bit PNG without interlacing, as Chromium writes it."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed += body
        at += size + 12
    assert depth == 8 and colour in (2, 6) and interlace == 0
    step = 3 if colour == 2 else 4
    raw, stride, rows = zlib.decompress(packed), width * step, []
    previous = bytearray(stride)
    for y in range(height):
        mode = raw[y * (stride + 1)]
        row = bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        if mode == 1:
            for i in range(step, stride):
                row[i] = (row[i] + row[i - step]) & 255
        elif mode == 2:
            for i in range(stride):
                row[i] = (row[i] + previous[i]) & 255
        elif mode == 3:
            for i in range(stride):
                row[i] = (row[i] + ((row[i - step] if i >= step else 0) + previous[i]) // 2) & 255
        elif mode == 4:
            for i in range(stride):
                a, b, c = (row[i - step] if i >= step else 0), previous[i], (previous[i - step] if i >= step else 0)
                pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
                row[i] = (row[i] + (a if pa <= pb and pa <= pc else b if pb <= pc else c)) & 255
        rows.append([tuple(row[i:i + 3]) for i in range(0, stride, step)])
        previous = row
    return width, height, rows


def shoot(pages, folder, name, label, size, *options):
    picture = folder / f"{name}-{label}.png"
    _, console = browse(pages / f"{name}.html", folder, f"--screenshot={picture}", f"--window-size={size}", *options)
    assert console == []
    if keep := os.environ.get("SMIDGEN_REPORT_SHOTS"):
        shutil.copy(picture, keep)
    return read_png(picture)


@pytest.mark.parametrize("name", PAGES)
def test_console_is_silent(pages, tmp_path, name):
    done, console = browse(pages / f"{name}.html", tmp_path, "--dump-dom")
    assert console == []
    assert "<footer>Written by smidgen" in done.stdout
    # What the browser made of the page has no element that the page did not mean.
    assert not re.search(r"<(script|img|iframe|object|form|a)\b", done.stdout)


def test_console_check_can_fail(pages, tmp_path):
    page = tmp_path / "noisy.html"
    page.write_text("<!doctype html><title>x</title><script>console.error('heard')</script>")
    _, console = browse(page, tmp_path, "--dump-dom")
    assert any("heard" in line for line in console)


@pytest.mark.parametrize("label,size,dark", [("light", "1100,1400", False), ("dark", "1100,1400", True), ("phone", "500,1400", False)])
def test_picture_shows_the_report(pages, tmp_path, label, size, dark):
    options = ["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]
    width, height, rows = shoot(pages, tmp_path, "full", label, size, *options)
    page = rows[2][2]
    assert (sum(page) < 150) == dark
    busy = [y for y, row in enumerate(rows) if any(p != page for p in row)]
    assert len(busy) > height * 0.4, "the page is nearly blank"
    # The training curve (blue) crosses most of the width, the held-out curve (orange) is there.
    blue = (0x74, 0xA9, 0xF7) if dark else (0x1F, 0x5F, 0xBF)
    orange = (0xF0, 0xA3, 0x5E) if dark else (0xC2, 0x57, 0x0C)
    near = lambda p, q: sum(abs(a - b) for a, b in zip(p, q)) < 40
    columns = {x for row in rows for x, p in enumerate(row) if near(p, blue)}
    assert len(columns) > width * 0.4
    assert sum(near(p, orange) for row in rows for p in row) > 100
    # Nothing sticks out to the right: a margin stays free.
    assert all(p == page for row in rows for p in row[-8:])


def test_blank_page_is_noticed(tmp_path):
    page = tmp_path / "blank.html"
    page.write_text("<!doctype html><title>x</title>")
    _, height, rows = shoot(tmp_path, tmp_path, "blank", "light", "400,300")
    assert sum(any(p != rows[2][2] for p in row) for row in rows) == 0
