"""Vocabularies of small models merged by mergekit 0.1.5 and by smidgen: tokens, where each model has them, and every row.

Ids of new tokens depend on the order of a hash table in mergekit, so tokens are compared by their spelling.
"""

import json

import pytest
import torch
import yaml
from support import merges, smidgen
from support import vocabularies_merged as v
from tokenizers import AddedToken, Tokenizer

LINES = [*sum(v.TEXTS.values(), []), "tool xx <|end|> hello<|eot|> <new>catsea", "The  CAT\n\tsat, é 東"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """a, b and c with other texts, special and added tokens; c has a head of its own; u is of another kind."""
    home = tmp_path_factory.mktemp("models")
    made = {
        "a": v.train(v.TEXTS["animals"], 285, ["<|end|>", "<pad>"], ["tool"]),
        "b": v.train(v.TEXTS["places"], 290, ["<|eot|>", "<|end|>"], [AddedToken("xx", lstrip=True)]),
        "c": v.train(v.TEXTS["numbers"] + v.TEXTS["animals"], 300, ["<|end|>"], ["tool", "two"]),
        "u": v.train(v.TEXTS["animals"] * 3, 40, ["<|end|>"], kind="unigram"),
    }
    return {
        name: v.write(home / name, tokenizer, seed=i, head=name == "c", eos="<|end|>")
        for i, (name, tokenizer) in enumerate(made.items())
    }


def case(names, base=None, setting=None):
    return names, base, setting or {"source": "union"}


def token_of(model, token):
    return {"source": {"kind": "model_token", "model": model, "token": token}}


CASES = {
    "union of two": case("ab"),
    "union with a base": case("ab", 0),
    "the base is the second": case("ab", 1),
    "union of three, no base": case("abc"),
    "union of three": case("abc", 0),
    "kinds that differ": case("au", 0),
    "base": case("abc", 0, {"source": "base"}),
    "a model's": case("abc", 0, {"source": "c"}),
    "padded": case("abc", 0, {"source": "base", "pad_to_multiple_of": 64}),
    "padded union": case("ab", None, {"source": "union", "pad_to_multiple_of": 7}),
    "zero, forced": case("ab", 0, {"tokens": {"<|end|>": {"source": {"kind": "zero"}, "force": True}, "tool": {"source": {"kind": "zero"}}}}),
    "a model's row, forced": case("abc", 0, {"tokens": {"the": {"source": "b", "force": True}, "<|end|>": {"source": "b"}}}),
    # Of the base under its name: mergekit has no ids for tokens that `tokens` adds to source: base.
    "other tokens' rows": case(
        "abc", 0, {"source": "a", "tokens": {"<new>": token_of("b", "<|eot|>"), "<pad>": token_of("a", "tool"), "<7>": {"source": {"kind": "model_token", "model": "c", "token_id": 7}}}}
    ),
    "a new token nobody has": case("ab", 0, {"tokens": {"<nobody>": {"source": {"kind": "zero"}}}}),
}


def named(setting, models):
    """The recipe's names as folders."""

    def place(value):
        if isinstance(value, dict):
            return {key: place(item) for key, item in value.items()}
        return str(models[value]) if value in models else value

    return place(setting)


@pytest.mark.parametrize("name", CASES)
def test_rows_equal(name, models, tmp_path):
    names, base, setting = CASES[name]
    folders = [models[n] for n in names]
    setting = named(setting, models)
    ours = v.ours(folders, setting, base, out=tmp_path / "out")
    assert "error" not in ours, ours
    info, refs, rows = v.theirs(folders, setting, base)

    their_ids = info.tokenizer.get_vocab()
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    our_ids = tokenizer.get_vocab()
    assert set(our_ids) == set(their_ids)
    donor = Tokenizer.from_file(str(folders[base or 0] / "tokenizer.json")).get_vocab()
    if setting.get("source", "union") in ("union", "base"):
        assert all(our_ids[token] == id for token, id in donor.items())

    for m, ref in enumerate(refs):
        assert {t: ours["old_ids"][m][i] for t, i in our_ids.items()} == {t: info.permutations[ref][i] for t, i in their_ids.items()}
        for tensor in rows:
            got = torch.tensor(ours["models"][m][tensor])
            want = rows[tensor][m]
            assert got.shape == want.shape
            mine = torch.stack([got[our_ids[t]] for t in their_ids])
            reference = torch.stack([want[i] for i in their_ids.values()])
            assert (mine - reference).abs().max() <= 1e-6 * reference.abs().max()
            assert torch.allclose(got[len(our_ids):], want[len(their_ids):], atol=1e-6, rtol=0)
        assert set(rows) == {t for t in ours["models"][m] if t in (v.EMBEDDING, v.HEAD)}

    # The same text is cut into the same tokens.
    backend = info.tokenizer._tokenizer
    for line in LINES:
        assert tokenizer.encode(line).tokens == backend.encode(line).tokens, line


def test_the_cases_can_fail(models):
    """Another base gives other rows, so that the comparison above sees who fills a row."""
    folders = [models[n] for n in "abc"]
    one, two = (v.ours(folders, {"source": "union"}, base) for base in (0, None))
    assert one["models"][1] != two["models"][1]


def test_ids_beyond_the_rows(models, tmp_path):
    """The base's padding tokens go; those of others count as absent, where mergekit has no answer for them."""
    tokenizer = Tokenizer.from_file(str(models["a"] / "tokenizer.json"))
    rows = tokenizer.token_to_id("tool")
    cut = v.write(tmp_path / "cut", tokenizer, seed=9, rows=rows)
    info, refs, _ = (*v.theirs([cut], {"source": "base"}, 0)[:2], None)
    ours = v.ours([cut, models["b"]], {"source": "base"}, 0, out=tmp_path / "out")
    written = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).get_vocab()
    assert written == info.tokenizer.get_vocab() and "tool" not in written
    assert any("1 tokens of" in note and f"have ids from {rows} on" in note for note in ours["notes"])
    ours = v.ours([models["b"], cut], {"source": "union"}, 0, out=tmp_path / "union")
    assert "tool" not in Tokenizer.from_file(str(tmp_path / "union" / "tokenizer.json")).get_vocab()
    assert ours["old_ids"][1].count(-1) > 0


def test_transformers_reads_what_is_written(models, tmp_path):
    from transformers import AutoTokenizer

    ours = v.ours([models["a"], models["b"]], {"source": "union"}, 0, out=tmp_path / "out", template="chatml")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer) == ours["ids"]
    assert tokenizer.eos_token == "<|end|>"
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "the cat"}], tokenize=False)
    assert chat == "<|im_start|>user\nthe cat<|im_end|>\n"
    # mergekit makes special tokens of other models ordinary ones.
    added = {t["content"]: t["special"] for t in json.loads((tmp_path / "out" / "tokenizer.json").read_text())["added_tokens"]}
    assert added["<|eot|>"] is True and added["xx"] is False


def render(template, messages, prompt):
    from transformers.utils.chat_template_utils import render_jinja_template

    texts, _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>")
    return texts[0]


TALK = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("name", ["chatml", "mistral", "llama3", "exaone", "alpaca"])
def test_built_in_templates(name, first, prompt, models, tmp_path):
    import importlib.resources

    import mergekit._data.chat_templates

    theirs = (importlib.resources.files(mergekit._data.chat_templates) / f"{name}.jinja").read_text()
    v.ours([models["a"]], {"source": "base"}, 0, out=tmp_path / "out", template=name)
    ours = (tmp_path / "out" / "chat_template.jinja").read_text()
    messages = [{"role": role, "content": content} for role, content in TALK[first:]]
    one, two = render(ours, messages, prompt), render(theirs, messages, prompt)
    if name in ("llama3", "exaone", "alpaca"):
        # mergekit's have white space between turns that the models were not trained with; its alpaca ends no answer.
        one, two = ("".join(text.split()) for text in (one, two))
    if name == "alpaca":
        one = one.replace("</s>", "")
    assert one == two


@pytest.mark.parametrize("options", [{"neighbours": 8}, {"neighbours": 3, "cosine": True}, {"method": "subword"}, {"method": "zero"}])
@pytest.mark.parametrize("pair", ["ab", "cb"])
def test_transplants_are_tokensurgeons(pair, options, models):
    """The rows that mergekit's tokensurgeon makes for tokens that the model lacks."""
    from mergekit.common import ModelPath, ModelReference
    from mergekit.scripts.tokensurgeon import ApproximationMethod, TokenSurgeonOptions, compute_new_embeddings
    from mergekit.tokenizer.normalization import normalized_vocabulary
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    model, donor = (models[name] for name in pair)
    ours = v.transplanted(model, donor, **options)
    assert "error" not in ours, ours
    method = {"subword": ApproximationMethod.SUBWORD, "zero": ApproximationMethod.ZERO}
    wanted = TokenSurgeonOptions(
        model=ModelReference(model=ModelPath(path=str(model))),
        donor=ModelReference(model=ModelPath(path=str(donor))),
        out_path="unused",
        method=method.get(options.get("method"), ApproximationMethod.COMMON_INTERPOLATION),
        k=options.get("neighbours", 64),
        cosine_similarity=options.get("cosine", False),
    )
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (model, donor)]
    vocabs = [normalized_vocabulary(tokenizer) for tokenizer in tokenizers]
    files = [load_file(folder / "model.safetensors") for folder in (model, donor)]
    # Tokens of bytes that are no text by themselves are encoded in their spelling there.
    new = [t for t in vocabs[1] if t not in vocabs[0] and (t if isinstance(t, str) else t[1]).isascii()]
    assert len(new) > 5
    for name in files[0]:
        embeds = [f.get(name, f[v.EMBEDDING]) for f in files]
        rows = compute_new_embeddings(*embeds, *vocabs, new, name == v.HEAD, None, tokenizers[0], wanted)
        mine = torch.tensor(ours["models"][0][name])
        got = torch.stack([mine[vocabs[1][token]] for token in new])
        assert (got - rows).abs().max() <= 2e-6 * embeds[0].abs().max()
        kept = [token for token in vocabs[1] if token in vocabs[0]]
        assert torch.equal(torch.stack([mine[vocabs[1][t]] for t in kept]), torch.stack([embeds[0][vocabs[0][t]] for t in kept]))


# ------------------------------------------------------------------------------ whole merges, by the command
OWN, OTHER = ("{% for m in messages %}" + mark + "{{ m.content }}{% endfor %}" for mark in ("own ", "other "))


@pytest.fixture(scope="module")
def whole(models, tmp_path_factory):
    """Llama models with the tokenizers of `models`; c's head is its own."""
    home = tmp_path_factory.mktemp("whole")
    templates = {"a": None, "b": OTHER, "c": OTHER, "u": OWN}
    return {
        name: v.write_whole(home / name, Tokenizer.from_file(str(folder / "tokenizer.json")), seed=i, head=name == "c", template=templates[name])
        for i, (name, folder) in enumerate(models.items())
    }


def recipe(method, names, base=None, *, weights=(0.5, 0.3, 0.4), **keys):
    text = {"merge_method": method, "dtype": "float32", "models": [{"model": n, "parameters": {"weight": w}} for n, w in zip(names, weights)]}
    return text | ({"base_model": base} if base else {}) | keys


def slerp(setting):
    return {"merge_method": "slerp", "dtype": "float32", "models": [{"model": "b"}], "base_model": "a", "parameters": {"t": 0.3}, "tokenizer": setting}


TOKENS = {
    "<new>": token_of("b", "<|eot|>"),
    "the": {"source": "b", "force": True},
    "<|end|>": {"source": {"kind": "zero"}, "force": True},
    "<zero>": {"source": {"kind": "zero"}},
    "<7>": {"source": {"kind": "model_token", "model": "c", "token_id": 7}},
}
WHOLE = {
    "linear, union": recipe("linear", "abc", tokenizer_source="union"),
    "linear, union with a base": recipe("linear", "abc", "a", tokenizer_source="union"),
    "linear, base": recipe("linear", "abc", "b", tokenizer={"source": "base"}),
    "linear, tokens": recipe("linear", "abc", "a", tokenizer={"source": "union", "tokens": TOKENS, "pad_to_multiple_of": 64}),
    "ties, union": recipe("ties", "bc", "a", tokenizer_source="union", parameters={"density": 0.5}),
    "ties, a model": recipe("ties", "bc", "a", tokenizer={"source": "c", "pad_to_multiple_of": 16}, parameters={"density": 0.5}),
    # The base under its name: mergekit has no ids for tokens that `tokens` adds to source: base.
    "task arithmetic, tokens": recipe("task_arithmetic", "bc", "a", tokenizer={"source": "a", "tokens": TOKENS}),
    "slerp, a model": slerp({"source": "b"}),
    "slerp, union": slerp({"source": "union", "pad_to_multiple_of": 32}),
    "other kinds": recipe("linear", "au", "a", tokenizer_source="union", chat_template="auto"),
    "template auto": recipe("linear", "abc", "a", tokenizer_source="base", chat_template="auto"),
    "template chosen": recipe("linear", "ab", "a", tokenizer_source="base", chat_template="chatml"),
    "template given": recipe("linear", "ab", "a", tokenizer_source="base", chat_template=OWN),
}


def text_of(content, models):
    """With folders in the place of the models' letters, where a recipe names models."""

    def place(value, key=None):
        if isinstance(value, dict):
            return {k: place(item, k) for k, item in value.items()}
        if isinstance(value, list):
            return [place(item) for item in value]
        return str(models[value]) if key in ("model", "base_model", "source") and value in models else value

    return yaml.safe_dump(place(content), sort_keys=False, allow_unicode=True)


def by_smidgen(text, out, **flags):
    file = out.parent / f"{out.name}.yaml"
    file.write_text(text)
    return smidgen.ok("merge", file, out, **flags)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_merges(name, whole, tmp_path):
    content = WHOLE[name]
    text = text_of(content, whole)
    theirs, ours = v.merged_by_mergekit(text, tmp_path / "theirs"), tmp_path / "ours"
    by_smidgen(text, ours)
    wanted, got = merges.tensors(theirs), merges.tensors(ours)
    assert wanted.keys() == got.keys()
    their_ids, our_ids = v.ids_of(theirs), v.ids_of(ours)
    assert set(their_ids) == set(our_ids)
    source = content.get("tokenizer", {}).get("source") or content.get("tokenizer_source")
    # Only the ids of what a union adds depend on a hash table there; tokens of `tokens` come after it.
    fixed = v.ids_of(whole[content.get("base_model", "a")])
    if source != "union":
        assert our_ids == their_ids
    elif "base_model" in content:
        assert {t: our_ids[t] for t in fixed} == {t: their_ids[t] for t in fixed} == fixed
    config, their_config = (json.loads((folder / "config.json").read_text()) for folder in (ours, theirs))
    assert config["vocab_size"] == their_config["vocab_size"] == got[v.EMBEDDING].shape[0]
    tokens = list(their_ids)
    for key, reference in wanted.items():
        mine = got[key]
        assert mine.shape == reference.shape and mine.dtype == reference.dtype
        if key in (v.EMBEDDING, v.HEAD):
            padding = (mine[len(tokens):], reference[len(tokens):])
            assert torch.allclose(*padding, atol=1e-6 * reference.abs().max().item(), rtol=0)
            mine, reference = (side[[ids[t] for t in tokens]] for side, ids in ((mine, our_ids), (reference, their_ids)))
        assert (mine - reference).abs().max() <= 1e-6 * reference.abs().max(), key
    if "base_model" not in content:  # any of the models may give the rest there
        return
    one, two = (folder / "chat_template.jinja" for folder in (ours, theirs))
    assert one.exists() == two.exists()
    if one.exists() and content.get("chat_template") != "chatml":
        assert one.read_text() == two.read_text()


def test_cut_to_the_shortest(whole, tmp_path):
    text = text_of(recipe("linear", "abc"), whole)
    theirs = v.merged_by_mergekit(text, tmp_path / "theirs", unsafe_truncate_embeddings=True, copy_tokenizer=False)
    by_smidgen(text, tmp_path / "ours", unsafe_truncate_embeddings=True)
    wanted, got = merges.tensors(theirs), merges.tensors(tmp_path / "ours")
    assert wanted.keys() == got.keys() and got[v.EMBEDDING].shape[0] == min(len(v.ids_of(whole[n])) for n in "abc")
    for key, reference in wanted.items():
        assert (got[key] - reference).abs().max() <= 1e-6 * reference.abs().max(), key


def test_a_union_keeps_every_models_logits(whole, tmp_path):
    """With the weight on one model its tokens are read and scored as before, whatever the vocabulary has grown to."""
    from transformers import AutoModelForCausalLM

    for at, name in enumerate("ab"):
        out = tmp_path / name
        by_smidgen(text_of(recipe("linear", "ab", "a", weights=(1 - at, at), tokenizer_source="union"), whole), out)
        ids, own = v.ids_of(out), v.ids_of(whole[name])
        before = list(range(5, len(own), 7))
        spelled = {i: t for t, i in own.items()}
        after = [ids[spelled[i]] for i in before]
        with torch.no_grad():
            one, two = (AutoModelForCausalLM.from_pretrained(f)(torch.tensor([i])).logits[0] for f, i in ((whole[name], before), (out, after)))
        order = [ids[spelled[i]] for i in range(len(own))]
        assert torch.allclose(one, two[:, order], atol=1e-5)


@pytest.mark.parametrize("method", ["common_interpolation", "omp", "subword", "zero"])
@pytest.mark.parametrize("pair", ["ab", "cb"])
def test_transplants_by_the_command(pair, method, whole, tmp_path):
    """mergekit-tokensurgeon as a user runs it, and the recipe that asks for the same."""
    from click.testing import CliRunner
    from mergekit.scripts.tokensurgeon import main

    model, donor = (whole[name] for name in pair)
    done = CliRunner().invoke(main, [str(model), str(donor), str(tmp_path / "theirs"), "-a", method, "--k", "8"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    ways = {"common_interpolation": {"method": "nearest", "neighbours": 8}, "omp": {"method": "pursuit", "neighbours": 8}, "subword": "subword", "zero": "zero"}
    text = {"merge_method": "passthrough", "models": [{"model": str(model)}], "tokenizer": {"source": str(donor), "transplant": ways[method]}}
    by_smidgen(yaml.safe_dump(text), tmp_path / "ours")
    assert v.ids_of(tmp_path / "ours") == v.ids_of(donor)
    wanted, got = merges.tensors(tmp_path / "theirs"), merges.tensors(tmp_path / "ours")
    assert got.keys() <= wanted.keys()
    # Rows of bytes that are no text are encoded in their spelling there.
    plain = [id for token, id in v.ids_of(donor).items() if token.isascii()]
    for key, mine in got.items():
        reference, mine = (side[plain] if key in (v.EMBEDDING, v.HEAD) else side for side in (wanted[key], mine))
        assert (mine - reference).abs().max() <= 2e-6 * wanted[key].abs().max(), key
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["vocab_size"] == len(v.ids_of(donor)) and config["eos_token_id"] == v.ids_of(donor)["<|end|>"]
