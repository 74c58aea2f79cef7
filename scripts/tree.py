"""The files of the project as the checks see them: what git tracks or would track."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Tree:
    def __init__(self, root: Path = ROOT):
        self.root = root
        self.names = sorted(self._list())
        self._text = {}

    def _list(self):
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        done = subprocess.run(listing, cwd=self.root, capture_output=True) if (self.root / ".git").exists() else None
        if done and done.returncode == 0:
            names = done.stdout.decode().split("\0")
        else:  # A source archive: no git, and nothing built in it that matters.
            names = [str(p.relative_to(self.root)) for p in self.root.rglob("*")]
            names = [n for n in names if not n.startswith(("build/", ".venv/", "."))]
        return [n for n in names if n and (self.root / n).is_file()]

    def matching(self, *suffixes: str, under: str = "") -> list[str]:
        return [n for n in self.names if n.endswith(suffixes) and n.startswith(under)]

    def text(self, name: str) -> str:
        if name not in self._text:
            self._text[name] = (self.root / name).read_text(errors="replace")
        return self._text[name]

    def lines(self, name: str):
        """(number from 1, line) of a file."""
        return enumerate(self.text(name).split("\n"), 1)

    def has(self, name: str) -> bool:
        return (self.root / name).exists()


def room_of(name: str) -> str:
    """smidgen/cli/core/tune.cpp -> cli; the umbrella header is the room api's; other files in smidgen/ belong to none."""
    if name == "smidgen/smidgen.h":
        return "api"
    parts = name.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "smidgen" else ""


def torch_rooms(tree: Tree) -> set[str]:
    """The room paths that CMakeLists.txt gives torch, e.g. `nn`, `cli/core`."""
    return set(re.findall(r"^\s*smidgen_room\((\S+) TORCH\)", tree.text("CMakeLists.txt"), re.M))


def is_torch_file(name: str, rooms: set[str]) -> bool:
    return any(name.startswith(f"smidgen/{room}/") for room in rooms)
