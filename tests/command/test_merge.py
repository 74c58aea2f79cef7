"""smidgen merge as a user calls it: what it refuses, interruption, threads, and the ways to name a model."""

import json
import signal
import time

import pytest
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
    "syntax": ("merge_method: [linear\n", "yaml"),
    "empty": ("", "yaml"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_words(case, home, tmp_path):
    text, word = REFUSED[case]
    done = merge(home, text, tmp_path / "out")
    assert done.returncode in (1, 2), done.stderr
    assert done.stderr.startswith("error: ") and word in done.stderr.lower(), done.stderr
    assert not (tmp_path / "out").exists()


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
    text = merges.recipe("ties", merges.listed("a", "b", weight=0.5, density=0.4), base="base")
    flags = {"shard_size": "3KB", "digests": smidgen.NO}
    assert merge(home, text, tmp_path / "whole", **flags).returncode == 0
    file = tmp_path / "out.yaml"
    file.write_text(text)
    work = tmp_path / ".out.merging"
    killed = 0
    for _ in range(20):
        process = smidgen.start("merge", file, tmp_path / "out", cwd=home, **flags)
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
