"""The mutants fit the tree, and the reader refuses what says nothing."""

import mutate
import pytest
from tree import ROOT

SOUND = "# a reason\nfile: a.cpp\ntest: a_test\n- one\n+ two\n"


def test_every_mutant_fits_once():
    assert mutate.misfits(mutate.read(mutate.LISTING), ROOT) == []


def test_a_misfit_is_named(tmp_path):
    (tmp_path / "m.txt").write_text(SOUND)
    (tmp_path / "a.cpp").write_text("one one")
    mutants = mutate.read(tmp_path / "m.txt")
    assert "2 times" in mutate.misfits(mutants, tmp_path)[0]
    (tmp_path / "a.cpp").unlink()
    assert "does not exist" in mutate.misfits(mutants, tmp_path)[0]


@pytest.mark.parametrize("part", ["file: a.cpp\n", "test: a_test\n", "- one\n", "+ two\n"])
def test_an_incomplete_mutant_is_refused(tmp_path, part):
    (tmp_path / "m.txt").write_text("# the head\n\n" + SOUND.replace(part, "" if part != "+ two\n" else "+ one\n"))
    with pytest.raises(SystemExit, match="m.txt:3"):
        mutate.read(tmp_path / "m.txt")
