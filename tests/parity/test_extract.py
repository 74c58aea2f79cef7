"""smidgen extract: against an SVD of our own in numpy, and against PEFT and transformers on what was written."""

import copy
import json
import warnings

import numpy as np
import pytest
import tiny
import torch
from safetensors.numpy import save_file
from support import reference, smidgen
from support.cases import IDS

IDS = IDS[:40]
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PREFIX = "base_model.model."


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def moved(folder, to, leaves, scale=0.02, rank=None, seed=3):
    """A copy of a model folder with other values where the last part of the module's name is one of `leaves`."""
    smidgen.copy(folder, to)
    weights = smidgen.tensors(to / "model.safetensors")
    random = np.random.default_rng(seed)
    for name in sorted(weights):
        x = weights[name]
        if name.rsplit(".", 2)[-2] not in leaves:
            continue
        if rank and x.ndim == 2:
            d = random.normal(size=(x.shape[0], rank)) @ random.normal(size=(rank, x.shape[1]))
        else:
            d = random.normal(size=x.shape)
        weights[name] = (x + scale * d).astype(np.float32)
    save_file(weights, str(to / "model.safetensors"), metadata={"format": "pt"})
    return to


def extract(base, model, out, **flags):
    return smidgen.read_json(smidgen.ok("extract", base=base, model=model, out=out, json=True, **flags).stdout)


def differences(base, model):
    before, after = (smidgen.tensors(f / "model.safetensors") for f in (base, model))
    return {n: after[n].astype(np.float64) - before[n] for n in after}


def update(adapter, module, table=False):
    a, b = ("lora_embedding_A", "lora_embedding_B") if table else ("lora_A.weight", "lora_B.weight")
    t = smidgen.tensors(adapter / "adapter_model.safetensors")
    return t[f"{PREFIX}{module}.{b}"].astype(np.float64) @ t[f"{PREFIX}{module}.{a}"]


def best(d, rank, epsilon=0.0):
    u, s, v = np.linalg.svd(d, full_matrices=False)
    rank = min(rank, (s > epsilon).sum())
    return (u[:, :rank] * s[:rank]) @ v[:rank], np.sqrt(np.square(s[rank:]).sum()), s[:rank]


def with_adapter(base, adapter):
    import peft

    with reference.without_hub():
        return peft.PeftModel.from_pretrained(copy.deepcopy(reference.llama(base)), str(adapter)).eval()


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.tensor([IDS]), use_cache=False).logits[0].double().numpy()


@pytest.mark.parametrize("rank", [1, 5, 64])
def test_each_module_is_its_best_approximation(rank, tmp_path):
    base = tiny.model()
    model = moved(base, tmp_path / "after", LINEAR)
    report = extract(base, model, tmp_path / "a", rank=rank)
    miss = norm = 0.0
    for name, d in differences(base, model).items():
        module = name.removesuffix(".weight")
        if module.rsplit(".", 1)[-1] not in LINEAR:
            assert not d.any()
            continue
        wanted, left, _ = best(d, rank)
        assert reference.difference(update(tmp_path / "a", module), wanted) <= 1e-5
        row = report["by_module"][module]
        assert abs(row["error"] - left / np.linalg.norm(d)) <= 1e-6
        assert row["rank"] == min(rank, *d.shape)
        miss, norm = miss + left**2, norm + np.square(d).sum()
    assert abs(report["error"] - np.sqrt(miss / norm)) <= 1e-6


def test_scale_is_on_both_factors_as_in_mergekit(tmp_path):
    base = tiny.model()
    model = moved(base, tmp_path / "after", ["up_proj"])
    name = "model.layers.1.mlp.up_proj"
    s = best(differences(base, model)[name + ".weight"], 4)[2]
    for on, power in (("both", 0.5), ("a", 1.0), ("b", 0.0)):
        extract(base, model, tmp_path / on, rank=4, scale_on=on)
        a = smidgen.tensors(tmp_path / on / "adapter_model.safetensors")[f"{PREFIX}{name}.lora_A.weight"]
        assert np.allclose(np.linalg.norm(a, axis=1), s**power, rtol=1e-5)


def test_epsilon_gives_each_module_its_rank(tmp_path):
    base = tiny.model()
    model = moved(base, tmp_path / "three", ["up_proj", "q_proj"], rank=3)
    model = moved(model, tmp_path / "after", ["q_proj"], rank=2, seed=8)
    extract(base, model, tmp_path / "a", sv_epsilon=1e-4)
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 5
    assert set(config["rank_pattern"].values()) == {3} and config["rank_pattern"] == config["alpha_pattern"]
    assert reference.difference(logits(with_adapter(base, tmp_path / "a")), logits(reference.llama(model))) <= 1e-5


BASES = {"tied": {"tie_word_embeddings": True}, "own head": {"tie_word_embeddings": False}, "biased": {"attention_bias": True}}
EVERYTHING = (*LINEAR, "embed_tokens", "lm_head", "norm", "input_layernorm")


# A bias of B and an update of an embedding cannot stand in one adapter of PEFT's.
@pytest.mark.parametrize(("base", "embeddings"), [(b, e) for b in BASES for e in (False, True) if not (e and b == "biased")])
def test_full_rank_is_the_fine_tuned_model(base, embeddings, tmp_path):
    """In PEFT and in smidgen."""
    folder = tiny.model(**BASES[base])
    model = moved(folder, tmp_path / "after", EVERYTHING)
    report = extract(folder, model, tmp_path / "a", embeddings=embeddings)
    assert report["error"] <= 1e-6
    wanted = logits(reference.llama(model))
    assert reference.difference(logits(reference.llama(folder)), wanted) >= 1e-2
    assert reference.difference(logits(with_adapter(folder, tmp_path / "a")), wanted) <= 1e-5
    ours = smidgen.forward(folder, adapter=tmp_path / "a", ids=IDS)
    assert reference.difference(ours["logits"], wanted) <= 1e-5


def test_a_merged_adapter_comes_back(tmp_path):
    base = tiny.model()
    smidgen.tune(base, tiny.data(), tmp_path / "run", rank=4, max_steps=4, learning_rate=1e-2)
    smidgen.ok("export", model=base, adapter=tmp_path / "run" / "adapter", out=tmp_path / "merged")
    report = extract(base, tmp_path / "merged", tmp_path / "a", rank=4)
    assert report["error"] <= 1e-4  # of a difference that was rounded to fp32 beside larger weights
    run = {"adapter": tmp_path / "run" / "adapter", "ids": IDS}
    again = smidgen.forward(base, adapter=tmp_path / "a", ids=IDS)["logits"]
    assert reference.difference(again, smidgen.forward(base, **run)["logits"]) <= 1e-5


def test_unchanged_modules_are_left_out(tmp_path):
    base = tiny.model()
    model = moved(base, tmp_path / "after", ["down_proj", "norm"])
    report = extract(base, model, tmp_path / "a")
    assert set(report["by_module"]) == {f"model.layers.{i}.mlp.down_proj" for i in range(3)}
    assert report["whole"] == ["model.norm"] and report["left_out"] == []
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["down_proj"] and config["modules_to_save"] == ["model.norm"]


# ---------------------------------------------------------------------------------------------- mergekit's own
def by_mergekit(base, model, out, monkeypatch, *options):
    from click.testing import CliRunner
    from mergekit.scripts import extract_lora

    monkeypatch.setattr(extract_lora, "generate_card_lora", lambda *_, **__: "")  # it asks the hub
    call = ["--base-model", str(base), "--model", str(model), "--out-path", str(out), "--no-multi-gpu", *options]
    done = CliRunner().invoke(extract_lora.main, call, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out


@pytest.mark.parametrize("options", [{"rank": 5}, {"rank": 64}, {"rank": 3, "scale_on": "a"}, {"sv_epsilon": 0.25}, {"rank": 4, "embeddings": True}])
def test_factors_are_mergekits(options, tmp_path, monkeypatch):
    """Up to the signs of singular vectors, which are nobody's choice: so the products are compared, and how both factors are
    scaled. mergekit decomposes in fp32, so that where the cut falls between near singular values its product is off by more
    than ours: ours must lie within its distance from the one in fp64."""
    base = tiny.model(tie_word_embeddings=False)
    model = moved(base, tmp_path / "after", [*EVERYTHING, "post_attention_layernorm"])  # mergekit writes what is unchanged, too
    words = {"rank": "--max-rank", "sv_epsilon": "--sv-epsilon"}
    theirs = [text for key, value in options.items() if key in words for text in (words[key], str(value))]
    theirs += ["--no-distribute-scale"] if "scale_on" in options else []
    theirs += ["--embed-lora"] if "embeddings" in options else []
    by_mergekit(base, model, tmp_path / "theirs", monkeypatch, *theirs)
    extract(base, model, tmp_path / "ours", **options)
    ours, wanted = (smidgen.tensors(tmp_path / side / "adapter_model.safetensors") for side in ("ours", "theirs"))
    assert ours.keys() == wanted.keys()
    moves = differences(base, model)
    for name in (n for n in wanted if "_A" in n):
        module = name.removeprefix(PREFIX).rsplit(".lora_", 1)[0]
        d = moves[f"{module}.weight"]
        exact, *_ = best(d.T if "embedding" in name else d, options.get("rank", 128), options.get("sv_epsilon", 0.0))
        b = name.replace("lora_A", "lora_B").replace("embedding_A", "embedding_B")
        assert ours[name].shape == wanted[name].shape, name
        mine, theirs = (side[b].astype(np.float64) @ side[name] for side in (ours, wanted))
        assert reference.difference(mine, exact) <= 1e-6, name
        assert reference.difference(mine, theirs) <= min(1e-4, reference.difference(theirs, exact) + 1e-6), name
        assert np.allclose(np.linalg.norm(ours[name], axis=1), np.linalg.norm(wanted[name], axis=1), rtol=1e-4), name
    for name in (n for n in wanted if "lora_" not in n):
        assert np.array_equal(ours[name], wanted[name]), name
    configs = [json.loads((tmp_path / side / "adapter_config.json").read_text()) for side in ("ours", "theirs")]
    for key in ("r", "lora_alpha", "use_rslora", "fan_in_fan_out", "peft_type"):
        assert configs[0][key] == configs[1][key], key
    ranks = [{k.removeprefix("^"): v for k, v in c["rank_pattern"].items()} for c in configs]
    assert ranks[0] == ranks[1]
