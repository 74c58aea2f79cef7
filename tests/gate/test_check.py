"""Every check of scripts/check.py fails on a tree with the defect it is for, and passes on one without."""

import subprocess

import check_docs
import check_sources
import pytest
from check import CHECKS
from tree import Tree

SOUND = {
    "CMakeLists.txt": "smidgen_room(base)\nsmidgen_room(nn TORCH)\n  smidgen_registry(nn/families FAMILY docs/families.md)\n",
    "Makefile": "test: build\n",
    ".clang-format": "BasedOnStyle: Google\nColumnLimit: 100\n",
    "scripts/deps.txt": "0 base\n1 io\n1 text\n3 nn\ntext -> io  # tokenizers lie in GGUF files\n",
    "smidgen/base/error.h": "#pragma once\n",
    "smidgen/io/gguf.h": '#include "smidgen/base/error.h"\n',
    "smidgen/text/tokenizer.h": '#include "smidgen/io/gguf.h"\n',
    "smidgen/nn/model.h": "#include <ATen/ATen.h>\n",
    "smidgen/nn/families/families.list": "# a comment\nllama\n",
    "smidgen/nn/families/llama.cpp": '#include "smidgen/nn/model.h"\n',
    "smidgen/nn/families/llama_test.cpp": "",
    "docs/families.md": "| name |\n|---|\n| `llama` |\n\n```sh\nls\n```\n",
    "README.md": "[families](docs/families.md) and `make test`\n\n```console\n$ make test\n```\n",
}

# check -> files that differ from the sound tree, and what the message must name
DEFECTS = [
    ("format", {"smidgen/base/error.h": "int  x ;\n"}, "smidgen/base/error.h:1"),
    ("includes", {"smidgen/io/gguf.h": '#include "smidgen/nn/model.h"\n'}, "smidgen/io/gguf.h:1: the edge io -> nn"),
    ("includes", {"smidgen/io/gguf.h": '#include "smidgen/text/tokenizer.h"\n'}, "the edge io -> text"),
    ("includes", {"smidgen/io/gguf.h": '\n#include "gguf.h"\n'}, "smidgen/io/gguf.h:2"),
    ("includes", {"smidgen/io/gguf.h": '#include "smidgen/base/none.h"\n'}, "smidgen/base/none.h does not exist"),
    ("includes", {"smidgen/new/a.h": ""}, "the room `new` has no rank"),
    ("torch_rooms", {"smidgen/base/error.h": "#include <c10/core/Device.h>\n"}, "smidgen/base/error.h:1"),
    ("torch_rooms", {"smidgen/text/tokenizer.h": '#include "smidgen/nn/model.h"\n'}, "smidgen/text/tokenizer.h:1"),
    ("torch_header", {"smidgen/nn/model.h": "#include <torch/torch.h>\n"}, "smidgen/nn/model.h:1"),
    ("sizes", {"smidgen/base/long.cpp": "\n" * 801}, "refused above 800"),
    ("sizes", {"smidgen/base/long.cpp": "\n" * 501}, "needs a reason"),
    ("sizes", {"scripts/long_files.txt": "smidgen/base/gone.cpp: a table\n"}, "does not exist"),
    ("paths", {"docs/a.md": "see /" + "root/thing\n"}, "docs/a.md:1"),
    ("docs_rows", {"docs/families.md": "nothing\n"}, "families.list:2: docs/families.md has no row"),
    ("docs_rows", {"smidgen/nn/families/families.list": "gpt\n"}, "gpt_test.cpp does not exist"),
    ("docs_links", {"README.md": "[x](docs/none.md)\n"}, "README.md:1"),
    ("docs_fences", {"README.md": "\n```bash\nls\n```\n"}, "README.md:2"),
    ("docs_fences", {"README.md": "```\nls\n```\n"}, "no language"),
    ("docs_targets", {"README.md": "`make tset`\n"}, "no target `tset`"),
    ("docs_targets", {"README.md": "```console\n$ make tset\n```\n"}, "no target `tset`"),
]


def tree_of(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return Tree(folder)


@pytest.mark.parametrize("name", CHECKS)
def test_sound_tree_passes(tmp_path, name):
    assert CHECKS[name](tree_of(tmp_path, SOUND)) == []


@pytest.mark.parametrize("name, files, message", DEFECTS, ids=lambda v: v if isinstance(v, str) and " " not in v else "")
def test_defect_is_named(tmp_path, name, files, message):
    found = CHECKS[name](tree_of(tmp_path, SOUND | files))
    assert any(message in row for row in found), found


def test_every_check_has_a_defect():
    assert {name for name, _, _ in DEFECTS} == set(CHECKS)


def test_private_words(tmp_path, monkeypatch):
    tree = tree_of(tmp_path, SOUND | {"a.txt": "at Acme we\n"})
    assert check_sources.paths(tree) == []
    monkeypatch.setenv("SMIDGEN_PRIVATE_WORDS", "acme")
    assert check_sources.paths(tree) == ["a.txt:1: holds the private word `Acme`"]


def test_a_listed_long_file_passes(tmp_path):
    files = SOUND | {"smidgen/base/long.cpp": "\n" * 501, "scripts/long_files.txt": "smidgen/base/long.cpp: a table\n"}
    assert check_sources.sizes(tree_of(tmp_path, files)) == []


def test_an_endless_block_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match="README.md:1"):
        check_docs.fences(tree_of(tmp_path, SOUND | {"README.md": "```sh\nls\n"}))
