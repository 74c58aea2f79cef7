"""smidgen merge of models with different tokenizers as a user calls it: what is refused, what is noted, interruption."""

import json
import shutil
import signal
import time

import pytest
import torch
import yaml
from support import merges, smidgen
from support import vocabularies_merged as v


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """a and b with 270 and 275 tokens, `same` with as many as a has, but others."""
    folder = tmp_path_factory.mktemp("models")
    made = {
        "a": v.train(v.TEXTS["animals"], 270, ["<|end|>", "<pad>"]),
        "b": v.train(v.TEXTS["places"], 275, ["<|end|>", "<|eot|>"]),
        "same": v.train(v.TEXTS["numbers"], 270, ["<|end|>", "<pad>"]),
        "foreign": v.train(v.TEXTS["places"], 272, ["</s>"]),
    }
    for seed, (name, tokenizer) in enumerate(made.items()):
        v.write_whole(folder / name, tokenizer, seed=seed, head=name == "b", eos="</s>" if name == "foreign" else "<|end|>")
    v.write_whole(folder / "bare", made["a"], seed=9)
    for file in (folder / "bare").glob("tokenizer*"):
        file.unlink()
    return folder


def linear(*models, **keys):
    return {"merge_method": "linear", "models": [{"model": m, "parameters": {"weight": 1}} for m in models]} | keys


def merge(home, content, out, **flags):
    file = out.parent / f"{out.name}.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return smidgen.call("merge", file, out, cwd=home, **flags)


def slices(first, last):
    layers = [{"sources": [{"model": m, "layer_range": [0, 2]}]} for m in (first, last)]
    return {"merge_method": "passthrough", "slices": layers}


def tokens(source, **more):
    return {"tokenizer": {"tokens": {"the": {"source": source} | more}}}


def token_of(model, id):
    return {"source": {"kind": "model_token", "model": model, "token_id": id}}


REFUSED = {
    "other sizes": (linear("a", "b"), 1, "vocabularies of different sizes: a 270, b 275", "source: union"),
    "slices of other sizes": (slices("a", "b"), 1, "would have 270 rows and lm_head.weight 275", "source: union"),
    "cut, and merged": (linear("a", "b", tokenizer_source="base"), 2, "to be cut too", "--unsafe-truncate-embeddings"),
    "a stranger's row": (linear("a", "b", **tokens("same")), 2, "is to come from 'same', which is not merged here", ".yaml:"),
    "a token that is not there": (linear("a", "b", **tokens({"kind": "model_token", "model": "b", "token": "qqq"})), 1, "b has no token 'qqq'", "U+0120"),
    "an id that is not there": (linear("a", "b", **tokens({"kind": "model_token", "model": "b", "token_id": 275})), 2, "which has 275 rows", "the"),
    "force without a source": (linear("a", "b", tokenizer={"tokens": {"the": {"force": True}}}), 2, "nothing says by what", "force needs"),
    "no tokenizer": (linear("bare", "b", tokenizer_source="base"), 1, "it has none", "bare"),
    "no folder": (linear("a", "b", tokenizer_source="nowhere"), 1, "no such model", "nowhere"),
    "padding": (linear("a", "b", tokenizer={"pad_to_multiple_of": 0}), 2, "pad_to_multiple_of is not positive", ".yaml:"),
    "too much padding": (linear("a", "b", tokenizer={"pad_to_multiple_of": 10**9}), 2, "makes more than", "64"),
    "no template": (linear("a", "a", chat_template="chatlm"), 2, "'chatlm' is no chat template", "chatml"),
    "a broken template": (linear("a", "a", chat_template="{% for m in messages %}{{ m.content }}"), 1, "chat_template", "endfor"),
    "transplant to a union": (linear("a", "b", tokenizer={"transplant": "nearest"}), 2, "transplant needs the tokenizer of one model", ".yaml:"),
    "transplant and tokens": (linear("a", tokenizer={"source": "b", "transplant": "zero", "tokens": {"x": {}}}), 2, "both say where rows come from", ".yaml:"),
    "no way to transplant": (linear("a", tokenizer={"source": "b", "transplant": "nearset"}), 2, "no way 'nearset'", "nearest"),
    "neighbours of pieces": (linear("a", tokenizer={"source": "b", "transplant": {"method": "subword", "neighbours": 3}}), 2, "for the methods nearest and pursuit", ".yaml:"),
    "no neighbours": (linear("a", tokenizer={"source": "b", "transplant": {"neighbours": 0}}), 2, "neighbours are 1 to", ".yaml:"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_words(case, home, tmp_path):
    content, code, *words = REFUSED[case]
    done = merge(home, content, tmp_path / "out", unsafe_truncate_embeddings=case == "cut, and merged")
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert [f.name for f in tmp_path.iterdir()] == ["out.yaml"]


def test_other_tokens_under_the_same_ids_are_named(home, tmp_path):
    done = merge(home, linear("a", "same"), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "same has other tokens than a under" in done.stderr and "source: union" in done.stderr
    # Not where another program has written the same tokenizer in another way.
    (tmp_path / "again").mkdir()
    for file in (home / "a").iterdir():
        shutil.copy(file, tmp_path / "again" / file.name)
    path = tmp_path / "again" / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    done = merge(home, linear("a", str(tmp_path / "again")), tmp_path / "quiet")
    assert done.returncode == 0 and "other tokens" not in done.stderr, done.stderr


def test_a_dry_run_knows_the_rows(home, tmp_path):
    done = merge(home, linear("a", "b", tokenizer_source="union"), tmp_path / "out", dry_run=True)
    assert done.returncode == 0 and "are new; text is searched" in done.stderr, done.stderr
    done = merge(home, linear("a", tokenizer={"source": "b", "transplant": "nearest"}), tmp_path / "out", dry_run=True)
    assert done.returncode == 0 and "have its own rows" in done.stderr, done.stderr
    assert [f.name for f in tmp_path.iterdir()] == ["out.yaml"]


def test_special_tokens_follow_the_tokenizer(home, tmp_path):
    """The base's config.json with another model's tokenizer: </s> in the place of <|end|>."""
    done = merge(home, linear("a", "foreign", base_model="a", tokenizer_source="foreign"), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    ids = v.ids_of(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["eos_token_id"] == ids["</s>"] and config["vocab_size"] == len(ids) == 272
    assert "eos_token_id is now" in done.stderr
    if (tmp_path / "out" / "generation_config.json").exists():
        assert json.loads((tmp_path / "out" / "generation_config.json").read_text()).get("eos_token_id", ids["</s>"]) == ids["</s>"]


def placed(content, home):
    """With whole paths."""
    text = json.dumps(content)
    for name in ("a", "b"):
        text = text.replace(f'"{name}"', json.dumps(str(home / name)))
    return yaml.safe_dump(json.loads(text), sort_keys=False)


def kill_after(shards, home, content, out, **flags):
    """Whether the call was still at work when it had written so many weight files."""
    out.with_suffix(".yaml").write_text(placed(content, home))
    process = smidgen.start("merge", out.with_suffix(".yaml"), out, **flags)
    while process.poll() is None and len(list(out.with_name(f".{out.name}.merging").glob("model-*.safetensors"))) < shards:
        time.sleep(0.001)
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    process.wait()
    return True


def bytes_of(folder):
    """All files, but for what says how many weight files an earlier run had written."""
    files = {f.name: f.read_bytes() for f in sorted(folder.iterdir())}
    told = json.loads(files.pop("smidgen.json"))
    del told["merge"]["kept"]
    return files | {"smidgen.json": told}


UNION = {"tokenizer": {"source": "union", "tokens": {"<x>": {"source": {"kind": "zero"}}}, "pad_to_multiple_of": 8}, "chat_template": "chatml"}
WAYS = {"union": UNION, "transplant": {"tokenizer": {"source": "b", "transplant": "nearest"}, "chat_template": "chatml"}}


@pytest.mark.parametrize("way", WAYS)
def test_kill_and_go_on(way, home, tmp_path):
    content = linear("a", "b", **WAYS[way])
    flags = {"shard_size": "2KB", "digests": smidgen.NO}
    (tmp_path / "whole.yaml").write_text(placed(content, home))
    smidgen.ok("merge", tmp_path / "whole.yaml", tmp_path / "whole", **flags)
    out, killed = tmp_path / "out", 0
    while killed < 5 and kill_after(3 + 3 * killed, home, content, out, **flags):
        killed += 1
        assert not out.exists()
    assert killed > 0
    if not out.exists():
        done = smidgen.ok("merge", tmp_path / "out.yaml", out, **flags)
        assert "dropped" not in done.stderr
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


def test_other_rows_start_anew(home, tmp_path):
    """The same shapes, and other rows: shards of the interrupted run are not kept."""
    flags = {"shard_size": "2KB", "digests": smidgen.NO}
    assert kill_after(3, home, linear("a", "b", **UNION), tmp_path / "out", **flags)
    other = UNION | {"tokenizer": UNION["tokenizer"] | {"tokens": {"<x>": token_of("b", 3)}}}
    (tmp_path / "out.yaml").write_text(placed(linear("a", "b", **other), home))
    done = smidgen.ok("merge", tmp_path / "out.yaml", tmp_path / "out", **flags)
    assert "other settings is dropped" in done.stderr, done.stderr
    row = merges.tensors(tmp_path / "out")[v.EMBEDDING][v.ids_of(tmp_path / "out")["<x>"]]
    assert torch.equal(row, merges.tensors(home / "b")[v.EMBEDDING][3])
