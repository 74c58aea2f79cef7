"""Fixtures of the parity tests. The reference side is built lazily: a case that fails early costs nothing."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read once, when torch starts its threads
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: not part of make test; make slow runs it")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real model's GGUF file."""
    from support import reference

    return reference.smollm2()


@pytest.fixture(scope="session")
def smollm2_reference(smollm2):
    """transformers on its dequantised weights, fp32."""
    from support import reference

    return reference.llama(smollm2)


@pytest.fixture(scope="session")
def excluded(tmp_path_factory) -> set[int]:
    """Code points that tokenizers' Unicode tables and ours class differently."""
    from support import token_folder, unicode_classes

    home = tmp_path_factory.mktemp("classes")
    found = unicode_classes.differing(lambda t, rows: token_folder.encode(token_folder.write(t, home / "m"), rows))
    print(f"\n{len(found)} code points have another class in tokenizers' Unicode tables and in ours")
    wrong = {f"U+{c:04X}": sorted(names) for c, names in found.items() if unicode_classes.unchanged_since_3_2(c)}
    assert not wrong, f"no version of Unicode explains these: {dict(list(wrong.items())[:20])}"
    return set(found)


@pytest.fixture(scope="session")
def world(excluded) -> tuple[list[bytes], list[str]]:
    """More than ten thousand lines as bytes, and as the strings that `tokenizers` can take."""
    from support import lines

    rows = lines.all_lines()
    texts = [row.decode(errors="replace") for row in rows]
    kept = [i for i, text in enumerate(texts) if not excluded.intersection(map(ord, text))]
    print(f"{len(rows) - len(kept)} of {len(rows)} lines hold one of them and are left out")
    assert len(kept) >= 10_000
    return [rows[i] for i in kept], [texts[i] for i in kept]
