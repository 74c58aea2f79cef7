"""Ids and chat templates against the public libraries: tokenizers and jinja2."""

import json
import random
import sysconfig
from pathlib import Path

import pytest
import tiny
from support import lines as common
from support import reference, smidgen

LINES = 10_000
# Beside the pieces that go wrong first everywhere, text that looks like SmolLM2's special tokens.
ODD = [*common.ODD, "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start", "|>", "<|endoftext|", "1e-9", "x86_64", "İ", "ẞ"]


def documents() -> list[Path]:
    """Text files of the machine: Python's library (code) and Debian's documentation (prose, names, tables)."""
    code = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    prose = sorted(p for p in Path("/usr/share/doc").glob("*/copyright") if p.is_file())
    notes = sorted(p for p in Path("/usr/share/doc").glob("*/README*") if p.suffix != ".gz" and p.is_file())
    return code + prose + notes


def synthetic(count: int, seed: int) -> list[str]:
    return common.synthetic(count, seed, ODD)


def lines() -> list[str]:
    pick = random.Random(1)
    real = []
    for path in documents():
        real += path.read_text(encoding="utf-8", errors="ignore").split("\n")
    real = sorted({r for r in real if r.strip()})
    out = pick.sample(real, min(len(real), LINES - 3000)) + synthetic(3000, 2)
    out += synthetic(max(0, LINES - len(out)), 4)
    out += ["", " ", "a", *ODD]
    return out


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    rows = lines()
    assert len(rows) >= LINES
    path, text = tmp_path_factory.mktemp("lines") / "lines.txt", "\n".join(rows) + "\n"
    path.write_bytes(text.encode())
    return path, text


def first_difference(ours: list[int], theirs, text: str) -> str | None:
    """Where two id sequences part, with the text around it."""
    for k, (a, b) in enumerate(zip(ours, theirs.ids)):
        if a != b:
            start, _ = theirs.offsets[k]
            return f"token {k} is {a}, not {b}, at {text[max(0, start - 30) : start + 30]!r}"
    return None if len(ours) == len(theirs.ids) else f"{len(ours)} ids, not {len(theirs.ids)}"


@pytest.mark.parametrize("which", ["real", "tiny folder", "tiny gguf"])
def test_ten_thousand_lines(which, text_file, request):
    """One text of ten thousand lines: where a line ends, what precedes the next is part of the comparison."""
    model = {"tiny folder": tiny.model, "tiny gguf": tiny.gguf}.get(which, lambda: request.getfixturevalue("smollm2"))()
    path, text = text_file
    theirs = reference.tokenizer(model).encode(text, add_special_tokens=False)
    assert len(theirs.ids) > 200_000
    wrong = first_difference(smidgen.tokenize_file(model, path, no_special=True), theirs, text)
    assert wrong is None, wrong


def test_lines_by_themselves(smollm2):
    """Texts that begin and end where a line does, each in a call of its own."""
    for text in synthetic(25, 6):
        text = text.replace("\x00", "")
        assert smidgen.tokenize(smollm2, text, no_special=True) == reference.encode(smollm2, text), repr(text)


def test_whole_documents(smollm2, tmp_path):
    """Line ends inside a text: runs of blank lines, indentation after them, Windows line ends, no end at the end."""
    texts = ["a\n\n\n  b\n", "\n", "\n\n", " \n ", "a\r\nb\r\n\r\n  c", "x \n\t\n y", "1\n2\n\n3  \n", "\n" * 50 + "end"]
    pick = random.Random(5)
    for path in pick.sample(documents(), 8):
        texts.append(path.read_text(encoding="utf-8", errors="ignore")[: pick.choice([200, 3000, 30000])])
    for text in texts:
        (tmp_path / "t.txt").write_bytes(text.encode())
        ours = smidgen.tokenize_file(smollm2, tmp_path / "t.txt", no_special=True)
        assert ours == reference.encode(smollm2, text), repr(text[:80])


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
TALKS = [(None, "Hi"), ("Be brief.", "  spaces  \n\nand lines\t"), ("", "' \" {{ braces }} {% raw %} 日本 👍🏽 <b>&amp;</b>")]
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
    """The ids of a prompt are those of the text that jinja2 renders, up to where the assistant speaks."""
    if name == "smollm2":
        model = request.getfixturevalue("smollm2")
        template = reference.chat_template(model)
    else:
        template = TEMPLATES[name]
        model = folder_with(template, tmp_path / "m")
    for system, prompt in TALKS:
        turns = [{"role": "system", "content": system}] if system is not None else []
        text = reference.render(template, [*turns, {"role": "user", "content": prompt}], True)
        ours = smidgen.generate(model, prompt, system=system, max_new_tokens=0, greedy=True)
        assert ours["prompt_ids"] == reference.encode(model, text), repr(text)


def test_a_template_that_refuses_says_so(tmp_path):
    """raise_exception in a template becomes an error with the template's own words."""
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}x"
    model = folder_with(template, tmp_path / "m")
    done = smidgen.call("generate", model=model, system="a", prompt="b", max_new_tokens=0)
    assert done.returncode == 1
    assert "System role not supported" in done.stderr


# ---------------------------------------------------------------------------------------------- what training sees
LONGER = [("user", "ka"), ("assistant", "lori"), ("user", "in 12"), ("assistant", " sel\n"), ("user", "un"), ("assistant", "x")]


@pytest.mark.parametrize("kind", ["messages", "prompt", "text", "longer"])
def test_samples_are_those_of_the_reference(kind, tmp_path):
    """Sum of losses and count of answer tokens, sample by sample: another id or another target shows in either."""
    import torch

    folder, data = tiny.model(), tmp_path / "longer.jsonl"
    if kind == "longer":
        tiny.write_jsonl(data, [{"messages": [{"role": r, "content": c} for r, c in LONGER[:n]]} for n in (2, 4, 6)])
    else:
        data = tiny.data(24, kind)
    smidgen.evaluate(folder, data, dtype="fp32", per_sample=tmp_path / "each.jsonl")
    ours = smidgen.json_lines((tmp_path / "each.jsonl").read_text())
    model = reference.llama(folder, torch.float64)
    for row, sample in zip(ours, reference.samples(folder, data), strict=True):
        with torch.no_grad():
            losses = reference.token_losses(model, sample["ids"])
        wanted = float((losses * torch.tensor(sample["answer"][1:])).sum())
        assert row["tokens"] == sum(sample["answer"][1:]), row["where"]
        assert row["loss_sum"] == pytest.approx(wanted, rel=2e-5), row["where"]


def test_the_reference_marks_what_it_should():
    """Only the assistant's words and the end of its turn are targets; a text is ended."""
    folder = tiny.model()
    (sample,) = reference.samples(folder, tiny.data(1))
    learned = [i for i, m in zip(sample["ids"], sample["answer"]) if m]
    answer = tiny.samples(1)[0]["messages"][1]["content"]
    assert tiny.tokenizer().decode(learned, skip_special_tokens=False) == answer + "<|im_end|>"
    (sample,) = reference.samples(folder, tiny.data(1, "text"))
    assert sample["ids"][-1] == 2 and sample["answer"] == [0] + [1] * (len(sample["ids"]) - 1)
