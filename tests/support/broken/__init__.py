"""Files with one fault each, by name: `{name}` in a transcript is the path that broken.make(name, scratch) returns."""

from support.broken import adapters, models, texts  # noqa: F401  (each fills the registry)
from support.broken.things import MAKERS, make  # noqa: F401
