"""tokenizer.model: ids and texts of SentencePiece's own library, on more than ten thousand lines, of models trained on the spot."""

import functools
import io
import json

import pytest
import sentencepiece
import tiny
from support import lines, smidgen, token_folder

LLAMA = {
    "model_type": "bpe", "vocab_size": 3000, "byte_fallback": True, "normalization_rule_name": "identity", "split_digits": True,
    "remove_extra_whitespaces": False, "character_coverage": 0.98, "allow_whitespace_only_pieces": True,
}  # fmt: skip
RUNS = ["▁▁", "▁▁▁", "▁▁▁▁", "\t", "<start_of_turn>"]
GEMMA = LLAMA | {"add_dummy_prefix": False, "user_defined_symbols": RUNS, "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3}
MODELS = {
    "llama": LLAMA,
    "gemma": GEMMA,
    # What the trainer does unless it is told otherwise: NFKC with SentencePiece's own rules, no spaces at the ends, no runs of them.
    "bpe": {"model_type": "bpe", "vocab_size": 3000},
    "unigram": {"model_type": "unigram", "vocab_size": 3000},
    "folded": {"model_type": "unigram", "vocab_size": 2500, "normalization_rule_name": "nmt_nfkc_cf", "add_dummy_prefix": False},
    "bytes": {"model_type": "unigram", "vocab_size": 3000, "byte_fallback": True, "remove_extra_whitespaces": False},
    "crossing": {"model_type": "unigram", "vocab_size": 2500, "split_by_whitespace": False, "normalization_rule_name": "identity"},
}  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[bytes]:
    return lines.all_lines()


@pytest.fixture(scope="module")
def texts(rows) -> list[str]:
    return [row.decode(errors="replace") for row in rows]


@functools.cache
def trained(name: str, corpus: tuple[str, ...]) -> bytes:
    out = io.BytesIO()
    options = {"minloglevel": 2, "num_threads": 2} | MODELS[name]
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=out, **options)
    return out.getvalue()


@pytest.fixture
def model(texts):
    corpus = tuple(t for t in texts[:8000] if t.strip() and len(t) < 400)[:4000]
    return lambda name: trained(name, corpus)


def folder(path, model: bytes, **companions):
    path.mkdir(parents=True, exist_ok=True)
    token_folder.weights(path)
    (path / "tokenizer.model").write_bytes(model)
    for name, content in companions.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def plain(processor, texts: list[str]) -> list[int]:
    """Which lines hold the name of no special token: SentencePiece takes such for text, everything after it for a token."""
    names = [processor.id_to_piece(i) for i in range(len(processor)) if processor.is_control(i) or processor.is_unknown(i)]
    kept = [i for i, text in enumerate(texts) if not any(name in text for name in names)]
    print(f"\n{len(texts) - len(kept)} of {len(texts)} lines hold the name of a special token and are left out")
    assert len(kept) > 11_000
    return kept


def differences(ours, theirs, texts) -> str:
    wrong = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    shown = "\n".join(f"{texts[i][:90]!r}: {str(ours[i])[:200]} not {str(theirs[i])[:200]}" for i in wrong[:3])
    return f"{len(wrong)} of {len(texts)} lines differ\n{shown}" if wrong else ""


@pytest.mark.parametrize("name", MODELS)
def test_ids_and_texts(name, model, rows, texts, tmp_path):
    reference = sentencepiece.SentencePieceProcessor(model_proto=model(name))
    kept = plain(reference, texts)
    rows, texts = [rows[i] for i in kept], [texts[i] for i in kept]
    path = folder(tmp_path / "m", model(name))
    theirs = reference.encode(texts)
    assert sum(map(len, theirs)) > 200_000
    wrong = differences(token_folder.encode(path, rows, no_special=True), theirs, texts)
    assert not wrong, wrong
    # SentencePiece writes an unknown token as " ⁇ ", tokenizers as its name.
    # What was U+2581 in the text is a space to one and to be dropped to the other, at the front.
    known = [i for i, ids in enumerate(theirs) if reference.unk_id() not in ids and "▁" not in texts[i]]
    assert len(known) > 5_000
    wanted = [reference.decode(theirs[i]) for i in known]
    wrong = differences(token_folder.decode(path, [theirs[i] for i in known]), wanted, [texts[i] for i in known])
    assert not wrong, wrong


@pytest.mark.parametrize("name", MODELS)
def test_the_written_file_gives_the_same_ids(name, model, rows, texts, tmp_path):
    """tokenizer.json in `tokenizers`, and read again."""
    path = folder(tmp_path / "m", model(name))
    reference = sentencepiece.SentencePieceProcessor(model_proto=model(name))
    again = token_folder.written(path)
    ours = token_folder.encode(path, rows)
    # In a text, tokenizers takes the name of a byte for that byte's token where the model is unigram.
    alike = [i for i, text in enumerate(texts) if name != "bytes" or "<0x" not in text]
    same = alike
    if MODELS[name].get("normalization_rule_name") != "identity":
        # tokenizers applies SentencePiece's map to whole graphemes, and loses marks.
        mapped = [again.normalizer.normalize_str(text) for text in texts]
        wanted = [reference.normalize(text) for text in texts]
        same = [i for i in alike if mapped[i] == wanted[i]]
        print(f"\n{len(alike) - len(same)} of {len(alike)} lines are prepared differently by tokenizers")
        assert len(same) > len(alike) - 100 > len(texts) - 300
    theirs = [e.ids for e in again.encode_batch([texts[i] for i in same])]
    score = lambda ids: sum(reference.get_score(i) for i in ids if not reference.is_control(i))  # noqa: E731
    other = [(i, ids) for i, ids in zip(same, theirs) if ids != ours[i]]
    # Two cuts of equal score: SentencePiece rounds sums to float, tokenizers to double.
    ties = [i for i, ids in other if MODELS[name]["model_type"] == "unigram" and abs(score(ids) - score(ours[i])) < 1e-3]
    print(f"\n{len(ties)} of {len(texts)} lines have two cuts of equal score")
    assert len(ties) == len(other) < 60, [(texts[i][:90], ours[i][:30], ids[:30]) for i, ids in other if i not in ties][:3]
    second = token_folder.write((tmp_path / "written.json").read_text(), tmp_path / "again")
    again = token_folder.encode(second, rows)
    assert all(again[i] == ours[i] or i in ties for i in alike)


SPECIALS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
ADDED = {
    "0": {"content": "<unk>", "special": True},
    "1": {"content": "<s>", "special": True},
    "2": {"content": "</s>", "special": True},
    "3000": {"content": "<|end|>", "special": True, "rstrip": True},
    "3001": {"content": "ZZ", "special": False, "normalized": False},
}
CONFIGS = {
    "plain": {},
    "both ends": {"add_bos_token": True, "add_eos_token": True},
    "neither": {"add_bos_token": False},
    "added": {"added_tokens_decoder": ADDED, "pad_token": "<|end|>", "add_prefix_space": True},
    "no prefix": {"add_prefix_space": False},
}


@pytest.mark.parametrize("config", CONFIGS)
def test_companions_as_transformers_reads_them(config, model, rows, texts, tmp_path):
    """LlamaTokenizer on the same folder, `legacy` false: that is how transformers 5 reads every one."""
    from transformers import LlamaTokenizer

    settings = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True, **SPECIALS} | CONFIGS[config]
    path = folder(tmp_path / "m", model("llama"), tokenizer_config=settings)
    reference = LlamaTokenizer.from_pretrained(path)
    theirs = reference(texts)["input_ids"]
    wrong = differences(token_folder.encode(path, rows), theirs, texts)
    assert not wrong, wrong
    if config == "added":
        assert sum(3000 in ids for ids in theirs) + sum(3001 in ids for ids in theirs) > 10
    wanted = reference.batch_decode(theirs[:3000], skip_special_tokens=True)
    assert token_folder.decode(path, theirs[:3000]) == wanted


def test_gemma_as_transformers_reads_it(model, rows, texts, tmp_path):
    """transformers makes runs of spaces by merging, SentencePiece by looking for them first; lines without runs agree."""
    from transformers import GemmaTokenizer

    settings = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "pad_token": "<pad>", **SPECIALS}
    path = folder(tmp_path / "m", model("gemma"), tokenizer_config=settings)
    # The class gives itself a token <mask>, for which no Gemma model has a row.
    single = [i for i, text in enumerate(texts) if "  " not in text and "▁" not in text and "<mask>" not in text]
    assert len(single) > 8_000
    theirs = GemmaTokenizer.from_pretrained(path)([texts[i] for i in single])["input_ids"]
    ours = token_folder.encode(path, rows)
    wrong = differences([ours[i] for i in single], theirs, [texts[i] for i in single])
    assert not wrong, wrong


def test_without_legacy_the_model_itself_decides(model, rows, texts, tmp_path):
    """A special token in the text: what follows begins with a space of its own, as in SentencePiece called for each part."""
    reference = sentencepiece.SentencePieceProcessor(model_proto=model("llama"))
    path = folder(tmp_path / "m", model("llama"), tokenizer_config={"legacy": True})
    for text in ("a </s>b", "<s> c", "</s></s>x  y"):
        wanted = [1]
        for k, part in enumerate(text.split("</s>")):
            wanted += [2] * (k > 0)
            wanted += ([1] if part.startswith("<s>") else []) + reference.encode(part.removeprefix("<s>"))
        assert smidgen.tokenize(path, text) == wanted, text


@pytest.mark.parametrize("name", ["llama", "gemma", "unigram", "bytes", "crossing"])
def test_through_gguf(name, model, rows, texts, tmp_path):
    """A model with nothing but tokenizer.model, exported for llama.cpp: the vocabulary inside gives the same ids."""
    path = smidgen.copy(tiny.model(), tmp_path / "m")
    for left_out in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (path / left_out).unlink(missing_ok=True)
    (path / "tokenizer.model").write_bytes(model(name))
    smidgen.ok("export", model=path, format="gguf", out=tmp_path / "m.gguf")
    ours, back = token_folder.encode(path, rows), token_folder.encode(tmp_path / "m.gguf", rows)
    # GGUF says a run of spaces as spaces, so U+2581 in the text itself is no run there; and it says no
    # order of rounding, so cuts of equal score may differ.
    kept = [i for i, text in enumerate(texts) if name != "gemma" or "▁" not in text]
    wrong = differences([back[i] for i in kept], [ours[i] for i in kept], [texts[i] for i in kept])
    many = sum(back[i] != ours[i] for i in kept)
    print(f"\n{many} of {len(kept)} lines are cut another way of equal score")
    assert many < (10 if MODELS[name]["model_type"] == "unigram" else 1), wrong


@pytest.mark.parametrize(
    "options, word",
    [
        ({"model_type": "char", "vocab_size": 300}, "characters"),
        ({"model_type": "word", "vocab_size": 300}, "whole words"),
        ({"model_type": "bpe", "vocab_size": 600, "treat_whitespace_as_suffix": True}, "suffixes"),
    ],
)
def test_other_kinds_are_refused(options, word, texts, tmp_path):
    out = io.BytesIO()
    corpus = [t for t in texts if t.isascii() and t.strip()][:400]
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=out, minloglevel=2, hard_vocab_limit=False, **options)
    done = smidgen.call("tokenize", model=folder(tmp_path / "m", out.getvalue()), text="a")
    assert done.returncode == 1 and word in done.stderr, done.stderr


def test_what_is_no_sentence_piece_model_is_refused(model, tmp_path):
    good = model("llama")
    for bytes_, word in [
        (b"IQ== 0\nIg== 1\n", "tiktoken"),
        (good[:-3], "are left"),
        (good[: len(good) // 2], "byte"),
        (b"", "unknown pieces"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "are left"),
        (b"PK\x03\x04", "byte"),
    ]:
        done = smidgen.call("tokenize", model=folder(tmp_path / "m", bytes_), text="a")
        assert done.returncode == 1 and word in done.stderr and "tokenizer.model" in done.stderr, (bytes_[:20], done.stderr)
    path = folder(tmp_path / "m", good, tokenizer_config={"tokenizer_class": "XLMRobertaTokenizer"})
    done = smidgen.call("tokenize", model=path, text="a")
    assert done.returncode == 1 and "XLMRobertaTokenizer" in done.stderr
    path = folder(tmp_path / "m", good, tokenizer_config={"added_tokens_decoder": {"700": {"content": "other"}}})
    done = smidgen.call("tokenize", model=path, text="a")
    assert done.returncode == 1 and "'other'" in done.stderr
