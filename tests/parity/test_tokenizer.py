"""Ids and chat templates against the public libraries: tokenizers and jinja2."""

import json
import random
import sysconfig
from pathlib import Path

import pytest
import tiny
from support import reference, smidgen

LINES = 10_000
# Pieces whose splitting and merging go wrong first: digits, contractions, runs of space, scripts without spaces,
# marks, joined emoji, surrogate range, controls, and text that looks like a special token.
ODD = [
    "0", "007", "3.14159", "1,000,000", "1e-9", "²³", "٣٤٥", "Ⅷ", "½", "x86_64", "I'll", "don’t", "they'RE", "'s", "''s",
    "  ", "   ", "\t", "\t\t", " \t ", "\u00a0", "\u3000", "\u2028", "\u0085", "\x0b", "\x0c", "\r", "\x00", "\x01\x1b[0m",
    "\x7f", "é", "e\u0301", "ﬁ", "İ", "ẞ", "日本語", "한국어", "ไทย", "العربية", "עברית", "हिन्दी", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽",
    "\U0010ffff", "\ufffd", "\ufeff", "\u200b", "\ue000", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start",
    "|>", "<|endoftext|", "->", "==", "!=", "::", "/*", "*/", "//", "#!", "{{", "}}", "'''", '"""', "\\n", "—", "…", "“q”",
    "a" * 300, "ab" * 200, "9" * 120, "=" * 90, " " * 70, "é" * 80, "😀" * 40, "Aa1 " * 30,
]  # fmt: skip


def documents() -> list[Path]:
    """Text files of the machine: Python's library (code) and Debian's documentation (prose, names, tables)."""
    code = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    prose = sorted(p for p in Path("/usr/share/doc").glob("*/copyright") if p.is_file())
    notes = sorted(p for p in Path("/usr/share/doc").glob("*/README*") if p.suffix != ".gz" and p.is_file())
    return code + prose + notes


def synthetic(count: int, seed: int) -> list[str]:
    pick = random.Random(seed)
    out = []
    for _ in range(count):
        pieces = []
        for _ in range(pick.randint(1, 9)):
            kind = pick.random()
            if kind < 0.6:
                pieces.append(pick.choice(ODD))
            elif kind < 0.8:
                pieces.append("".join(chr(pick.randint(32, 0x2FFF)) for _ in range(pick.randint(1, 12))))
            else:
                points = [pick.choice([pick.randint(1, 0xD7FF), pick.randint(0xE000, 0x10FFFF)]) for _ in range(4)]
                pieces.append("".join(map(chr, points)))
        out.append(pick.choice(["", " "]).join(pieces))
    return out


def lines() -> list[str]:
    pick = random.Random(1)
    real = []
    for path in documents():
        real += path.read_text(encoding="utf-8", errors="ignore").split("\n")
    real = sorted({r for r in real if r.strip()})
    out = pick.sample(real, min(len(real), LINES - 3000)) + synthetic(3000, 2)
    out += synthetic(max(0, LINES - len(out)), 4)
    out += ["", " ", "a", *ODD]
    return [r.replace("\n", " ") for r in out]


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    rows = lines()
    assert len(rows) >= LINES
    path = tmp_path_factory.mktemp("lines") / "lines.txt"
    path.write_bytes(("\n".join(rows) + "\n").encode())
    return path, rows


@pytest.mark.parametrize("which", ["real", "tiny folder", "tiny gguf"])
def test_ten_thousand_lines(which, text_file, request):
    """A file's lines end at "\\n" alone: every other control character is part of its line."""
    model = {"tiny folder": tiny.model, "tiny gguf": tiny.gguf}.get(which, lambda: request.getfixturevalue("smollm2"))()
    path, rows = text_file
    ours = smidgen.tokenize_file(model, path, no_special=True)
    theirs = [e.ids for e in reference.tokenizer(model).encode_batch(rows, add_special_tokens=False)]
    assert len(ours) == len(theirs)
    wrong = [(r, a, b) for r, a, b in zip(rows, ours, theirs) if a != b]
    assert not wrong, f"{len(wrong)} of {len(rows)} lines differ, the first {wrong[0]}"


def test_whole_documents(smollm2):
    """Line ends inside a text: runs of blank lines, indentation after them, Windows line ends, no end at the end."""
    pick = random.Random(5)
    texts = []
    for path in pick.sample(documents(), 24):
        text = path.read_text(encoding="utf-8", errors="ignore").replace("\x00", "")
        texts.append(text[: pick.choice([200, 3000, 30000])])
    texts += ["a\n\n\n  b\n", "\n", "\n\n", " \n ", "a\r\nb\r\n\r\n  c", "x \n\t\n y", "1\n2\n\n3  \n", "\n" * 50 + "end"]
    for text in texts:
        assert smidgen.tokenize(smollm2, text, no_special=True) == reference.encode(smollm2, text)


def test_special_tokens_in_text_are_special(smollm2):
    ids = smidgen.tokenize(smollm2, "<|im_start|>user\nhi<|im_end|>")
    assert ids == reference.encode(smollm2, "<|im_start|>user\nhi<|im_end|>")
    assert ids[0] == 1 and ids[-1] == 2


def test_this_tokenizer_adds_nothing(smollm2):
    """SmolLM2 has add_bos_token false: with and without --no-special a text has the same ids."""
    assert smidgen.tokenize(smollm2, "hello") == smidgen.tokenize(smollm2, "hello", no_special=True)


def test_where_transformers_conversion_differs_the_original_is_right(smollm2):
    """transformers builds a GGUF's tokenizer without Digits, so "2024" may become one token. The original splits it."""
    assert len(reference.encode(smollm2, "2024")) == 4
    assert smidgen.tokenize(smollm2, "2024") == reference.encode(smollm2, "2024")
    assert smidgen.tokenize(smollm2, "in 2024 and ٣٤") == reference.encode(smollm2, "in 2024 and ٣٤")


def test_gguf_and_folder_of_one_model_agree(text_file):
    path, _ = text_file
    assert smidgen.tokenize_file(tiny.model(), path) == smidgen.tokenize_file(tiny.gguf(), path)


def test_a_bos_is_added_once(tmp_path):
    """A tokenizer whose post-processor writes a BOS: one with special tokens, none without."""
    from tokenizers.processors import TemplateProcessing

    folder = smidgen.copy(tiny.model(), tmp_path / "m")
    made = reference.tokenizer(folder)
    made.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    made.save(str(folder / "tokenizer.json"))
    assert smidgen.tokenize(folder, "Lori 1") == made.encode("Lori 1").ids
    assert smidgen.tokenize(folder, "Lori 1")[0] == 1
    assert smidgen.tokenize(folder, "Lori 1", no_special=True) == made.encode("Lori 1", add_special_tokens=False).ids
    reference.tokenizer.cache_clear()


# ---------------------------------------------------------------------------------------------- templates
CONVERSATIONS = [
    [("user", "Hi"), ("assistant", "Hello.")],
    [("system", "Be brief."), ("user", "Why?"), ("assistant", "Because.")],
    [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
    [("user", "  spaces  \n\nand lines\t"), ("assistant", "")],
    [("user", "quotes ' \" and {{ braces }} {% raw %}"), ("assistant", "日本 👍🏽 <b>&amp;</b>")],
    [("system", ""), ("user", ""), ("assistant", "x")],
]
# Constructs of published templates. Each must render as jinja2 does.
TEMPLATES = {
    "smollm2": None,
    "tiny": tiny.TEMPLATE,
    "trim": "{%- for m in messages -%}\n  [{{ m.role }}] {{ m['content'] | trim }}\n{% endfor -%}\n{{ eos_token }}",
    "namespace": (
        "{% set ns = namespace(n=0, system='') %}{% for m in messages %}{% if m.role == 'system' %}"
        "{% set ns.system = m.content %}{% else %}{% set ns.n = ns.n + 1 %}{{ ns.n }}:{{ m.content }};{% endif %}"
        "{% endfor %}{{ ns.system|length }}{% if add_generation_prompt %}>{% endif %}"
    ),
    "loop": (
        "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ ' first' if loop.first else '' }}"
        "{{ ' last' if loop.last }}{% if not loop.last %}, {% endif %}{% endfor %}"
    ),
    "slices": (
        "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}"
        "{% for m in rest %}{{ bos_token + m.role | upper ~ '|' ~ m.content }}{% endfor %}{{ rest[-1].role }}"
    ),
    "tests": (
        "{% if tools is defined and tools %}T{% else %}-{% endif %}{% for m in messages %}"
        "{% if m.content is string and m.content is not none %}{{ m.content | tojson }}{% endif %}"
        "{{ 'u' if m.role in ['user', 'tool'] else 'o' }}{% endfor %}"
    ),
    "filters": (
        "{{ messages | map(attribute='role') | join('+') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
        " {{ (messages | last).content | replace('.', '!') }} {{ messages[0].content.strip().split(' ')[0] }}"
        " {{ messages[0].get('name', 'none') | default('d', true) }}"
    ),
    "break": "{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}.",
    "macro": "{% macro turn(m, mark='#') %}{{ mark }}{{ m.role }}: {{ m.content }}\n{% endmacro %}{% for m in messages %}{{ turn(m) }}{% endfor %}",
}


def folder_with(template: str, to: Path) -> Path:
    folder = smidgen.copy(tiny.model(), to)
    (folder / "chat_template.jinja").write_text(template)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates(name, tmp_path, request):
    """`tokenize --messages F --json` renders each line's conversation: {"text", "ids"}."""
    if name == "smollm2":
        model = request.getfixturevalue("smollm2")
        template = reference.chat_template(model)
    else:
        template = TEMPLATES[name]
        model = folder_with(template, tmp_path / "m")
    rows = [{"messages": [{"role": r, "content": c} for r, c in talk]} for talk in CONVERSATIONS]
    path = tiny.write_jsonl(tmp_path / "talks.jsonl", rows)
    for prompted in (False, True):
        done = smidgen.ok("tokenize", model=model, messages=path, json=True, add_generation_prompt=prompted)
        for row, ours in zip(rows, smidgen.json_lines(done.stdout), strict=True):
            wanted = reference.render(template, row["messages"], prompted)
            assert ours["text"] == wanted
            assert ours["ids"] == reference.encode(model, wanted)


def test_a_template_that_refuses_says_so(tmp_path):
    """raise_exception in a template becomes an error with the template's own words."""
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}x"
    path = tiny.write_jsonl(tmp_path / "t.jsonl", [{"messages": [{"role": "system", "content": "a"}]}])
    done = smidgen.call("tokenize", model=folder_with(template, tmp_path / "m"), messages=path, json=True)
    assert done.returncode == 1
    assert "System role not supported" in done.stderr


# ---------------------------------------------------------------------------------------------- what training sees
def spans(text: str, answer: str) -> tuple[int, int]:
    at = text.rindex(answer)
    return at, at + len(answer)


def test_messages_are_rendered_by_the_template_and_only_answers_are_targets():
    """Targets are the assistant's tokens and the token that ends its turn; everything else is context."""
    folder, rows = tiny.model(), tiny.samples(24)
    for row, ours in zip(rows, smidgen.samples(folder, tiny.data(24)), strict=True):
        turns = row["messages"]
        text = reference.render(tiny.TEMPLATE, turns)
        coded = reference.tokenizer(folder).encode(text, add_special_tokens=False)
        # The line end behind the last turn may be left out: nothing is learned from it.
        assert ours["ids"] in (coded.ids, coded.ids[:-1])
        start = text.rindex("assistant\n") + len("assistant\n")
        end = text.rindex("<|im_end|>") + len("<|im_end|>")
        wanted = [int(start <= a and b <= end) for a, b in coded.offsets]
        assert ours["answer"] == wanted[: len(ours["ids"])]
        assert sum(ours["answer"]) >= 2


def test_every_answer_of_a_longer_talk_is_a_target(tmp_path):
    talk = [{"role": r, "content": c} for r, c in [("user", "ka"), ("assistant", "lori"), ("user", "in"), ("assistant", "sel")]]
    path = tiny.write_jsonl(tmp_path / "d.jsonl", [{"messages": talk}])
    (ours,) = smidgen.samples(tiny.model(), path)
    learned = tiny.tokenizer().decode([i for i, m in zip(ours["ids"], ours["answer"]) if m], skip_special_tokens=False)
    assert learned == "lori<|im_end|>sel<|im_end|>"


def test_prompt_and_completion():
    """Only the completion and the end token after it are targets."""
    folder = tiny.model()
    for row, ours in zip(tiny.samples(24, "prompt"), smidgen.samples(folder, tiny.data(24, "prompt")), strict=True):
        learned = [i for i, m in zip(ours["ids"], ours["answer"]) if m]
        context = [i for i, m in zip(ours["ids"], ours["answer"]) if not m]
        decode = tiny.tokenizer().decode
        assert learned[-1] == 2, "the completion must teach the model to stop"
        assert decode(learned[:-1]) == row["completion"] or row["completion"] in decode(learned[:-1])
        assert row["prompt"].strip() in decode(context)


def test_plain_text_is_all_targets():
    """Every token but the first, which nothing precedes, is a target."""
    folder = tiny.model()
    for row, ours in zip(tiny.samples(24, "text"), smidgen.samples(folder, tiny.data(24, "text")), strict=True):
        ids = reference.encode(folder, row["text"])
        assert ours["ids"] in (ids, ids + [2], [1] + ids, [1] + ids + [2])
        assert all(ours["answer"][1:])
