"""Where the tests find the build and keep what is costly to make."""

import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
CACHE = Path(os.environ.get("SMIDGEN_TEST_CACHE", BUILD / "cache" / "tests"))


def digest(path: Path, length: int = 16) -> str:
    """The start of a file's SHA-256, as a cache key."""
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            h.update(block)
    return h.hexdigest()[:length]


@contextmanager
def made_once(folder: Path):
    """Yields a scratch folder that becomes `folder` when the block ends, or None where `folder` is there already.

    Two processes may race: both make it, one rename wins, and the loser's copy goes away.
    """
    if folder.exists():
        yield None
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    try:
        yield scratch
        try:
            scratch.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
