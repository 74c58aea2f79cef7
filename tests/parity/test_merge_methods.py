"""The numbers that the unit tests of merge methods compare with are those of mergekit."""

import re
import subprocess
import sys

from support.paths import ROOT


def test_the_golden_numbers_are_those_of_mergekit():
    """To the last digit: made again from mergekit by the script that made them."""
    script = ROOT / "scripts" / "golden" / "merge_methods.py"
    made = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)

    def content(text):
        return re.sub(r"\s|//[^\n]*", "", text)

    kept = (ROOT / "smidgen" / "delta" / "merge" / "golden_mergekit.h").read_text()
    assert content(made.stdout) == content(kept)
