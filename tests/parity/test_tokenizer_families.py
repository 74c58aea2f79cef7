"""Every kind of vocabulary and of part, against `tokenizers`: ids and texts of more than ten thousand lines each."""

import pytest
from support import token_folder, vocabularies
from tokenizers import Tokenizer


@pytest.fixture(scope="module")
def corpus(world) -> list[str]:
    return [text for text in world[1][:8000] if len(text) < 400][:4000]


def differences(ours: list, theirs: list, texts: list[str]) -> str:
    wrong = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    shown = "\n".join(f"{texts[i][:100]!r}: {str(ours[i])[:150]} not {str(theirs[i])[:150]}" for i in wrong[:3])
    return f"{len(wrong)} of {len(texts)} lines differ\n{shown}" if wrong else ""


@pytest.mark.parametrize("name", vocabularies.FAMILIES)
def test_ids_and_texts(name, world, corpus, tmp_path):
    rows, texts = world
    made = vocabularies.FAMILIES[name](corpus)
    folder = token_folder.write(made, tmp_path / "m")
    reference = Tokenizer.from_str(made.to_str())
    theirs = [e.ids for e in reference.encode_batch_fast(texts)]
    assert sum(map(len, theirs)) > 50_000
    wrong = differences(token_folder.encode(folder, rows), theirs, texts)
    assert not wrong, wrong
    for skip in (True, False):
        ours = token_folder.decode(folder, theirs, no_special=not skip)
        wrong = differences(ours, reference.decode_batch(theirs, skip_special_tokens=skip), texts)
        assert not wrong, f"decoding, skip_special_tokens {skip}: {wrong}"
    again = token_folder.written(folder)
    assert [e.ids for e in again.encode_batch_fast(texts[::8])] == theirs[::8]
    assert again.decode_batch(theirs[::8]) == reference.decode_batch(theirs[::8])


@pytest.mark.parametrize("name", ["llama3", "llama2", "bert", "t5"])
def test_ids_without_special_tokens(name, world, corpus, tmp_path):
    rows, texts = (part[:1000] for part in world)
    # As a file says it: training leaves another state behind than loading.
    made = vocabularies.with_parts(vocabularies.FAMILIES[name](corpus))
    folder = token_folder.write(made, tmp_path / "m")
    theirs = [e.ids for e in made.encode_batch(texts, add_special_tokens=False)]
    assert theirs != [e.ids for e in made.encode_batch(texts)]
    wrong = differences(token_folder.encode(folder, rows, no_special=True), theirs, texts)
    assert not wrong, wrong


def test_folders_of_vocab_and_merges(world, corpus, tmp_path):
    """GPT-2's older form: vocab.json and merges.txt."""
    rows, texts = (part[:2000] for part in world)
    made = vocabularies.FAMILIES["gpt2"](corpus)
    folder = tmp_path / "m"
    folder.mkdir()
    token_folder.weights(folder, "gpt2")
    made.model.save(str(folder))
    plain = vocabularies.with_parts(made, added_tokens=[])  # the two files do not name added tokens
    wrong = differences(token_folder.encode(folder, rows), [e.ids for e in plain.encode_batch(texts)], texts)
    assert not wrong, wrong
