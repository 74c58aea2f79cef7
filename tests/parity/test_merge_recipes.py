"""The plans that the unit tests of merge recipes compare with are those of mergekit."""

import json
import subprocess
import sys

from support.paths import ROOT


def test_the_golden_plans_are_those_of_mergekit():
    """Made again from mergekit by the script that made them."""
    script = ROOT / "scripts" / "golden" / "merge_recipes.py"
    made = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    kept = ROOT / "smidgen" / "delta" / "merge" / "testdata" / "recipes.json"
    assert json.loads(made.stdout) == json.loads(kept.read_text())
