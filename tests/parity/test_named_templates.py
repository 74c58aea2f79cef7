"""Models with several chat templates: chosen by name, kept by every export, recorded by a run; transformers reads the same."""

import json

import pytest
import tiny
from support import reference, smidgen

TEMPLATES = {
    "default": tiny.TEMPLATE,
    "brief": "{% for m in messages %}{{ m.role }}> {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant>{% endif %}",
    "tool_use": "{{ tools | length if tools else 'none' }}" + tiny.TEMPLATE,
}
TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "lori 12"}]


def as_files(folder):
    """As transformers 5 writes several."""
    more = folder / "additional_chat_templates"
    more.mkdir()
    (folder / "chat_template.jinja").write_text(TEMPLATES["default"])
    for name in ("brief", "tool_use"):
        (more / f"{name}.jinja").write_text(TEMPLATES[name])


def as_list(folder):
    """As transformers 4 did."""
    (folder / "chat_template.jinja").unlink()
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings["chat_template"] = [{"name": name, "template": text} for name, text in TEMPLATES.items()]
    path.write_text(json.dumps(settings))


FORMS = {"files": as_files, "list": as_list}


@pytest.fixture(params=FORMS)
def model(request, tmp_path):
    folder = smidgen.copy(tiny.model(), tmp_path / "m")
    FORMS[request.param](folder)
    return folder


def prompt_ids(model, **flags) -> list[int]:
    return smidgen.generate(model, TALK[1]["content"], max_new_tokens=0, greedy=True, **flags)["prompt_ids"]


def of_transformers(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_a_prompt_in_each_of_them(model):
    theirs = of_transformers(model)
    assert theirs.chat_template == TEMPLATES
    seen = set()
    for name in (None, *TEMPLATES):
        text = theirs.apply_chat_template(TALK, chat_template=name, tokenize=False, add_generation_prompt=True)
        flags = {"chat_template": name} if name else {}
        assert prompt_ids(model, system="Be brief.", **flags) == reference.encode(model, text), name
        seen.add(text)
    assert len(seen) == 3
    assert prompt_ids(model, chat_template="none") == prompt_ids(model, raw=True)


def test_chat_takes_the_name_too(model):
    told = {}
    for name in ("default", "brief"):
        told[name] = smidgen.ok("chat", model, chat_template=name, greedy=True, max_new_tokens=4, json=True, stdin="lori 12\n").stdout
    ids = smidgen.generate(model, "lori 12", chat_template="brief", greedy=True, max_new_tokens=4)["ids"]
    assert json.loads(told["brief"])["ids"] == ids
    assert told["brief"] != told["default"]


@pytest.mark.parametrize("verb", ["generate", "chat", "eval"])
def test_an_unknown_name_is_an_error_with_the_nearest(verb, model):
    flags = {"prompt": "a"} if verb == "generate" else {"data": tiny.data(2)} if verb == "eval" else {}
    done = smidgen.call(verb, model=model, chat_template="breif", stdin="a\n", **flags)
    assert done.returncode == 2, done.stderr
    assert "no chat template 'breif'" in done.stderr and "'brief'" in done.stderr, done.stderr


def test_wrong_calls(model):
    assert smidgen.call("generate", model=model, prompt="a", raw=True, chat_template="brief").returncode == 2
    assert smidgen.call("generate", model=model, prompt="a", system="b", chat_template="none").returncode == 2


def test_exports_keep_all(model, tmp_path):
    smidgen.ok("export", model=model, format="hf", out=tmp_path / "hf")
    assert of_transformers(tmp_path / "hf").chat_template == TEMPLATES
    smidgen.ok("export", model=model, format="gguf", out=tmp_path / "m.gguf")
    fields = reference.gguf_fields(tmp_path / "m.gguf")
    assert fields["tokenizer.chat_template"] == TEMPLATES["default"]
    assert sorted(fields["tokenizer.chat_templates"]) == ["brief", "tool_use"]
    assert {name: fields[f"tokenizer.chat_template.{name}"] for name in ("brief", "tool_use")} == {
        name: TEMPLATES[name] for name in ("brief", "tool_use")
    }
    smidgen.ok("export", model=tmp_path / "m.gguf", format="hf", out=tmp_path / "back")
    assert of_transformers(tmp_path / "back").chat_template == TEMPLATES
    for name in TEMPLATES:
        wanted = prompt_ids(model, chat_template=name)
        assert prompt_ids(tmp_path / "m.gguf", chat_template=name) == wanted
        assert prompt_ids(tmp_path / "back", chat_template=name) == wanted


def test_a_run_records_its_template_and_goes_on_with_it(model, tmp_path):
    run = tmp_path / "run"
    smidgen.tune(model, tiny.data(8), run, chat_template="brief", max_steps=2, save_every=1)
    card = json.loads((run / "adapter" / "smidgen.json").read_text())
    assert card["chat_template"] == TEMPLATES["brief"]
    done = smidgen.call("tune", run / "recipe.yaml", resume=True, chat_template="tool_use", timeout=240)
    assert done.returncode != 0 and "chat_template" in done.stderr, done.stderr
    smidgen.ok("tune", run / "recipe.yaml", resume=True, timeout=240)
    assert json.loads((run / "adapter" / "smidgen.json").read_text())["chat_template"] == TEMPLATES["brief"]
