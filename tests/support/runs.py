"""Runs that are stopped in the middle, and what must be equal afterwards."""

import os
import time
from pathlib import Path

from support import smidgen

# What may differ between two runs of equal mathematics; everything else in metrics.jsonl is compared with ==.
TIMING = {"tokens_per_s", "peak_mb", "seconds", "wall_time", "time"}

# A run of some seconds on the tiny model, with a checkpoint every few steps and everything that resuming must restore:
# shuffling, several samples a step, accumulation, warm-up and decay, evaluation, more than one epoch.
SETTINGS = {
    "method": "lora",
    "rank": 4,
    "alpha": 8,
    "target": "all-linear",
    "max_length": 128,
    "batch_tokens": 200,
    "micro_tokens": 100,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "warmup_steps": 10,
    "dtype": "fp32",
    "seed": 5,
    "eval_every": 40,
    "quiet": True,
}
STEPS, SAVE = 120, 3


def arguments(model, data, out, **flags) -> dict:
    held = Path(data)
    return {"model": model, "data": data, "eval_data": held, "out": out, "max_steps": STEPS, "save_every": SAVE} | SETTINGS | flags


def rows(run: Path) -> list[dict]:
    """Whole lines of metrics.jsonl; a line that is being written does not count."""
    path = Path(run) / "metrics.jsonl"
    if not path.exists():
        return []
    text = path.read_text()
    return smidgen.json_lines(text[: text.rfind("\n") + 1])


def timeless(run: Path, but=()) -> list[dict]:
    return [{k: v for k, v in r.items() if k not in TIMING and k not in but} for r in rows(run)]


def last_step(run: Path) -> int:
    return max((r["step"] for r in rows(run)), default=0)


def wait_for(condition, process, limit: float = 60.0, pause: float = 0.002) -> bool:
    """Waits until condition() holds; False where the process ends before."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if condition():
            return True
        if process.poll() is not None:
            return bool(condition())
        time.sleep(pause)
    raise AssertionError(f"nothing happened within {limit} s")


def kill_and_wait(process, number) -> int:
    process.send_signal(number)
    return finish(process)


def finish(process, limit: float = 60.0) -> int:
    try:
        process.communicate(timeout=limit)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process.returncode


def checkpoints(run: Path) -> list[Path]:
    """Checkpoints that bear their final name."""
    folder = Path(run) / "checkpoints"
    return sorted(p for p in folder.glob("*") if p.is_dir() and not p.name.endswith(".tmp")) if folder.exists() else []


def being_written(run: Path) -> bool:
    folder = Path(run) / "checkpoints"
    return folder.exists() and any(n.endswith(".tmp") for n in os.listdir(folder))


def whole(run: Path) -> None:
    """A checkpoint under its final name is complete: DONE is there and the tensors of its files can be read."""
    for folder in checkpoints(run):
        assert (folder / "DONE").exists(), f"{folder.name} has its name and no DONE"
        files = list(folder.rglob("*.safetensors"))
        assert files, folder
        for file in files:
            smidgen.tensors(file)


def adapter_bytes(run: Path) -> bytes:
    return (Path(run) / "adapter" / "adapter_model.safetensors").read_bytes()


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out: dict[str, list[tuple[int, float]]] = {}
    for folder in sorted({p.parent for p in Path(run).rglob("*tfevents*")}):
        # Without purging: the reader must not hide a step that was written twice.
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=False)
        events.Reload()
        for tag in events.Tags()["scalars"]:
            out.setdefault(tag, []).extend((e.step, e.value) for e in events.Scalars(tag))
    return out


def same(run: Path, uninterrupted: Path, but=()) -> None:
    """The final adapter bit by bit, every row of the metrics, and the curves, apart from what measures time.

    `but`: keys of the metrics that the two runs' own settings make different.
    """
    assert adapter_bytes(run) == adapter_bytes(uninterrupted), "the adapters differ"
    ours, theirs = timeless(run, but), timeless(uninterrupted, but)
    assert [r["step"] for r in ours] == [r["step"] for r in theirs]
    assert ours == theirs
    events, wanted = scalars(run), scalars(uninterrupted)
    assert events.keys() == wanted.keys()
    for tag, points in wanted.items():
        if not any(word in tag for word in ("tokens_per_s", "peak_mb", "memory", "seconds")):
            assert events[tag] == points, tag
        assert [s for s, _ in events[tag]] == [s for s, _ in points], tag
