"""The executable as a user calls it: one process per call, a time limit on each."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from support.paths import BUILD

THREADS = 2
NO = "no"  # a switch that is on by default, turned off: shuffle=NO is --shuffle=false


def binary() -> Path:
    path = Path(os.environ.get("SMIDGEN_BIN", BUILD / "release" / "smidgen"))
    assert path.exists(), f"{path} is not there: run `make build`, or set SMIDGEN_BIN"
    return path


class Failed(AssertionError):
    """A call that should have worked and did not; the message holds the call and what it printed."""

    def __init__(self, done):
        super().__init__(f"exit {done.returncode}: {' '.join(map(str, done.args))}\n{done.stdout}\n{done.stderr}")
        self.done = done


def environment(**extra) -> dict:
    env = {k: v for k, v in os.environ.items() if not k.startswith("SMIDGEN_") or k == "SMIDGEN_KERNELS"}
    env |= {"SMIDGEN_THREADS": str(THREADS), "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    return env | {k: str(v) for k, v in extra.items()}


def argv(*parts, **flags) -> list[str]:
    """The command line; flags in kebab case. True gives the bare flag, NO its opposite, None and False leave it out."""
    out = [str(binary()), *map(str, parts)]
    for key, value in flags.items():
        if value is None or value is False:
            continue
        out.append("--" + key.replace("_", "-") + ("=false" if value is NO else ""))
        if value is not True and value is not NO:
            out.append(",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value))
    return out


def call(*parts, timeout: float = 120, env=None, cwd=None, stdin: str | None = None, **flags):
    """Runs to the end and returns the completed process, whatever its exit code."""
    return subprocess.run(
        argv(*parts, **flags),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        env=env or environment(),
        cwd=cwd,
        input=stdin if stdin is not None else "",
    )


def ok(*parts, **options):
    done = call(*parts, **options)
    if done.returncode != 0:
        raise Failed(done)
    return done


def start(*parts, env=None, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **flags) -> subprocess.Popen:
    return subprocess.Popen(
        argv(*parts, **flags), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True, env=env or environment()
    )


def read_json(text: str):
    """The last JSON object of the output: a verb may print notes before it."""
    rows = [r for r in text.splitlines() if r.startswith(("{", "["))]
    if len(rows) == 1 or (rows and rows[-1].endswith("}") and rows[-1] != "}"):
        return json.loads(rows[-1])
    return json.loads(text)


def json_lines(text: str) -> list[dict]:
    # Not splitlines(): JSON strings may hold U+2028 and U+0085 raw.
    return [json.loads(r) for r in text.split("\n") if r.strip()]


def tensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(str(path))


# ---------------------------------------------------------------------------------------------- verbs
def forward(model, *, ids=None, text=None, dtype="fp32", timeout=120, **flags) -> dict[str, np.ndarray]:
    """`logits` [tokens, vocab], `hidden` [tokens, width]; with gradients=True also `gradients`, by PEFT name."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.safetensors"
        grads = Path(scratch) / "gradients.safetensors" if flags.pop("gradients", False) else None
        ok("forward", model=model, ids=ids, text=text, dtype=dtype, out=out, gradients=grads, timeout=timeout, **flags)
        result = tensors(out)
        if grads:
            result["gradients"] = tensors(grads)
        return result


def generate(model, prompt: str, *, timeout=120, **flags) -> dict:
    """{"text", "ids", "prompt_ids", "stop"} of one generation."""
    return read_json(ok("generate", model=model, prompt=prompt, json=True, timeout=timeout, **flags).stdout)


def evaluate(model, data, *, timeout=120, **flags) -> dict:
    return read_json(ok("eval", model=model, data=data, json=True, timeout=timeout, **flags).stdout)


def tokenize(model, text: str, **flags) -> list[int]:
    return read_json(ok("tokenize", model=model, text=text, json=True, **flags).stdout)["ids"]


def tokenize_file(model, file, timeout=300, **flags) -> list[int]:
    """The ids of a whole file, taken as one text."""
    return read_json(ok("tokenize", model=model, file=file, json=True, timeout=timeout, **flags).stdout)["ids"]


def tune(model, data, out, *, timeout=240, **flags):
    """Trains; the defaults give one sample a step in file order, so that a reference can replay the run."""
    settings = {
        "method": "lora",
        "rank": 4,
        "alpha": 8,
        "target": "all-linear",
        "max_length": 128,
        "batch_tokens": 1,
        "max_steps": 10,
        "learning_rate": 1e-3,
        "schedule": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "shuffle": NO,
        "dtype": "fp32",
        "seed": 5,
        "quiet": True,
    }
    settings |= flags
    return ok("tune", model=model, data=data, out=out, timeout=timeout, **settings)


def metrics(run: Path) -> list[dict]:
    """The training rows of a run (rows of evaluations carry no `loss`)."""
    rows = json_lines((Path(run) / "metrics.jsonl").read_text())
    return [r for r in rows if "loss" in r]


def copy(folder: Path, to: Path) -> Path:
    """A private copy of a model or adapter folder, to be damaged."""
    shutil.copytree(folder, to)
    return to
