"""What starting costs and loads, and the names that scripts rely on."""

import json
import os
import statistics
import subprocess
import time

import pytest
import tiny
from support import smidgen

LIMIT = 0.2  # seconds; a smoke check on a busy machine, not the claim (that is measured under bench/)
VERBS = ["tune", "generate", "chat", "eval", "forward", "tokenize", "export", "inspect", "data", "doctor", "list", "schema"]


def libraries(tmp_path, *parts, **flags) -> set[str]:
    """The shared objects that a call opens, by the dynamic linker's own log."""
    log = tmp_path / "linker"
    log.mkdir(exist_ok=True)
    env = smidgen.environment(LD_DEBUG="files", LD_DEBUG_OUTPUT=log / "log")
    smidgen.call(*parts, env=env, **flags)
    found = set()
    for path in log.iterdir():
        for line in path.read_text(errors="replace").splitlines():
            if "calling init: " in line:
                found.add(os.path.basename(line.split("calling init: ")[1].split()[0]))
        path.unlink()
    return found


def test_a_verb_that_computes_opens_torch(model, tmp_path):
    """The log shows torch where it must be: the cases below can fail."""
    opened = libraries(tmp_path, "forward", model=model, ids=[1, 2], out=tmp_path / "o.safetensors")
    assert any(n.startswith("libtorch_cpu") for n in opened)


@pytest.mark.parametrize("call", ["--help", "tune --help", "list", "schema", "doctor --json", "tokenize", "inspect", "data", "wrong"])
def test_no_torch(call, model, data, tmp_path):
    parts, flags = call.split(), {}
    if call == "tokenize":
        flags = {"model": model, "text": "hi"}
    elif call == "inspect":
        parts.append(model / "model.safetensors")
    elif call == "data":
        parts, flags = ["data", data], {"model": model}
    elif call == "wrong":
        parts = ["tune", "--lerning-rate", "1"]
    opened = libraries(tmp_path, *parts, **flags)
    assert opened, "the linker's log is empty"
    assert not [n for n in opened if "torch" in n or "smidgen_core" in n or n.startswith("libc10")]


@pytest.mark.parametrize("call", [["--help"], ["tune", "--help"], ["tune", "--help", "--method", "lora"], ["list"]], ids=" ".join)
def test_help_is_quick(call):
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        smidgen.ok(*call)
        seconds.append(time.perf_counter() - start)
    assert statistics.median(seconds) < LIMIT


def test_help_names_every_verb():
    text = smidgen.ok("--help").stdout
    for verb in VERBS:
        assert verb in text, verb
        assert smidgen.ok(verb, "--help").stdout.startswith("") and len(smidgen.ok(verb, "--help").stdout) > 80, verb


def test_help_of_a_method_shows_its_keys():
    text = smidgen.ok("tune", "--help", "--method", "lora").stdout
    for flag in ("--rank", "--alpha", "--target"):
        assert flag in text
    for flag in ("--batch-tokens", "--micro-tokens", "--max-steps", "--learning-rate", "--save-every", "--resume", "--seed"):
        assert flag in text


def test_list_names_what_is_registered():
    text = smidgen.ok("list").stdout
    for name in ("lora", "full", "llama"):
        assert name in text


def test_schema_is_json():
    assert json.loads(smidgen.ok("schema").stdout)


def test_doctor_tells_what_it_found():
    seen = json.loads(smidgen.ok("doctor", json=True).stdout)
    assert seen
    assert smidgen.ok("doctor").stdout.strip()


def test_version():
    assert "0.1" in smidgen.ok("--version").stdout


def test_tokenize_prints_ids(model):
    assert smidgen.tokenize(model, "Lori ka 12") == tiny.tokenizer().encode("Lori ka 12").ids


def test_eval_prints_the_promised_keys(model, data):
    assert {"loss", "perplexity"} <= smidgen.evaluate(model, data).keys()


def test_json_is_all_of_standard_output(model):
    for call in (
        {"parts": ["tokenize"], "model": model, "text": "hi"},
        {"parts": ["generate"], "model": model, "prompt": "hi", "max_new_tokens": 2, "greedy": True},
        {"parts": ["inspect", model]},
    ):
        flags = dict(call)
        json.loads(smidgen.ok(*flags.pop("parts"), json=True, **flags).stdout)


def test_plain_lines_when_not_on_a_terminal(model, data, tmp_path):
    """No escape sequences, no carriage returns: progress in a log file is lines."""
    done = smidgen.ok("tune", model=model, data=data, out=tmp_path / "run", max_steps=5, batch_tokens=20, max_length=128)
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    assert done.stdout + done.stderr != ""


def test_quiet_says_nothing(model, data, tmp_path):
    done = smidgen.ok("tune", model=model, data=data, out=tmp_path / "run", max_steps=2, max_length=128, quiet=True)
    assert done.stdout == "" and done.stderr == ""


def test_dry_run_prints_the_plan_and_trains_nothing(model, data, tmp_path):
    run = tmp_path / "run"
    done = smidgen.ok("tune", model=model, data=data, out=run, method="lora", rank=4, max_steps=5, max_length=128, dry_run=True)
    assert "q_proj" in done.stdout or "lora" in done.stdout
    assert not (run / "adapter").exists()


def test_recipe_environment_and_flag_win_in_this_order(model, data, tmp_path):
    """recipe < environment < flag, and the resolved recipe names each value's origin."""
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"model: {model}\ndata: {data}\nmax_length: 128\nmethod:\n  name: lora\n  rank: 2\n  alpha: 4\n"
        "max_steps: 1\nlearning_rate: 1e-3\nseed: 4\n"
    )
    smidgen.ok("tune", recipe, out=tmp_path / "run", seed=9, env=smidgen.environment(SMIDGEN_THREADS=1))
    (resolved,) = [p for p in (tmp_path / "run").iterdir() if p.suffix in (".yaml", ".yml")]
    text = resolved.read_text()
    assert "r.yaml" in text, "the origin of what the recipe said"
    seed = [r for r in text.splitlines() if r.strip().startswith("seed:")]
    assert len(seed) == 1 and "9" in seed[0]
    config = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == 2 and config["lora_alpha"] == 4


def test_completion_is_there_for_the_shells():
    for shell in ("bash", "zsh", "fish"):
        done = smidgen.call("completion", shell)
        if shell == "bash":
            assert done.returncode == 0
            checked = subprocess.run(["bash", "-n"], input=done.stdout, text=True, capture_output=True)
            assert checked.returncode == 0, checked.stderr
            assert "tune" in done.stdout


def test_chat_reads_turns_from_standard_input(model):
    """Piped, chat answers each line and ends with the input."""
    done = smidgen.call("chat", model=model, max_new_tokens=4, greedy=True, stdin="Lori?\nKa?\n", timeout=60)
    assert done.returncode == 0
    assert done.stdout.strip()
