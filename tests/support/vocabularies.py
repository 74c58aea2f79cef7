"""Small vocabularies of every kind, trained on the spot with `tokenizers`, cut as the families of models cut text.

Each function of FAMILIES takes lines to train on and returns a Tokenizer. Together they use every model, normaliser,
pre-tokeniser, post-processor and decoder that smidgen reads.
"""

import base64
import json
import struct

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers import decoders as d
from tokenizers import models as m
from tokenizers import normalizers as n
from tokenizers import pre_tokenizers as p
from tokenizers import processors as x
from tokenizers import trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"""|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
BYTES = [f"<0x{b:02X}>" for b in range(256)]
SPECIALS = ["<unk>", "<s>", "</s>"]
FAMILIES = {}


def family(make):
    FAMILIES[make.__name__] = make
    return make


def once(make):
    """Several families are cut from one trained vocabulary; each gets a copy."""
    done: dict[tuple, str] = {}

    def copy(corpus, *rest):
        key = (len(corpus), corpus[0], corpus[-1])
        if key not in done:
            done[key] = make(corpus, *rest).to_str()
        return Tokenizer.from_str(done[key])

    copy.__name__ = make.__name__
    return copy


def bpe_trainer(**options):
    return trainers.BpeTrainer(vocab_size=1500, show_progress=False, **({"special_tokens": SPECIALS} | options))


def made(model, corpus, trainer, *, normalizer=None, pre=None, decoder=None, post=None) -> Tokenizer:
    out = Tokenizer(model)
    if normalizer:
        out.normalizer = normalizer
    if pre:
        out.pre_tokenizer = pre
    if decoder:
        out.decoder = decoder
    out.train_from_iterator(corpus, trainer)
    if post:
        out.post_processor = post
    return out


def byte_level(corpus, pre, *, model=None, **parts) -> Tokenizer:
    trainer = bpe_trainer(initial_alphabet=p.ByteLevel.alphabet())
    return made(model or m.BPE(), corpus, trainer, pre=pre, decoder=d.ByteLevel(), **parts)


def split_bytes(*patterns):
    splits = [p.Split(Regex(pattern), "isolated") for pattern in patterns]
    return p.Sequence([*splits, p.ByteLevel(add_prefix_space=False, use_regex=False)])


def template(single, **ids):
    return x.TemplateProcessing(single=single, pair=f"{single} $B", special_tokens=list(ids.items()))


@family
def gpt2(corpus):
    return byte_level(corpus, p.ByteLevel(add_prefix_space=False), post=x.ByteLevel(trim_offsets=False))


@family
def roberta(corpus):
    out = byte_level(corpus, p.ByteLevel(add_prefix_space=True), post=x.RobertaProcessing(("</s>", 2), ("<s>", 1)))
    out.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return out


@family
def smollm2(corpus):
    return byte_level(corpus, p.Sequence([p.Digits(individual_digits=True), p.ByteLevel(add_prefix_space=False)]))


@family
def llama3(corpus):
    bos = x.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    post = x.Sequence([x.ByteLevel(trim_offsets=False), bos])
    return byte_level(corpus, split_bytes(LLAMA3), model=m.BPE(ignore_merges=True), post=post)


@family
def qwen2(corpus):
    out = byte_level(corpus, split_bytes(QWEN2), normalizer=n.NFC())
    out.add_tokens([AddedToken("<tool_call>", normalized=True), AddedToken("Å", normalized=True)])
    return out


@family
def deepseek(corpus):
    return byte_level(corpus, split_bytes(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3))


@family
def falcon(corpus):
    """ByteLevel that is not the last step: the letters themselves are cut further."""
    steps = [p.Punctuation("contiguous"), p.ByteLevel(add_prefix_space=False), p.Digits(), p.Split(Regex("[0-9][0-9][0-9]"), "isolated")]
    return byte_level(corpus, p.Sequence(steps))


@family
def byte_letters(corpus):
    return byte_level(corpus, p.Split(Regex("Ġ?[^Ġ]+"), "merged_with_next"), normalizer=n.ByteLevel())


def sentence_piece_decoder(strip: bool):
    steps = [d.Replace("▁", " "), d.ByteFallback(), d.Fuse()]
    return d.Sequence([*steps, d.Strip(" ", 1, 0)] if strip else steps)


@family
@once
def llama2(corpus):
    """Trained on words, used on whole texts."""
    trainer = bpe_trainer(special_tokens=SPECIALS + BYTES)
    model = m.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    trained = made(model, corpus, trainer, pre=p.Metaspace(prepend_scheme="first"))
    parts = json.loads(trained.to_str())
    parts["added_tokens"] = parts["added_tokens"][:3]
    out = Tokenizer.from_str(json.dumps(parts))
    out.pre_tokenizer = p.Metaspace(prepend_scheme="first", split=False)
    out.decoder = sentence_piece_decoder(True)
    out.post_processor = template("<s> $A", **{"<s>": 1})
    return out


def with_parts(tokenizer, **parts) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(json.loads(tokenizer.to_str()) | parts))


@family
def llama1(corpus):
    out = with_parts(llama2(corpus), pre_tokenizer=None)
    out.normalizer = n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")])
    return out


@family
def gemma(corpus):
    out = llama2(corpus)
    out.normalizer = n.Replace(" ", "▁")
    out.pre_tokenizer = p.Split(" ", "merged_with_previous")
    out.decoder = sentence_piece_decoder(False)
    return out


def word_piece(corpus, normalizer, post, decoder) -> Tokenizer:
    trainer = trainers.WordPieceTrainer(
        vocab_size=1500, show_progress=False, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    )
    model = m.WordPiece(unk_token="[UNK]")
    return made(model, corpus, trainer, normalizer=normalizer, pre=p.BertPreTokenizer(), decoder=decoder, post=post)


@family
def bert(corpus):
    return word_piece(corpus, n.BertNormalizer(), template("[CLS] $A [SEP]", **{"[CLS]": 2, "[SEP]": 3}), d.WordPiece())


@family
def bert_cased(corpus):
    normalizer = n.BertNormalizer(lowercase=False, clean_text=False, strip_accents=True)
    return word_piece(corpus, normalizer, x.BertProcessing(("[SEP]", 3), ("[CLS]", 2)), d.WordPiece(cleanup=False))


def charsmap(rules: dict[str, str]) -> str:
    """A SentencePiece character map. In its double array each node gets a block of 256 places of its own."""
    texts, units, blocks = b"", {0: 0}, 1

    def unit(position: int, **bits):
        units[position] = units.get(position, 0) | sum(bits.values())

    def build(position: int, keys: dict[bytes, int]):
        nonlocal blocks
        base = blocks * 256
        blocks += 1
        unit(position, offset=(position ^ base) << 10)
        if b"" in keys:
            unit(position, leaf=1 << 8)
            unit(base, value=keys[b""] | 1 << 31)
        for label in sorted({k[0] for k in keys if k}):
            unit(base ^ label, label=label)
            build(base ^ label, {k[1:]: v for k, v in keys.items() if k and k[0] == label})

    offsets = {}
    for key, text in rules.items():
        offsets[key.encode()] = len(texts)
        texts += text.encode() + b"\0"
    build(0, offsets)
    trie = struct.pack(f"<{blocks * 256}I", *(units.get(i, 0) for i in range(blocks * 256)))
    return base64.b64encode(struct.pack("<I", len(trie)) + trie + texts).decode()


RULES = {"ﬁ": "fi", "\u00a0": " ", "\t": " ", "①": "1", "½": "1/2", "e\u0301": "é", "Ａ": "A", "é": "e", "\u200d": "", "ก": "k", "日": "日本"}


@once
def unigram(corpus) -> Tokenizer:
    trainer = trainers.UnigramTrainer(
        vocab_size=700, show_progress=False, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", n_sub_iterations=1
    )
    return made(m.Unigram(), corpus[:1200], trainer, pre=p.Metaspace(), decoder=d.Metaspace())


@family
def t5(corpus):
    out = unigram(corpus)
    out.normalizer = n.Sequence([n.Precompiled(base64.b64decode(charsmap(RULES))), n.Replace(Regex(" {2,}"), " ")])
    out.pre_tokenizer = p.Sequence([p.WhitespaceSplit(), p.Metaspace(prepend_scheme="always")])
    out.post_processor = template("$A </s>", **{"</s>": 1})
    return out


@family
def nmt(corpus):
    out = unigram(corpus)
    out.normalizer = n.Sequence([n.Nmt(), n.NFKC(), n.Strip(right=False)])
    out.pre_tokenizer = p.Metaspace(prepend_scheme="never")
    out.decoder = d.Metaspace(prepend_scheme="never")
    return out


@family
def unigram_bytes(corpus):
    parts = json.loads(unigram(corpus).to_str())
    known = {token for token, _ in parts["model"]["vocab"]}
    parts["model"]["vocab"] += [[token, 0.0] for token in BYTES if token not in known]
    parts["model"]["byte_fallback"] = True
    parts["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, parts["decoder"]]}
    return Tokenizer.from_str(json.dumps(parts))


@family
def clip(corpus):
    pattern = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    return made(
        m.BPE(unk_token="<unk>", end_of_word_suffix="</w>"),
        corpus,
        bpe_trainer(initial_alphabet=p.ByteLevel.alphabet(), end_of_word_suffix="</w>"),
        normalizer=n.Sequence([n.NFC(), n.Replace(Regex(r"\s+"), " "), n.Lowercase()]),
        pre=p.Sequence([p.Split(Regex(pattern), "removed", invert=True), p.ByteLevel(add_prefix_space=False)]),
        decoder=d.BPEDecoder("</w>"),
        post=x.RobertaProcessing(("</s>", 2), ("<s>", 1), trim_offsets=False),
    )


@family
def subwords(corpus):
    """BPE with both marks, on words; the unknown characters are kept apart."""
    return made(
        m.BPE(unk_token="<unk>", continuing_subword_prefix="##", end_of_word_suffix="</w>"),
        corpus,
        bpe_trainer(continuing_subword_prefix="##", end_of_word_suffix="</w>"),
        normalizer=n.Sequence([n.Strip(), n.NFD(), n.StripAccents()]),
        pre=p.Whitespace(),
        decoder=d.BPEDecoder("</w>"),
    )


@family
def characters(corpus):
    """Most characters are unknown; no decoder."""
    pre = p.Sequence([p.Punctuation("contiguous"), p.Digits(), p.CharDelimiterSplit(" ")])
    return made(m.BPE(unk_token="<unk>", fuse_unk=False), corpus, bpe_trainer(limit_alphabet=60), pre=pre)


@family
def fused(corpus):
    pre = p.Sequence([p.Punctuation("merged_with_previous"), p.FixedLength(length=7)])
    model, trainer = m.BPE(unk_token="<unk>", fuse_unk=True), bpe_trainer(limit_alphabet=60)
    return made(model, corpus, trainer, normalizer=n.NFKD(), pre=pre, decoder=d.Fuse())


@family
def words(corpus):
    trainer = trainers.WordLevelTrainer(vocab_size=2000, show_progress=False, special_tokens=["<pad>", "<unk>"])
    decoder = d.CTC(pad_token="<pad>", word_delimiter_token="|")
    out = made(m.WordLevel(unk_token="<unk>"), corpus, trainer, normalizer=n.Lowercase(), pre=p.Whitespace(), decoder=decoder)
    out.add_tokens([AddedToken("The", single_word=True), AddedToken("ZZ", rstrip=True, lstrip=True), AddedToken("Café", normalized=True)])
    return out
