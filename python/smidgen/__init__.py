"""The smidgen command as a Python package: the executable and its libraries lie in this folder."""

from pathlib import Path

EXECUTABLE = Path(__file__).parent / "bin" / "smidgen"
