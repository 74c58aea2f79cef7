"""llama.cpp opens what `export` writes: the same ids, the same logits, the same adapter.

llama-cpp-python has no wheel and compiles for ten minutes, so it gets an environment of its own under build/, made once.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tiny
from support import reference, smidgen
from support.paths import BUILD, made_once

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
IDS = [1, 17, 300, 5, 81, 240, 9, 33, 2, 120]
VERSION = "0.3.16"
SCRIPT = """
import json, sys
import numpy as np
from llama_cpp import Llama
model, lora, out, ids, texts = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4]), json.loads(sys.argv[5])
# Keys and values in fp32 (0), not fp16, so that only the order of sums differs.
llama = Llama(model, lora_path=lora or None, n_ctx=128, logits_all=True, type_k=0, type_v=0, n_threads=2, verbose=False)
llama.eval(ids)
np.save(out, llama.scores[: len(ids)])
print(json.dumps([llama.tokenize(t.encode(), add_bos=False, special=True) for t in texts]))
"""


@pytest.fixture(scope="session")
def python():
    folder = BUILD / "llama-cpp" / VERSION
    with made_once(folder) as scratch:
        if scratch:
            subprocess.run([sys.executable, "-m", "venv", scratch / "venv"], check=True)
            argv = [scratch / "venv" / "bin" / "python", "-m", "pip", "install", "-q", f"llama-cpp-python=={VERSION}"]
            subprocess.run(argv, check=True, env={**os.environ, "CMAKE_ARGS": "-DGGML_NATIVE=OFF"})
    return folder / "venv" / "bin" / "python"


def run(python, tmp_path, model, lora="", texts=()):
    out = tmp_path / "logits.npy"
    argv = [python, "-c", SCRIPT, str(model), str(lora), str(out), json.dumps(IDS), json.dumps(list(texts))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return np.load(out), json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("dtype", ["fp32", "q8_0"])
def test_logits_and_ids(dtype, python, tmp_path):
    model = tiny.model(head_dim=32, tie_word_embeddings=False)
    smidgen.ok("export", model=model, out=tmp_path / "m.gguf", dtype_out=dtype)
    texts = tiny.corpus(100)
    logits, ids = run(python, tmp_path, tmp_path / "m.gguf", texts=texts)
    # llama.cpp rounds the inputs of a q8_0 product to eight bits.
    bound = 1e-4 if dtype == "fp32" else 5e-2
    assert reference.difference(logits, smidgen.forward(tmp_path / "m.gguf", ids=IDS)["logits"]) < bound
    assert ids == [reference.encode(model, t) for t in texts]


def test_adapter(python, tmp_path):
    model = tiny.model(head_dim=32, tie_word_embeddings=False)
    wrapped = reference.lora(reference.llama(model), r=4, lora_alpha=12, target_modules=["q_proj", "k_proj", "down_proj"])
    folder = reference.save_adapter(wrapped, tmp_path / "a")
    smidgen.ok("export", model=model, out=tmp_path / "m.gguf")
    smidgen.ok("export", model=model, adapter=folder, out=tmp_path / "a.gguf", format="gguf-lora")
    logits, _ = run(python, tmp_path, tmp_path / "m.gguf", lora=tmp_path / "a.gguf")
    wanted = smidgen.forward(model, ids=IDS, adapter=folder)["logits"]
    assert reference.difference(wanted, smidgen.forward(model, ids=IDS)["logits"]) > 1e-2
    assert reference.difference(logits, wanted) < 1e-4
