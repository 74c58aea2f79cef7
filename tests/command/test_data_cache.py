"""The token cache: data sets larger than the memory that is spent on them, killed and concurrent runs, full disks."""

import json
import os
import random
import shutil
import signal
import time

import pytest
import tiny
from support import runs, smidgen


def corpus(path, megabytes: float, seed: int = 0):
    """Text rows of about 1.5 kB, all different."""
    pick = random.Random(seed)
    words = [w for line in tiny.corpus(200, seed=5) for w in line.split()]
    with open(path, "w", encoding="utf-8") as file:
        while file.tell() < megabytes * 1e6:
            rows = [json.dumps({"text": " ".join(pick.choices(words, k=250))}, ensure_ascii=False) + "\n" for _ in range(50)]
            file.write("".join(rows))
    return path


def tune(model, data, out, cache, **flags):
    settings = {"max_length": 128, "too_long": "truncate", "batch_tokens": 128, "max_steps": 1, "quiet": True} | flags
    return smidgen.ok("tune", model=model, data=data, out=out, data_cache=cache, method="lora", dtype="fp32", timeout=560, **settings)


def peak(run) -> float:
    return smidgen.metrics(run)[0]["peak_mb"]


def check_memory(model, tmp_path, megabytes, most, **flags):
    few = corpus(tmp_path / "few.jsonl", 0.05)
    tune(model, few, tmp_path / "few", "none", **flags)
    data = corpus(tmp_path / "large.jsonl", megabytes)
    tune(model, data, tmp_path / "fresh", tmp_path / "cache", **flags)
    begin = time.monotonic()
    tune(model, data, tmp_path / "again", tmp_path / "cache", **flags)
    again = time.monotonic() - begin
    extra = {run: peak(tmp_path / run) - peak(tmp_path / "few") for run in ("fresh", "again")}
    print(f"{megabytes} MB of rows: {extra} MB above a run on 50 rows, {again:.1f} s from the cache")
    assert max(extra.values()) < most, extra
    return data


def test_memory_does_not_grow_with_the_data(tmp_path):
    """30 MB of rows cost less than their own size; held in memory they cost far more, so the bound means something."""
    model = tiny.model(max_position_embeddings=2048)
    flags = {"max_length": 2048, "batch_tokens": 128}
    data = check_memory(model, tmp_path, 30, 25, **flags)
    tune(model, data, tmp_path / "memory", "none", **flags)
    held = peak(tmp_path / "memory") - peak(tmp_path / "few")
    print(f"held in memory: {held} MB")
    assert held > 50


@pytest.mark.slow
def test_three_hundred_megabytes(tmp_path):
    model = tiny.model(max_position_embeddings=2048)
    check_memory(model, tmp_path, 300, 64, max_length=2048, batch_tokens=128)


def test_from_the_cache_it_is_the_same_run(model, tmp_path):
    data = tiny.data(40)
    for out, cache in (("memory", "none"), ("fresh", tmp_path / "cache"), ("again", tmp_path / "cache")):
        smidgen.ok("tune", data_cache=cache, **runs.arguments(model, data, tmp_path / out, max_steps=12))
    runs.same(tmp_path / "fresh", tmp_path / "memory")
    runs.same(tmp_path / "again", tmp_path / "memory")
    shown = smidgen.read_json(smidgen.ok("data", "cache", data_cache=tmp_path / "cache", json=True).stdout)
    assert {e["file"] for e in shown["entries"]} >= {str(data)}
    assert all(e["sequences"] > 0 and e["bytes"] > 0 for e in shown["entries"])


def test_a_run_from_the_cache_resumes_without_it(model, tmp_path):
    data = tiny.data(40)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    smidgen.ok("tune", data_cache="none", **runs.arguments(model, data, whole, max_steps=12, save_every=4))
    smidgen.ok("tune", data_cache=tmp_path / "cache", **runs.arguments(model, data, cut, max_steps=12, save_every=4))
    shutil.rmtree(max(runs.checkpoints(cut)))
    smidgen.ok("tune", resume=True, data_cache="none", **runs.arguments(model, data, cut, max_steps=12, save_every=4))
    runs.same(cut, whole)


def test_killed_while_it_tokenises(tmp_path):
    """kill -9 at several moments: the next run is right, and nothing is left behind."""
    model, data, cache = tiny.model(), corpus(tmp_path / "d.jsonl", 6), tmp_path / "cache"
    killed = 0
    for delay in (0.0, 0.1, 0.3):
        process = smidgen.start("tune", model=model, data=data, data_cache=cache, max_length=128, too_long="truncate", out=tmp_path / "x")
        end = time.monotonic() + 60
        while not any(cache.glob(".*.tmp-*")) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += bool(list(cache.glob(".*.tmp-*")))
    assert killed, "no run was killed while it wrote: the test proves nothing"
    tune(model, data, tmp_path / "after", cache)
    tune(model, data, tmp_path / "memory", "none")
    assert [p.name for p in cache.iterdir() if p.name.startswith(".")] == []
    one, two = (smidgen.metrics(tmp_path / run)[0] for run in ("after", "memory"))
    assert (one["loss"], one["digest"]) == (two["loss"], two["digest"])


def test_a_full_disk_is_told_and_leaves_nothing(mounted, tmp_path):
    model, data = tiny.model(), corpus(tmp_path / "d.jsonl", 6)
    cache = mounted("size=1m") / "cache"
    done = smidgen.call(
        "tune", model=model, data=data, data_cache=cache, max_length=128, too_long="truncate", out=tmp_path / "run", timeout=120
    )
    assert done.returncode == 1, done.stderr
    assert "disk is full" in done.stderr and "--data-cache" in done.stderr, done.stderr
    assert os.listdir(cache) == []


def test_auto_leaves_small_files_alone(model, data, tmp_path):
    env = smidgen.environment(XDG_CACHE_HOME=tmp_path / "home")
    smidgen.ok("tune", env=env, **runs.arguments(model, data, tmp_path / "run", max_steps=1))
    assert not (tmp_path / "home" / "smidgen" / "tokens").exists()
    shown = smidgen.read_json(smidgen.ok("data", "cache", env=env, json=True).stdout)
    assert shown == {"folder": str(tmp_path / "home" / "smidgen" / "tokens"), "entries": []}


def test_folders_patterns_and_lists_are_read(model, tmp_path):
    rows = tiny.samples(12)
    folder = tmp_path / "rows"
    folder.mkdir()
    tiny.write_jsonl(folder / "a.jsonl", rows[:7])
    (folder / "b.json").write_text(json.dumps(rows[7:], indent=2))
    whole = tiny.write_jsonl(tmp_path / "whole.jsonl", rows)
    losses = []
    for named in (whole, folder, f"{folder}/*.js*", f"{folder}/a.jsonl,{folder}/b.json"):
        losses.append(smidgen.evaluate(model, named, dtype="fp32")["loss"])
    assert len(set(losses)) == 1, losses
