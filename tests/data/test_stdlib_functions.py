"""The demonstration data: what is in it, and that nothing crosses the split. Runs on the real package."""
import ast
import hashlib
import importlib.util
import json
import pathlib
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "data" / "stdlib_functions.py"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load(SCRIPT)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    if all(script.installed_files(package) is None for package in script.PACKAGES):
        pytest.skip("libpython3.11-stdlib is not installed here")
    out = tmp_path_factory.mktemp("stdlib")
    assert script.main(["--out", str(out), "--shuffle-pairs", "3"]) == 0
    return out


def rows(folder, name):
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def node_of(row):
    """The function put together again from prompt and completion."""
    signature = row["prompt"].removeprefix(script.INSTRUCTION + "\n\n")
    module = ast.parse(signature + "\n" + textwrap.indent(row["completion"], "    "))
    (function,) = module.body
    return function


def test_rows_are_whole_functions(made):
    for name in ("train.jsonl", "heldout.jsonl"):
        for row in rows(made, name):
            assert list(row) == ["prompt", "completion", "meta"]
            assert set(row["meta"]) == {"module", "name", "line"}
            function = node_of(row)
            assert function.name == row["meta"]["name"].split(".")[-1]
            assert len(function.body) > 1 and ast.get_docstring(function)
            assert len(row["prompt"]) + len(row["completion"]) <= 1200
            assert not row["completion"].startswith((" ", "\n"))


def test_rows_equal_their_source(made):
    """A second way to the same text: parse the file again and compare the trees."""
    files = dict(script.library_files(made, False)[1])
    trees = {}
    sample = rows(made, "train.jsonl")[:400] + rows(made, "heldout.jsonl")
    for row in sample:
        meta = row["meta"]
        if meta["module"] not in trees:
            tree = ast.parse(files[meta["module"]].read_bytes())
            trees[meta["module"]] = {(n.lineno, n.name): n for n in ast.walk(tree)
                                     if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))}
        theirs, ours = trees[meta["module"]][meta["line"], meta["name"].split(".")[-1]], node_of(row)
        assert ast.get_docstring(theirs).split() == ast.get_docstring(ours).split()
        assert ast.dump(theirs.args) == ast.dump(ours.args)
        # Dedenting moves the white space inside of multi-line strings; nothing else may differ.
        flat = lambda nodes: "".join(ast.unparse(ast.Module(nodes, [])).replace("\\n", " ").split())
        assert flat(theirs.body[1:]) == flat(ours.body[1:])


def test_split_is_disjoint(made):
    train, heldout = rows(made, "train.jsonl"), rows(made, "heldout.jsonl")
    assert not {r["meta"]["module"] for r in train} & {r["meta"]["module"] for r in heldout}
    assert 0.03 < len(heldout) / (len(heldout) + len(train)) < 0.25
    words = lambda text: " ".join("".join(c if c.isalnum() or c == "_" else " " for c in text.lower()).split())
    seen_bodies = {words(r["completion"]) for r in train}
    seen_docs = {words(ast.get_docstring(node_of(r))) for r in train}
    for row in heldout:
        assert words(row["completion"]) not in seen_bodies
        assert words(ast.get_docstring(node_of(row))) not in seen_docs
    bodies = {script.normal_body(node_of(r)) for r in train}
    assert not bodies & {script.normal_body(node_of(r)) for r in heldout}


def test_control_is_a_derangement(made):
    train, control = rows(made, "train.jsonl"), rows(made, "control.jsonl")
    assert [r["prompt"] for r in train] == [r["prompt"] for r in control]
    assert sorted(r["completion"] for r in train) == sorted(r["completion"] for r in control)
    assert all(a["completion"] != b["completion"] for a, b in zip(train, control))


def test_same_options_same_bytes(made, tmp_path):
    done = subprocess.run([sys.executable, "-I", SCRIPT, "--out", tmp_path, "--shuffle-pairs", "3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("train.jsonl", "heldout.jsonl", "control.jsonl", "manifest.json"):
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes(), name
    assert "with a docstring" in done.stdout


def test_seed_and_limit(made):
    options = script.arguments(["--out", str(made)])
    collected, _ = script.collect(script.library_files(made, False)[1], options)
    train, full, _ = script.split(collected, options)
    assert [r["prompt"] for r in train] == [r["prompt"] for r in rows(made, "train.jsonl")]
    options.heldout_limit = 40
    same, small, _ = script.split(collected, options)
    assert same == train and len(small) == 40 and all(row in full for row in small)
    options.seed = 1
    assert {r["meta"]["module"] for r in script.split(collected, options)[1]} != {r["meta"]["module"] for r in full}


def test_manifest_counts(made):
    manifest = json.loads((made / "manifest.json").read_text())
    counts = manifest["counts"]
    assert counts["documented"] - sum(counts["dropped"].values()) == manifest["after_filters"]
    kept = manifest["files"]["train.jsonl"]["rows"] + manifest["files"]["heldout.jsonl"]["rows"]
    assert manifest["after_filters"] - sum(manifest["removed_duplicates"].values()) == kept
    assert counts["functions"] > 10000 and counts["documented"] > 4000 and kept > 3000
    for name, part in manifest["files"].items():
        data = (made / name).read_bytes()
        assert part["sha256"] == hashlib.sha256(data).hexdigest()
        assert part["rows"] == data.count(b"\n")


def test_normal_body_forgets_names_and_nothing_else():
    def body(text):
        return script.normal_body(ast.parse(textwrap.dedent(text)).body[0])

    one = body('''
        def f(a, b=1):
            """One."""
            total = a + b   # sum
            return Total(total)
        ''')
    same = body('''
        def g(x, y=1):
            """Another text."""
            s = (x +
                 y)
            return total(s)
        ''')
    assert one == same
    assert one != body('def f(a, b):\n "d"\n t = a - b\n return Total(t)')
    assert one != body('def f(a, b):\n "d"\n t = a + b\n return other(t)')


def rows_of(*specs):
    return [{"meta": {"module": m, "name": str(i), "line": i}, "normal_body": b, "normal_docstring": d, "completion": b}
            for i, (m, b, d) in enumerate(specs)]


def test_groups_are_transitive():
    group = script.groups_of(rows_of(("m", "a", "x"), ("n", "b", "x"), ("o", "b", "y"), ("p", "c", "z"), ("q", "d", "")))
    assert group[0] == group[1] == group[2] and len({group[2], group[3], group[4]}) == 3


def test_strings_keep_their_inside():
    text = 'class C:\n    def f(self):\n        """d"""\n  # left\n        x = """a\n  b\n            c"""\n        return x\n'
    row = script.sample_of("m", "C.f", ast.parse(text).body[0].body[0], text.split("\n"))
    assert row["completion"] == '# left\nx = """a\n  b\n            c"""\nreturn x'


@pytest.mark.parametrize("text,reason", [
    ('def f():\n    """d"""\n', "trivial body"),
    ('def f():\n    """d"""\n    pass\n', "trivial body"),
    ('def f():\n    """d"""\n    ...\n', "trivial body"),
    ('def f():\n    """d"""\n    raise NotImplementedError("x")\n', "trivial body"),
    ('def f():\n    return 1\n', "without docstring"),
    ('def f(): "d"; return 1\n', "one line"),
])
def test_what_is_left_out(text, reason):
    assert script.sample_of("m", "f", ast.parse(text).body[0], text.split("\n")) == reason


def test_hard_signatures():
    text = textwrap.dedent('''
        class C:
            @decorated(
                1)
            async def f(self, a=":",  # why
                        *, b: int = 2) -> None:
                # before
                r"""Doc with \\d and quotes."""
                # kept
                @inner
                def g():
                    return 1
                return g
        ''')
    node = ast.parse(text).body[0].body[0]
    row = script.sample_of("m", "C.f", node, text.split("\n"))
    assert row["prompt"].split("\n")[2] == 'async def f(self, a=":",  # why'
    assert row["prompt"].endswith('*, b: int = 2) -> None:\n    """Doc with \\\\d and quotes."""')
    assert row["completion"] == "# kept\n@inner\ndef g():\n    return 1\nreturn g"
    assert node_of(row).name == "f"


@pytest.mark.parametrize("arguments", [["--heldout-part", "1.5"], ["--max-chars", "0"], ["--heldout-limit", "-1"]])
def test_wrong_calls(tmp_path, arguments):
    with pytest.raises(SystemExit) as caught:
        script.main(["--out", str(tmp_path), *arguments])
    assert caught.value.code == 2


def test_nothing_left_is_an_error(tmp_path, capsys, monkeypatch):
    (tmp_path / "one.py").write_text('def f(a):\n    """Add one."""\n    return a + 1 + 0 * len("abcdef")\n')
    monkeypatch.setattr(script, "library_files", lambda *_: ({"p": "1"}, [("one", tmp_path / "one.py")]))
    assert script.main(["--out", str(tmp_path / "x"), "--seed", "5"]) == 1
    assert "rows are left" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
