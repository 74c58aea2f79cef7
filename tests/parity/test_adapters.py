"""Adapter folders and several adapters at once, beside PEFT: bytes that come back, names, scales, sums, rows."""

import json
import warnings

import numpy as np
import pytest
import tiny
import torch
from support import lora_cases as cases
from support import reference, smidgen
from support.cases import IDS

TINY = 1e-5
IDS = IDS[:40]
SETTINGS = {
    "fr": {"target_modules": ["q_proj", "up_proj"], "r": 3},
    "de": {"target_modules": ["q_proj", "down_proj"], "r": 5},
}


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def model():
    return tiny.model()


@pytest.fixture(scope="module")
def folders(tmp_path_factory, model):
    """Two adapters that PEFT wrote, with other values in what they share."""
    home = tmp_path_factory.mktemp("adapters")
    for seed, (name, settings) in enumerate(SETTINGS.items()):
        wrapped = reference.lora(reference.llama(model), seed=seed, scale=0.3, **settings)
        reference.save_adapter(wrapped, home / name)
    return home


@pytest.mark.parametrize("name", cases.BY_HAND)
def test_what_peft_wrote_is_written_again_bit_by_bit(name, tmp_path):
    on, settings = cases.BY_HAND[name][:2]
    folder = tiny.model(**cases.BASES[on])
    reference.save_adapter(cases.build(reference.llama(folder), settings), tmp_path / "a")
    smidgen.ok("export", model=folder, adapter=tmp_path / "a", out=tmp_path / "b", format="peft")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_bf16_tensors_and_unknown_empty_keys_come_back(folders, model, tmp_path):
    folder = smidgen.copy(folders / "fr", tmp_path / "a")
    weights = folder / "adapter_model.safetensors"
    tiny.write_safetensors(weights, smidgen.tensors(weights), "bf16")
    config = json.loads((folder / "adapter_config.json").read_text()) | {"zeta_of_peft_1": None, "a_new_list": []}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
    smidgen.ok("export", model=model, adapter=folder, out=tmp_path / "b", format="peft")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (folder / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_a_named_adapter_lies_in_a_folder_of_its_name(folders, model, tmp_path):
    import peft

    with reference.without_hub():
        wrapped = peft.PeftModel.from_pretrained(reference.llama(model), str(folders / "fr"), adapter_name="fr")
        wrapped.save_pretrained(str(tmp_path / "a"))
    assert (tmp_path / "a" / "fr" / "adapter_config.json").exists()
    ours = smidgen.forward(model, adapter=tmp_path / "a", ids=IDS)["logits"]
    assert np.array_equal(ours, smidgen.forward(model, adapter=folders / "fr", ids=IDS)["logits"])


def theirs(folders, model, scales):
    """Logits of PEFT with both adapters active, each scaled."""
    import peft

    with reference.without_hub():
        wrapped = peft.PeftModel.from_pretrained(reference.llama(model), str(folders / "fr"), adapter_name="fr")
        wrapped.load_adapter(str(folders / "de"), adapter_name="de")
    wrapped.base_model.set_adapter(list(scales))
    for module in wrapped.modules():
        if hasattr(module, "set_scale"):
            for name, scale in scales.items():
                module.set_scale(name, scale)
    cases.in_double(wrapped).eval()
    with torch.no_grad():
        return wrapped(input_ids=torch.tensor([IDS]), use_cache=False).logits[0].numpy()


@pytest.mark.parametrize("scales", [{"fr": 1.0, "de": 1.0}, {"fr": 0.5, "de": -0.25}, {"de": 0.0, "fr": 2.0}])
def test_sums_and_scales(folders, model, scales, tmp_path):
    wanted = theirs(folders, model, scales)
    given = [f"{folders / name}:{scale}" for name, scale in scales.items()]
    assert reference.difference(smidgen.forward(model, adapter=given, ids=IDS)["logits"], wanted) <= TINY
    smidgen.ok("export", model=model, adapter=given, out=tmp_path / "merged")
    assert reference.difference(smidgen.forward(tmp_path / "merged", ids=IDS)["logits"], wanted) <= TINY
    alone = smidgen.forward(model, adapter=given[0], ids=IDS)["logits"]
    assert reference.difference(alone, wanted) >= 100 * TINY


def test_each_row_of_a_batch_has_the_adapters_it_names(folders, model, tmp_path):
    rows = [
        {"prompt": "lori ne", "adapter": None},
        {"prompt": "lori ne", "adapter": "de"},
        {"prompt": "lori ne", "adapter": {"fr": 0.5, "de": 2}},
        {"prompt": "ver selka do", "adapter": "fr"},
        {"prompt": "lori ne"},
        {"prompt": "lori ne", "adapter": ["fr"]},
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    sampling = {"raw": True, "greedy": True, "max_new_tokens": 12, "ignore_eos": True, "dtype": "fp32"}
    both = [f"fr={folders / 'fr'}:2", f"de={folders / 'de'}"]
    done = smidgen.ok("generate", model=model, adapter=both, prompts=file, batch=4, **sampling)
    made = smidgen.json_lines(done.stdout)
    alone = [
        {},
        {"adapter": folders / "de"},
        {"adapter": [f"{folders / 'fr'}:0.5", f"{folders / 'de'}:2"]},
        {"adapter": f"{folders / 'fr'}:2"},
        {"adapter": both},
        {"adapter": f"{folders / 'fr'}:2"},
    ]
    for row, result, flags in zip(rows, made, alone, strict=True):
        assert result["ids"] == smidgen.generate(model, row["prompt"], **sampling, **flags)["ids"], row
    assert len({tuple(r["ids"]) for r in made}) >= 4, "the adapters must act"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"prompt": "a", "adapter": "fe"}', ["no adapter called 'fe'", "fr"]),
        ('{"prompt": "a", "adapter": 3}', ["prompts.jsonl:1", "a name"]),
        ('{"prompt": "a", "adaptor": "fr"}', ["prompts.jsonl:1", "adaptor", "adapter"]),
        ('{"text": "a"}', ["prompts.jsonl:1", "prompt"]),
        ("", ["no prompts"]),
    ],
)
def test_rows_that_are_wrong(folders, model, row, words, tmp_path):
    (tmp_path / "prompts.jsonl").write_text(row + "\n")
    done = smidgen.call("generate", model=model, adapter=folders / "fr", prompts=tmp_path / "prompts.jsonl", raw=True)
    assert done.returncode == 1 and all(w in done.stderr for w in words), done.stderr


def test_dropout_acts_and_is_the_same_for_the_same_seed(model, tmp_path):
    common = {"max_steps": 6, "learning_rate": 1e-2, "dropout": 0.4}
    smidgen.tune(model, tiny.data(), tmp_path / "a", **common)
    smidgen.tune(model, tiny.data(), tmp_path / "none", **{**common, "dropout": 0})
    first, plain = smidgen.metrics(tmp_path / "a"), smidgen.metrics(tmp_path / "none")
    assert first[0]["loss"] == plain[0]["loss"], "B is zero at the start, so that nothing is dropped"
    assert first[-1]["loss"] != plain[-1]["loss"]
    smidgen.tune(model, tiny.data(), tmp_path / "b", **{**common, "max_steps": 6, "seed": 6})
    assert smidgen.metrics(tmp_path / "b")[-1]["loss"] != first[-1]["loss"]
    smidgen.tune(model, tiny.data(), tmp_path / "again", **common)
    name = "adapter/adapter_model.safetensors"
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
