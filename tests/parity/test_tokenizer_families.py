"""Every kind of vocabulary and of part, against `tokenizers`: ids and texts of more than ten thousand lines each."""

import pytest
from support import lines, token_folder, unicode_classes, vocabularies
from tokenizers import Tokenizer


@pytest.fixture(scope="module")
def excluded(tmp_path_factory) -> set[int]:
    """Code points that the two sides' Unicode tables class differently."""
    home = tmp_path_factory.mktemp("classes")
    found = unicode_classes.differing(lambda t, rows: token_folder.encode(token_folder.write(t, home / "m"), rows))
    print(f"\n{len(found)} code points have another class in tokenizers' Unicode tables and in ours")
    wrong = {f"U+{c:04X}": sorted(names) for c, names in found.items() if unicode_classes.unchanged_since_3_2(c)}
    assert not wrong, f"no version of Unicode explains these: {dict(list(wrong.items())[:20])}"
    return set(found)


@pytest.fixture(scope="module")
def world(excluded) -> tuple[list[bytes], list[str]]:
    """The lines as bytes, and as the strings that `tokenizers` can take."""
    rows = lines.all_lines()
    texts = [row.decode(errors="replace") for row in rows]
    kept = [i for i, text in enumerate(texts) if not excluded.intersection(map(ord, text))]
    print(f"{len(rows) - len(kept)} of {len(rows)} lines hold one of them and are left out")
    assert len(kept) >= 10_000
    return [rows[i] for i in kept], [texts[i] for i in kept]


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


@pytest.mark.parametrize("name", ["llama3", "llama2", "bert", "t5"])
def test_ids_without_special_tokens(name, world, corpus, tmp_path):
    rows, texts = (part[:1000] for part in world)
    made = vocabularies.FAMILIES[name](corpus)
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
