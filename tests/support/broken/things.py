"""The registry: a maker is a function of the path to write to that returns the path to name."""

from pathlib import Path

MAKERS = {}


def thing(function):
    MAKERS[function.__name__] = function
    return function


def make(name: str, scratch: Path) -> Path:
    return MAKERS[name](scratch / name)
