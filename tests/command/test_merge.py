"""smidgen merge as a user calls it: what it refuses, interruption, threads, and the ways to name a model."""

import json
import shutil
import signal
import time

import pytest
import tiny
from support import merges, smidgen

LINEAR = merges.recipe("linear", merges.listed("a", "b", weight=0.5))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    merges.make_models(folder)
    return folder


def merge(home, text, out, **flags):
    file = out.parent / f"{out.name}.yaml"
    file.write_text(text)
    return smidgen.call("merge", file, out, cwd=home, **flags)


def bytes_of(folder):
    return {f.name: f.read_bytes() for f in sorted(folder.glob("*.safetensors"))}


def test_threads_and_shards_change_nothing(home, tmp_path):
    text = merges.recipe("ties", merges.listed("a", "b", weight=0.5, density=0.4), base="base")
    for threads in (1, 2, 3):
        assert merge(home, text, tmp_path / str(threads), threads=threads, shard_size="20KB").returncode == 0
    first = bytes_of(tmp_path / "1")
    assert len(first) > 3 and first == bytes_of(tmp_path / "2") == bytes_of(tmp_path / "3")


def test_json_says_what_was_done(home, tmp_path):
    done = merge(home, LINEAR, tmp_path / "out", json=True)
    stage = smidgen.json_lines(done.stdout)[-1]["stages"][0]
    assert stage["method"] == "linear" and stage["tensors"] == 39 and stage["moved"] > 0.9
    card = (tmp_path / "out" / "README.md").read_text()
    assert "merge_method: linear" in card and "| layers.3 |" in card
    assert (tmp_path / "out" / "mergekit_config.yml").read_text() == LINEAR


def test_dry_run_writes_nothing(home, tmp_path):
    done = merge(home, LINEAR, tmp_path / "out", dry_run=True)
    assert done.returncode == 0 and "39 tensors" in done.stdout
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


REFUSED = {
    "method": (LINEAR.replace("linear", "linaer"), "linear"),
    "key": (LINEAR.replace("dtype", "dtpye"), "dtype"),
    "parameter": (LINEAR.replace("weight", "wieght"), "weight"),
    "missing weight": (merges.recipe("linear", merges.listed("a", "b")), "weight"),
    "zero weights": (merges.recipe("linear", merges.listed("a", "b", weight=(1, -1))), "sum to zero"),
    "no base": (merges.recipe("ties", merges.listed("a", "b", weight=1)), "base_model"),
    "no model": (LINEAR.replace("model: a", "model: nowhere"), "nowhere"),
    "not a number": (LINEAR.replace("0.5", ".nan"), "nan"),
    "statistics": (LINEAR.replace("linear", "fisher"), "statistics"),
    "syntax": ("merge_method: [linear\n", "yaml"),
    "empty": ("", "yaml"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_words(case, home, tmp_path):
    text, word = REFUSED[case]
    done = merge(home, text, tmp_path / "out")
    assert done.returncode in (1, 2), done.stderr
    assert done.stderr.startswith("error: ") and word in done.stderr.lower(), done.stderr
    assert [f.name for f in tmp_path.iterdir()] == ["out.yaml"]


def test_output_inside_an_input(home, tmp_path):
    (tmp_path / "r.yaml").write_text(LINEAR)
    done = smidgen.call("merge", tmp_path / "r.yaml", home / "a" / "out", cwd=home)
    assert done.returncode == 2 and "lie in the model" in done.stderr
    assert not (home / "a" / "out").exists()


def test_other_shapes_are_named_before_anything_is_written(home, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(hidden_size=24, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, vocab_size=67)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "other")
    done = merge(home, LINEAR.replace("model: b", f"model: {tmp_path / 'other'}"), tmp_path / "out")
    assert done.returncode == 1 and "mlp.down_proj" in done.stderr, done.stderr
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_kill_and_go_on(home, tmp_path):
    """A model of many shards, killed in the middle: the same call ends with the same bytes."""
    text = merges.recipe("ties", merges.listed(home / "a", home / "b", weight=0.5, density=0.4), base=home / "base")
    flags = {"shard_size": "3KB", "digests": smidgen.NO}
    assert merge(home, text, tmp_path / "whole", **flags).returncode == 0
    file = tmp_path / "out.yaml"
    file.write_text(text)
    work = tmp_path / ".out.merging"
    killed = 0
    for _ in range(20):
        process = smidgen.start("merge", file, tmp_path / "out", **flags)
        while process.poll() is None and len(list(work.glob("model-*.safetensors"))) < 3 + 3 * killed:
            time.sleep(0.001)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
        assert not (tmp_path / "out").exists()
    if not (tmp_path / "out").exists():
        assert merge(home, text, tmp_path / "out", **flags).returncode == 0
    assert killed > 0
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")
    assert not work.exists()


def test_base_with_adapter_is_a_model(home, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    tuned = get_peft_model(LlamaForCausalLM.from_pretrained(home / "a"), LoraConfig(r=3, target_modules=["q_proj", "up_proj"], init_lora_weights=False))
    tuned.save_pretrained(tmp_path / "lora")
    tuned.merge_and_unload().save_pretrained(tmp_path / "merged")
    for name, model in (("ours", f"a+{tmp_path / 'lora'}"), ("theirs", tmp_path / "merged")):
        assert merge(home, LINEAR.replace("model: a", f"model: {model}"), tmp_path / name).returncode == 0
    ours, theirs = merges.tensors(tmp_path / "ours"), merges.tensors(tmp_path / "theirs")
    assert all((ours[k] - theirs[k]).abs().max() < 1e-6 for k in theirs)


def test_documents_that_need_each_other(home, tmp_path):
    text = merges.recipe("linear", merges.listed("half", "base", weight=(1, 1))) + "---\nname: half\n" + LINEAR
    assert merge(home, text, tmp_path / "out").returncode == 0
    parts = {name: merges.tensors(home / name) for name in ("a", "b", "base")}
    for key, got in merges.tensors(tmp_path / "out").items():
        want = (parts["a"][key] + parts["b"][key]) / 4 + parts["base"][key] / 2
        assert (got - want).abs().max() < 1e-6
    assert json.loads((tmp_path / "out.stages" / "half" / "config.json").read_text())["num_hidden_layers"] == 4


# ---------------------------------------------------------------------------------------------- --verify
LAWS = {
    "linear": (merges.recipe("linear", merges.listed("a", "b", weight=(1, 0))), "a"),
    "not normalised": (merges.recipe("linear", merges.listed("a", "b", weight=(0, 1)), top="parameters: {normalize: false}\n"), "b"),
    "task_arithmetic": (merges.recipe("task_arithmetic", merges.listed("a", "b", weight=(0, 1)), base="base"), "b"),
    "ties": (merges.recipe("ties", merges.listed("a", weight=0.3), base="base"), "a"),
    "lambda": (merges.recipe("ties", merges.listed("a", weight=0.3), base="base", top="parameters: {lambda: 0}\n"), "base"),
    "slerp": (merges.recipe("slerp", merges.listed("a"), base="base", top="parameters: {t: 1}\n"), "a"),
    "passthrough": (merges.recipe("passthrough", merges.sliced([("a", 0, 2)], [("a", 2, 4)])), "a"),
}
NO_LAWS = {
    "two": (LINEAR, "is made of several models, or scaled"),
    "scaled": (merges.recipe("linear", merges.listed("a", weight=2), top="parameters: {normalize: false}\n"), "scaled"),
    "ends": (merges.recipe("slerp", merges.listed("a"), base="base", top="parameters: {t: [0, 0, 1, 1]}\n"), "are those of"),
    "fewer layers": (merges.recipe("passthrough", merges.sliced([("a", 0, 3)])), "is left out"),
    "layers twice": (merges.recipe("passthrough", merges.sliced([("a", 0, 4)], [("a", 2, 4)])), "layers.2"),
}


@pytest.mark.parametrize("case", LAWS)
def test_verify_where_a_law_tells_the_result(case, home, tmp_path):
    text, model = LAWS[case]
    done = merge(home, text, tmp_path / "out", verify=True, json=True)
    assert done.returncode == 0, done.stderr
    said = smidgen.json_lines(done.stdout)[-1]["stages"][0]["verify"]
    assert said["model"] == model and said["lossless"] and said["relative"] < 1e-5 and said["same_top"] == 1
    assert json.loads((tmp_path / "out" / "smidgen.json").read_text())["verify"] == said


@pytest.mark.parametrize("case", NO_LAWS)
def test_verify_says_where_no_law_holds(case, home, tmp_path):
    text, why = NO_LAWS[case]
    done = merge(home, text, tmp_path / "out", verify=True)
    assert done.returncode == 0 and (tmp_path / "out").exists()
    assert "no law tells what the result must be" in done.stderr and why in done.stderr, done.stderr


def test_verify_reports_rounding_and_needs_a_family(home, tmp_path):
    rounded = LAWS["linear"][0].replace("dtype: float32", "dtype: float32\nout_dtype: bfloat16")
    said = smidgen.json_lines(merge(home, rounded, tmp_path / "out", verify=True, json=True).stdout)[-1]["stages"][0]["verify"]
    assert not said["lossless"] and 1e-6 < said["relative"] < 0.1
    strange = tmp_path / "strange"
    shutil.copytree(home / "a", strange)
    config = json.loads((strange / "config.json").read_text())
    (strange / "config.json").write_text(json.dumps({**config, "model_type": "unheard-of"}))
    text = merges.recipe("linear", merges.listed(strange, weight=1))
    done = merge(home, text, tmp_path / "none", verify=True)
    assert done.returncode != 0 and "unheard-of" in done.stderr and not (tmp_path / "none").exists()


# ---------------------------------------------------------------------------------------------- --search
@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Two models that differ, and data on which neither is best."""
    folder = tmp_path_factory.mktemp("tasks")
    for number, name in enumerate("ab"):
        shutil.copytree(tiny.model(seed=number), folder / name)
    shutil.copy(tiny.data(6), folder / "x.jsonl")
    shutil.copy(tiny.data(6, seed=4), folder / "y.jsonl")
    return folder


SEARCHED = merges.recipe("linear", merges.listed("a", "b", weight=0.5), top="parameters: {normalize: false}\n")
SEARCH = {"search": "weight=-0.5:1.5", "budget": 12, "data": ["x.jsonl", "y.jsonl"], "json": True, "seed": 2}


def search(home, text, out, **flags):
    return smidgen.json_lines(merge(home, text, out, **(SEARCH | flags)).stdout)[-1]["search"]


def test_search_finds_better_numbers(tasks, tmp_path):
    said = search(tasks, SEARCHED, tmp_path / "out")
    assert said["scores"] == 12 and said["kept"] == 0 and said["best"] < said["first"]
    written = (tmp_path / "out" / "mergekit_config.yml").read_text()
    for row in said["coefficients"]:
        assert row["parameter"] == "weight" and row["before"] == 0.5 and f"weight: {row['found']!r}" in written
    losses = [smidgen.evaluate(tmp_path / "out", tasks / name)["loss"] for name in SEARCH["data"]]
    assert said["best"] == pytest.approx(sum(losses) / 2, rel=1e-6)
    file = tmp_path / "found.yaml"
    file.write_text(written)
    smidgen.ok("merge", file, tmp_path / "again", cwd=tasks)
    assert bytes_of(tmp_path / "again") == bytes_of(tmp_path / "out")
    assert [f.name for f in (tmp_path / "out.search").iterdir() if not f.name.startswith(".")] == ["search.json"]


def test_search_goes_on_after_a_kill(tasks, tmp_path):
    whole = search(tasks, SEARCHED, tmp_path / "whole")
    file = tmp_path / "out.yaml"
    file.write_text(SEARCHED)
    flags = {k: v for k, v in SEARCH.items() if k != "data"} | {"data": [tasks / name for name in SEARCH["data"]]}
    text = SEARCHED.replace("model: a", f"model: {tasks / 'a'}").replace("model: b", f"model: {tasks / 'b'}")
    file.write_text(text)
    process = smidgen.start("merge", file, tmp_path / "out", **flags)
    state = tmp_path / "out.search" / "search.json"
    while process.poll() is None and not (state.exists() and len(json.loads(state.read_text())["scores"]) >= 4):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    done = smidgen.json_lines(smidgen.ok("merge", file, tmp_path / "out", **flags).stdout)[-1]["search"]
    assert done["kept"] >= 4 and done["best"] == whole["best"]
    assert [row["found"] for row in done["coefficients"]] == [row["found"] for row in whole["coefficients"]]


def test_search_by_answers_and_of_pcb(tasks, tmp_path):
    rows = tiny.samples(8, "prompt", seed=9)
    for number, row in enumerate(rows):
        row["completion"] = "ab"[number % 2]
    questions = tiny.write_jsonl(tmp_path / "questions.jsonl", rows)
    text = merges.recipe("pcb_es", merges.listed("a", "b", weight=1.0), base="a", top="parameters: {density: 0.3}\n")
    text = text.replace("  - model: a\n    parameters: {weight: 1.0}\n", "")
    said = search(tasks, text, tmp_path / "out", search="weight=0.8:1.3", budget=6, data=questions, choices="auto")
    assert 0 <= said["best"] <= said["first"] <= 1
    picked = smidgen.evaluate(tmp_path / "out", questions, choices="auto")
    assert said["best"] == pytest.approx(1 - picked["accuracy"])


def test_search_is_refused_in_words(tasks, tmp_path):
    def words(**flags):
        done = merge(tasks, SEARCHED, tmp_path / "out", **flags)
        assert done.returncode == 2 and not (tmp_path / "out").exists(), done.stderr
        return done.stderr

    assert "needs data" in words(search="weight=0:1")
    assert "it is for --search" in words(data="x.jsonl")
    assert "it is for --search" in words(budget=3)
    assert "weight" in words(search="wieght=0:1", data="x.jsonl")
    assert "outside of its range" in words(search="weight=0:0.1", data="x.jsonl")
