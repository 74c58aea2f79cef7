"""Runs every ```sh block of the docs: the blocks of one page in order, in a folder with tiny data under the names below.

The docs may use: `model/` (a Llama folder), `model.gguf` (the same kind of model, Q4_1), `train.jsonl`, `held-out.jsonl`, `pairs.jsonl`.
"""

import os
import shutil

import doc_blocks
import pytest
import tiny
from tree import ROOT, Tree

TREE = Tree(ROOT)
PAGES = [page for page in doc_blocks.pages(TREE) if doc_blocks.commands(TREE, page)]
LIMIT = 120  # seconds for one block


@pytest.fixture
def place(tmp_path):
    shutil.copytree(tiny.model(), tmp_path / "model")
    shutil.copy(tiny.gguf(), tmp_path / "model.gguf")
    shutil.copy(tiny.data(24), tmp_path / "train.jsonl")
    shutil.copy(tiny.data(8, seed=4), tmp_path / "held-out.jsonl")
    shutil.copy(tiny.data(8, "pairs"), tmp_path / "pairs.jsonl")
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_commands_run(page, place, program):
    first = f"{program.parent}{os.pathsep}{ROOT / '.venv' / 'bin'}{os.pathsep}"
    env = {**os.environ, "PATH": first + os.environ["PATH"], "NO_COLOR": "1", "SMIDGEN_THREADS": "2"}
    for block in doc_blocks.commands(TREE, page):
        done = doc_blocks.run(block, place, env, LIMIT)
        assert done.returncode == 0, f"{page}:{block.line}: exit {done.returncode}\n{block.text}\n{done.stdout}{done.stderr}"


def test_a_failing_block_is_seen(tmp_path):
    """Also when the command that fails is not the last one."""
    for text in ("false\ntrue\n", "false | true\n", "echo $no_such_variable\n"):
        done = doc_blocks.run(doc_blocks.Block("page", 1, "sh", text), tmp_path, dict(os.environ), 10)
        assert done.returncode != 0
