"""Where a run writes: a full disk, a folder that cannot be written, two runs in one folder."""

import os
import signal

import pytest
from support import runs, smidgen


def test_disk_full_keeps_the_last_checkpoint(mounted, model, data, tmp_path):
    """The disk fills while checkpoints pile up: stopped in words, and the run resumes to the same adapter."""
    flags = {"save_total_limit": 1000, "max_steps": 120, "save_every": 2}
    smidgen.ok("tune", **runs.arguments(model, data, tmp_path / "whole", **flags))
    run = mounted("size=8m") / "run"
    done = smidgen.call("tune", **runs.arguments(model, data, run, **flags))
    assert done.returncode == 1, done.stderr
    assert "error:" in done.stderr and "space" in done.stderr.lower(), done.stderr
    assert str(run) in done.stderr
    assert runs.checkpoints(run), "the disk was full before the first checkpoint: the test proves nothing"
    runs.whole(run)
    assert not runs.being_written(run), "half a checkpoint still takes space"
    mounted("size=200m")
    smidgen.ok("tune", resume=True, **runs.arguments(model, data, run, **flags))
    runs.same(run, tmp_path / "whole")


def test_disk_full_for_the_output_of_forward(mounted, model):
    out = mounted("size=64k") / "o.safetensors"
    done = smidgen.call("forward", model=model, ids=list(range(1, 120)), out=out, dtype="fp32")
    assert done.returncode == 1
    assert "space" in done.stderr.lower() and "o.safetensors" in done.stderr
    assert os.listdir(out.parent) == [], "a part of the file was left"


def test_read_only_run_folder(mounted, model, data):
    disk = mounted("size=8m")
    mounted("size=8m,ro")
    done = smidgen.call("tune", **runs.arguments(model, data, disk / "run", max_steps=2))
    assert done.returncode == 1
    assert "read-only" in done.stderr.lower() and str(disk / "run") in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_run_folder_without_permission(model, data, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    done = smidgen.call("tune", **runs.arguments(model, data, closed / "run", max_steps=2))
    assert done.returncode == 1
    assert "permission" in done.stderr.lower() and str(closed) in done.stderr


def test_a_file_where_the_run_folder_should_be(model, data, tmp_path):
    (tmp_path / "run").write_text("mine\n")
    done = smidgen.call("tune", **runs.arguments(model, data, tmp_path / "run", max_steps=2))
    assert done.returncode in (1, 2)
    assert "run" in done.stderr
    assert (tmp_path / "run").read_text() == "mine\n"


def test_files_of_the_user_in_the_run_folder_stay(model, data, tmp_path):
    """A folder with someone's files is not a run: it is refused or used, and the files stay."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "notes.txt").write_text("mine\n")
    done = smidgen.call("tune", **runs.arguments(model, data, run, max_steps=2))
    assert done.returncode in (0, 2)
    assert (run / "notes.txt").read_text() == "mine\n"


def test_two_runs_in_one_folder(model, data, tmp_path):
    """The second is refused while the first lives, whether it resumes or not; the first does not notice."""
    run = tmp_path / "run"
    first = smidgen.start("tune", **runs.arguments(model, data, run, max_steps=100_000))
    try:
        assert runs.wait_for(lambda: runs.last_step(run) >= 5, first)
        second = smidgen.call("tune", resume=True, **runs.arguments(model, data, run, max_steps=100_000))
        assert second.returncode == 1, second.stderr
        assert "error:" in second.stderr and str(run) in second.stderr
        assert any(w in second.stderr.lower() for w in ("another", "in use", "locked", "running")), second.stderr
        seen = runs.last_step(run)
        assert runs.wait_for(lambda: runs.last_step(run) > seen, first)
        assert smidgen.call("tune", **runs.arguments(model, data, run)).returncode in (1, 2)
    finally:
        code = runs.kill_and_wait(first, signal.SIGINT)
    assert code == 130
    steps = [r["step"] for r in runs.rows(run) if "loss" in r]
    assert steps == list(range(1, len(steps) + 1))


def test_a_lock_does_not_outlive_its_process(model, data, tmp_path):
    run = tmp_path / "run"
    first = smidgen.start("tune", **runs.arguments(model, data, run, max_steps=100_000))
    assert runs.wait_for(lambda: runs.last_step(run) >= 5, first)
    runs.kill_and_wait(first, signal.SIGKILL)
    first = smidgen.start("tune", resume=True, **runs.arguments(model, data, run, max_steps=100_000))
    reached = runs.last_step(run)
    assert runs.wait_for(lambda: runs.last_step(run) > reached, first)
    assert runs.kill_and_wait(first, signal.SIGTERM) == 143
