"""GGUF vocabularies as PyPI gguf writes them: the ids are those of the tokenizer they were made from."""

import json
import struct

import gguf
import pytest
from support import smidgen, token_folder, vocabularies
from tokenizers import Regex, Tokenizer
from tokenizers import normalizers as n
from tokenizers import pre_tokenizers as p

CONTROL, USER, UNKNOWN, BYTE, UNUSED = 3, 4, 2, 6, 5


@pytest.fixture(scope="module")
def texts(world) -> list[str]:
    return world[1][:4000] + world[1][-3500:]


@pytest.fixture(scope="module")
def corpus(texts) -> list[str]:
    return [t for t in texts if len(t) < 400]


def vocabulary(made: Tokenizer) -> tuple[list[str], list[int]]:
    parts = json.loads(made.to_str())
    tokens = [made.id_to_token(i) or f"[PAD{i}]" for i in range(made.get_vocab_size())]
    types = [1] * len(tokens)
    for token in parts["added_tokens"]:
        types[token["id"]] = CONTROL if token["special"] else USER
    return tokens, types


def write(path, model: str, tokens, types, *, pre=None, merges=None, scores=None, ids=None, flags=None):
    out = gguf.GGUFWriter(str(path), "llama")
    out.add_tokenizer_model(model)
    if pre:
        out.add_tokenizer_pre(pre)
    out.add_token_list(tokens)
    out.add_token_types(types)
    if merges:
        out.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in merges])
    if scores:
        out.add_token_scores(scores)
    for key, value in (ids or {}).items():
        out.add_uint32(f"tokenizer.ggml.{key}_token_id", value)
    for key, value in (flags or {}).items():
        out.add_bool(f"tokenizer.ggml.{key}", value)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def same(path, made: Tokenizer, texts: list[str]) -> None:
    ours = token_folder.encode(path, [t.encode() for t in texts])
    theirs = [e.ids for e in made.encode_batch(texts)]
    wrong = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    assert not wrong, (len(wrong), [(texts[i][:80], ours[i][:20], theirs[i][:20]) for i in wrong[:3]])
    assert [e.ids for e in token_folder.written(path).encode_batch(texts[::8])] == theirs[::8]


SPLITS = {
    "llama-bpe": (vocabularies.LLAMA3,),
    "qwen2": (vocabularies.QWEN2,),
    "stablelm2": (vocabularies.QWEN2,),
    "dbrx": (vocabularies.LLAMA3,),
    "deepseek-v3": (r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", vocabularies.DEEPSEEK3),
    "deepseek-coder": ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"),
    "tekken": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?"
        r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", *SPLITS])
def test_named_pre_tokenizers(pre, corpus, texts, tmp_path):
    """The expressions of the published tokenizer.json files, in Oniguruma, against ours under GGUF's word for them."""
    cut = {
        "gpt-2": p.ByteLevel(add_prefix_space=False),
        "smollm": p.Sequence([p.Digits(individual_digits=True), p.ByteLevel(add_prefix_space=False)]),
    }.get(pre) or vocabularies.split_bytes(*SPLITS[pre])
    made = vocabularies.byte_level(corpus[:1500], cut, normalizer=n.NFC() if pre == "qwen2" else None)
    if pre in ("llama-bpe", "tekken"):
        made.model.ignore_merges = True
    tokens, types = vocabulary(made)
    merges = json.loads(made.to_str())["model"]["merges"]
    path = write(tmp_path / "m.gguf", "gpt2", tokens, types, pre=pre, merges=merges, ids={"bos": 1, "eos": 2}, flags={"add_bos_token": False})
    same(path, made, texts)


@pytest.mark.parametrize("prefix", [True, False])
def test_sentence_piece(prefix, corpus, texts, tmp_path):
    """Scores that put merges in the order of their ranks; every pair that scores allow is a merge, as in converted models."""
    trained = json.loads(vocabularies.llama1(corpus[:1500]).to_str())
    vocab = trained["model"]["vocab"]
    made_by = [a + b for a, b in trained["model"]["merges"]]
    scores = {token: -float(rank + 1) for rank, token in enumerate(dict.fromkeys(made_by))}
    pairs = []
    for token in scores:
        pairs += [[token[:i], token[i:]] for i in range(1, len(token)) if token[:i] in vocab and token[i:] in vocab]
    trained["model"]["merges"] = pairs
    if not prefix:
        trained["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    made = Tokenizer.from_str(json.dumps(trained))
    tokens, types = vocabulary(made)
    types = [BYTE if t in vocabularies.BYTES else UNKNOWN if t == "<unk>" else k for t, k in zip(tokens, types)]
    last = -float(len(scores) + 10)
    path = write(
        tmp_path / "m.gguf", "llama", tokens, types, pre="default", scores=[scores.get(t, last) for t in tokens],
        ids={"bos": 1, "eos": 2, "unknown": 0}, flags={"add_space_prefix": prefix},
    )  # fmt: skip
    same(path, made, texts)
    rows = [e.ids for e in made.encode_batch(texts[:500])]
    made.decoder = vocabularies.sentence_piece_decoder(prefix)
    assert token_folder.decode(path, rows) == made.decode_batch(rows)


def test_bert(corpus, texts, tmp_path):
    made = vocabularies.bert(corpus[:1500])
    tokens, types = vocabulary(made)
    written = [t if k != 1 else t[2:] if t.startswith("##") else "▁" + t for t, k in zip(tokens, types)]
    ids = {"bos": 2, "cls": 2, "seperator": 3, "unknown": 1, "padding": 0}
    same(write(tmp_path / "m.gguf", "bert", written, types, ids=ids), made, texts)


def test_unigram(corpus, texts, tmp_path):
    parts = json.loads(vocabularies.unigram(corpus).to_str())
    # GGUF's scores are single floats, and "000" has cuts of equal score: the reference gets the same numbers.
    parts["model"]["vocab"] = [[token, struct.unpack("f", struct.pack("f", score))[0]] for token, score in parts["model"]["vocab"]]
    made = Tokenizer.from_str(json.dumps(parts))
    # llama.cpp and SentencePiece drop spaces at the ends and leave tabs.
    edges = [(r"\A +", ""), (" {2,}", " "), (r"[ ▁]+\z", "")]
    made.normalizer = n.Sequence([n.Replace(Regex(pattern), content) for pattern, content in edges])
    made.post_processor = vocabularies.template("$A </s>", **{"</s>": 1})
    tokens, types = vocabulary(made)
    scores = [score for _, score in json.loads(made.to_str())["model"]["vocab"]]
    types = [UNKNOWN if t == "<unk>" else k for t, k in zip(tokens, types)]
    flags = {"remove_extra_whitespaces": True, "add_space_prefix": True}
    path = write(tmp_path / "m.gguf", "t5", tokens, types, scores=scores, ids={"eos": 1, "unknown": 2}, flags=flags)
    # To Metaspace a U+2581 at the front is the prefix already.
    same(path, made, [t for t in texts if not t.lstrip(" ").startswith("▁")])


@pytest.mark.parametrize("pre", ["default", "kimi-k2", "smolm"])
def test_words_without_a_rule_are_refused(pre, corpus, tmp_path):
    made = vocabularies.gpt2(corpus[:300])
    tokens, types = vocabulary(made)
    path = write(tmp_path / "m.gguf", "gpt2", tokens, types, pre=pre, merges=json.loads(made.to_str())["model"]["merges"])
    done = smidgen.call("tokenize", model=path, text="a")
    assert done.returncode == 1 and f"'{pre}'" in done.stderr
