"""A run that is stopped and resumed is the run that was not: adapter and metrics compared with ==."""

import random
import signal
import time

import pytest
from support import runs, smidgen

KILLS, MANY = 20, 100


@pytest.fixture(scope="module")
def uninterrupted(model, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("resume") / "run"
    start = time.monotonic()
    smidgen.ok("tune", timeout=240, **runs.arguments(model, data, out))
    out.with_name("seconds").write_text(str(time.monotonic() - start))
    return out


def launch(model, data, out, **flags):
    return smidgen.start("tune", **runs.arguments(model, data, out, **flags))


def resume(model, data, out, **flags):
    smidgen.ok("tune", timeout=240, resume=True, **runs.arguments(model, data, out, **flags))


def test_the_run_is_worth_interrupting(uninterrupted):
    """Losses move, checkpoints and evaluations are there, and two steps never give the same loss by chance."""
    losses = [r["loss"] for r in runs.rows(uninterrupted) if "loss" in r]
    assert len(losses) == runs.STEPS and len(set(losses)) > runs.STEPS * 0.9
    assert losses[-1] < losses[0]
    assert runs.checkpoints(uninterrupted)
    runs.whole(uninterrupted)


def test_same_sees_a_difference(uninterrupted, model, data, tmp_path):
    """The comparison can fail: another seed is another run."""
    smidgen.ok("tune", timeout=240, **runs.arguments(model, data, tmp_path / "run", seed=6))
    with pytest.raises(AssertionError):
        runs.same(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_at_a_step_and_resumes(number, code, uninterrupted, model, data, tmp_path):
    run = tmp_path / "run"
    process = launch(model, data, run, save_every=1000)  # what is there afterwards, the signal saved
    assert runs.wait_for(lambda: runs.last_step(run) >= 20, process)
    assert runs.kill_and_wait(process, number) == code
    stopped = runs.last_step(run)
    assert 20 <= stopped < runs.STEPS
    runs.whole(run)
    assert runs.checkpoints(run), "the signal saved nothing"
    resume(model, data, run, save_every=1000)
    runs.same(run, uninterrupted, but=("digest",))  # written with each save, and this run saves more rarely


def test_a_run_goes_on_with_less_memory(uninterrupted, model, data, tmp_path):
    """Blocks that run again have the bits of blocks that are kept, so a run that did not fit is resumed that way."""
    run = tmp_path / "run"
    process = launch(model, data, run, save_every=1000)
    assert runs.wait_for(lambda: runs.last_step(run) >= 20, process)
    assert runs.kill_and_wait(process, signal.SIGINT) == 130
    resume(model, data, run, save_every=1000, memory="checkpoint", checkpoint_every=2)
    runs.same(run, uninterrupted, but=("digest",))


def test_a_policy_goes_on_where_it_stood(model, data, tmp_path):
    """Edits of the structure are replayed: layers frozen at random are the same layers after resuming."""
    flags = {"policy": "random_freeze", "keep": 0.5, "period": 3, "max_steps": 60, "save_every": 7}
    smidgen.ok("tune", **runs.arguments(model, data, tmp_path / "whole", **flags))
    run = tmp_path / "run"
    process = launch(model, data, run, **flags)
    assert runs.wait_for(lambda: runs.last_step(run) >= 20, process)
    assert runs.kill_and_wait(process, signal.SIGKILL) == -signal.SIGKILL
    resume(model, data, run, **flags)
    runs.same(run, tmp_path / "whole")
    plain = tmp_path / "plain"
    smidgen.ok("tune", **runs.arguments(model, data, plain, max_steps=60, save_every=7))
    assert runs.adapter_bytes(plain) != runs.adapter_bytes(run), "the policy did nothing"


def test_the_second_signal_stops_at_once(model, data, tmp_path):
    """Two in a row: the process ends without waiting for a step to end, and leaves no half checkpoint under a name."""
    run = tmp_path / "run"
    process = launch(model, data, run, max_steps=100_000)
    assert runs.wait_for(lambda: runs.last_step(run) >= 10, process)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert runs.finish(process) == 130
    assert time.monotonic() - start < 5
    runs.whole(run)


def test_sigint_during_start_leaves_no_trap(model, data, tmp_path):
    """Interrupted before the first step: exit 130 or the default death, and --resume works from there."""
    run = tmp_path / "run"
    process = launch(model, data, run, max_steps=8)
    time.sleep(0.05)
    assert runs.kill_and_wait(process, signal.SIGINT) in (0, 130, -signal.SIGINT)
    resume(model, data, run, max_steps=8)
    assert runs.last_step(run) == 8


def test_resume_without_a_checkpoint_starts_at_the_beginning(uninterrupted, model, data, tmp_path):
    resume(model, data, tmp_path / "run")
    runs.same(tmp_path / "run", uninterrupted)


def test_resume_of_a_finished_run_changes_nothing(uninterrupted, model, data, tmp_path):
    run = smidgen.copy(uninterrupted, tmp_path / "run")
    resume(model, data, run)
    runs.same(run, uninterrupted)


def test_more_steps_can_be_asked_of_a_finished_run(model, data, tmp_path):
    """With a schedule that does not look at its end, 20 steps and 20 more are 40 steps; or the key is named."""
    flags = {"schedule": "constant", "eval_every": 20}
    for out, steps in (("a", 20), ("b", 40)):
        smidgen.ok("tune", **runs.arguments(model, data, tmp_path / out, max_steps=steps, **flags))
    done = smidgen.call("tune", resume=True, **runs.arguments(model, data, tmp_path / "a", max_steps=40, **flags))
    if done.returncode:
        assert "max_steps" in done.stderr
        return
    runs.same(tmp_path / "a", tmp_path / "b")


def test_a_checkpoint_without_done_is_not_used(uninterrupted, model, data, tmp_path):
    run = smidgen.copy(uninterrupted, tmp_path / "run")
    for folder in runs.checkpoints(run):
        (folder / "DONE").unlink()
    resume(model, data, run)
    runs.same(run, uninterrupted)


def test_an_existing_run_is_not_overwritten(uninterrupted, model, data):
    before = runs.adapter_bytes(uninterrupted)
    done = smidgen.call("tune", **runs.arguments(model, data, uninterrupted))
    assert done.returncode == 2
    assert "--resume" in done.stderr
    assert runs.adapter_bytes(uninterrupted) == before


@pytest.mark.parametrize("change", [{"rank": 6}, {"learning_rate": 1e-4}, {"seed": 6}, {"memory": "lean"}], ids=lambda c: next(iter(c)))
def test_resuming_another_recipe_is_refused(change, model, data, tmp_path):
    """What would make the rest of the run another run is an error that names the key and both values."""
    run = tmp_path / "run"
    smidgen.ok("tune", **runs.arguments(model, data, run, max_steps=8))
    done = smidgen.call("tune", resume=True, **runs.arguments(model, data, run, max_steps=8, **change))
    assert done.returncode in (1, 2)
    assert next(iter(change)) in done.stderr.replace("-", "_")


def test_resuming_with_other_threads_needs_leave(model, data, tmp_path):
    run = tmp_path / "run"
    smidgen.ok("tune", threads=2, **runs.arguments(model, data, run, max_steps=8))
    done = smidgen.call("tune", resume=True, threads=1, **runs.arguments(model, data, run, max_steps=8))
    assert done.returncode in (1, 2)
    assert "--allow-inexact-resume" in done.stderr
    resume(model, data, run, max_steps=8, threads=1, allow_inexact_resume=True)
    assert runs.last_step(run) == 8


def test_save_total_limit_keeps_the_newest(model, data, tmp_path):
    smidgen.ok("tune", **runs.arguments(model, data, tmp_path / "run", max_steps=24, save_total_limit=2))
    kept = runs.checkpoints(tmp_path / "run")
    assert 1 <= len(kept) <= 3  # two, and the best where evaluation names one
    assert any("24" in p.name for p in kept)


def test_early_stop_ends_a_run_that_gets_no_better(model, data, tmp_path):
    """At rate 0 no evaluation beats the first, so the third after it ends the run."""
    run = tmp_path / "run"
    flags = {"learning_rate": 0, "eval_every": 2, "early_stop": 3}
    smidgen.ok("tune", **runs.arguments(model, data, run, max_steps=200, **flags))
    assert runs.last_step(run) in (6, 8)  # the first evaluation is that of step 0 or of step 2


def kill_at_random(model, data, uninterrupted, scratch, kills: int, seed: int) -> dict:
    """kill -9 until `kills` have hit; each run that comes to its end is compared. Every other kill waits for a save."""
    pick = random.Random(seed)
    seconds = float(uninterrupted.with_name("seconds").read_text())
    done = {"kills": 0, "in a save": 0, "before a step": 0, "finished": 0}
    number = 0
    while done["kills"] < kills or done["finished"] == 0:
        run = scratch / f"run{number}"
        number += 1
        assert number <= kills + 2, "runs end before they can be killed"
        while True:
            process = launch(model, data, run, resume=True)
            if done["kills"] >= kills:
                assert runs.finish(process, 240) == 0
            else:
                time.sleep(pick.uniform(0.02, seconds * 0.6))
                if done["kills"] % 2:
                    runs.wait_for(lambda: runs.being_written(run), process, pause=0)
                saving, stepped = runs.being_written(run), runs.last_step(run) > 0
                code = runs.kill_and_wait(process, signal.SIGKILL)
                assert code in (0, -signal.SIGKILL), code
                if code:
                    done["kills"] += 1
                    done["in a save"] += saving
                    done["before a step"] += not stepped
                    runs.whole(run)
                    continue
            runs.same(run, uninterrupted)
            done["finished"] += 1
            break
    return done


def test_kill_at_any_moment(uninterrupted, model, data, tmp_path):
    done = kill_at_random(model, data, uninterrupted, tmp_path, KILLS, 1)
    assert done["in a save"] >= KILLS // 4, done


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kill_at_any_moment_many_times(uninterrupted, model, data, tmp_path):
    done = kill_at_random(model, data, uninterrupted, tmp_path, MANY, 2)
    assert done["in a save"] >= MANY // 4, done
