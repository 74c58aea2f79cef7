"""Goldens for smidgen/text/tokenizer_test.cpp: tiny byte-level vocabularies trained on the spot with Hugging Face
tokenizers, and the ids they give for odd texts.

    python scripts/golden/tokenizer.py     writes smidgen/text/testdata/tokenizer_*.json
"""
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = pathlib.Path(__file__).resolve().parents[2] / "smidgen/text/testdata"
CORPUS = ["the cat sat on the mat, then the other cat sat there too.", "def add(a, b):\n    return a + b\n",
          "Grüße aus Köln — ein schöner Tag", "numbers 12345 and 2024-11-24", "you're we'll they've I'd it's"] * 4
TEXTS = ["", " ", "  ", "the cat", " the  cat ", "the\n\ncat\n", "12345 0.5 x2y", "Gru\u0308\u00dfe \u212b e\u0301", "don't WE'LL it's",
         "<|end|>the<|end|>", "a <mask> b", "a<mask>b", "word  <pad> cat", "\u00e9\u0301 \u4e2d\u6587 \U0001f600\u200d\u2764\ufe0f", "\x00\x01\x7f\x85",
         "\u00a0\u3000\u180e\u2028x", "\u0663\u00bd\u2167\uff17", "tthhee" * 40, "the" * 60 + " " + "cat" * 60, "\r\n\t \r", "<|en", "<|end|", "_x_ a.b"]
PLAIN = lambda prefix=False: pre_tokenizers.ByteLevel(add_prefix_space=prefix)
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SETUPS = {
    "digits": (None, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), PLAIN()]), False),
    "prefix": (None, PLAIN(True), True),
    "split": (normalizers.NFC(), pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN), "isolated"),
                                                          pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), False),
}
for name, (normalizer, pre, bos) in SETUPS.items():
    t = Tokenizer(models.BPE())
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=360, special_tokens=["<|end|>"], show_progress=False,
                                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_special_tokens([AddedToken("<pad>", lstrip=True, rstrip=True, special=True)])
    t.add_tokens([AddedToken("<mask>", single_word=True, normalized=False)])
    if bos:
        t.post_processor = processors.TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])
    cases = [{"text": x, "ids": t.encode(x).ids, "plain": t.encode(x, add_special_tokens=False).ids,
              "decoded": t.decode(t.encode(x).ids, skip_special_tokens=False)} for x in TEXTS]
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"tokenizer_{name}.json").write_text(json.dumps({"tokenizer": json.loads(t.to_str()), "cases": cases}, ensure_ascii=True) + "\n")
