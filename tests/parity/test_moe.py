"""`smidgen merge` of a recipe of experts against mergekit-moe 0.1.5: every tensor, the configuration, and what they compute."""

import json

import numpy as np
import pytest
import tiny
import torch
import yaml
from support import merges, reference, smidgen

KINDS = ("llama", "mistral", "qwen3")
PROMPTED = ("hidden", "hidden_last", "hidden_avg", "cheap_embed")
TOLERANCE = 1e-5  # of the largest value of a router
IDS = list(range(3, 43))


def made(kind, folder, number):
    """A model with large weights and a tokenizer; 0 is the base."""
    import transformers

    sizes = dict(vocab_size=tiny.vocab_size(), hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4,
                 num_key_value_heads=2, head_dim=16, max_position_embeddings=128, rms_norm_eps=1e-3, dtype="float32",
                 rope_parameters={"rope_type": "default", "rope_theta": 500.0}, tie_word_embeddings=kind == "llama")  # fmt: skip
    if kind == "mistral":
        sizes["sliding_window"] = 9
    name = {"llama": "Llama", "mistral": "Mistral", "qwen3": "Qwen3"}[kind]
    torch.manual_seed(number)
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**sizes))
    with torch.no_grad():
        for key, value in sorted(model.named_parameters()):
            scale = 0.3 if "norm" in key else 0.25 if "embed" in key else 1.2 / value.shape[-1] ** 0.5
            value.copy_((1.0 if "norm" in key else 0.0) + scale * torch.randn(value.shape))
    model.save_pretrained(folder)
    tiny.write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moe")
    for kind in KINDS:
        for number, name in enumerate(("base", "a", "b")):
            made(kind, folder / kind / name, number)
    return folder


def recipe(home, mode="hidden", dtype="float32", **more):
    """Three experts; hidden_avg in the reference also counts what pads shorter prompts, so there all are of one length."""
    long = [] if mode == "hidden_avg" else ["poverin the sel: 3121 lorinta", "x"]
    experts = [
        {"source_model": str(home / "a"), "positive_prompts": ["Lorine taum", *long], "residual_scale": 0.5},
        {"source_model": str(home / "b"), "positive_prompts": ["def return"], "negative_prompts": ["don't"]},
        {"source_model": str(home / "base"), "positive_prompts": ["Straße verdo 77"]},
    ]
    return yaml.safe_dump({"base_model": str(home / "base"), "gate_mode": mode, "dtype": dtype, "experts": experts} | more)


def by_mergekit(text, out, monkeypatch, exact=True):
    from mergekit.moe import router
    from mergekit.moe.config import MoEMergeConfig
    from mergekit.options import MergeOptions
    from mergekit.scripts.moe import build

    class InFp32:
        @staticmethod
        def from_pretrained(path, **options):
            import transformers

            return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    if exact:
        monkeypatch.setattr(router, "AutoModelForCausalLM", InFp32)
    torch.manual_seed(0)
    build(MoEMergeConfig.model_validate(yaml.safe_load(text)), str(out), MergeOptions(), device="cpu", allow_all_same=True)
    return merges.tensors(out)


def by_smidgen(text, out, **flags):
    file = out.parent / f"{out.name}.yaml"
    file.write_text(text)
    done = smidgen.ok("merge", file, out, json=True, **flags)
    return smidgen.read_json(done.stdout)["stages"][0]


def fused(tensors, kind):
    """Ours under the names that transformers 5 has in memory, which mergekit writes."""
    at, gate, up, down = ("mlp", "gate_proj", "up_proj", "down_proj") if kind == "qwen3" else ("block_sparse_moe", "w1", "w3", "w2")
    found = {key: value for key, value in tensors.items() if f".{at}." not in key}
    layer = 0
    while f"model.layers.{layer}.{at}.gate.weight" in tensors:
        start = f"model.layers.{layer}.{at}"
        found[f"model.layers.{layer}.mlp.gate.weight"] = tensors[f"{start}.gate.weight"]
        experts = sum(key.startswith(f"{start}.experts.") for key in tensors) // 3
        of = [[tensors[f"{start}.experts.{e}.{leaf}.weight"] for leaf in (gate, up, down)] for e in range(experts)]
        found[f"model.layers.{layer}.mlp.experts.gate_up_proj"] = torch.stack([torch.cat([g, u]) for g, u, _ in of])
        found[f"model.layers.{layer}.mlp.experts.down_proj"] = torch.stack([d for *_, d in of])
        layer += 1
    return found


def compare(ours, theirs, tolerance=TOLERANCE):
    assert ours.keys() == theirs.keys()
    for name, wanted in theirs.items():
        got = ours[name]
        assert got.dtype == wanted.dtype and got.shape == wanted.shape, name
        if "mlp.gate." not in name:
            assert torch.equal(got, wanted), name
            continue
        off = (got.double() - wanted.double()).abs().max() / wanted.double().abs().max()
        assert off <= tolerance, f"{name}: {off:.2e}"


@pytest.mark.parametrize("mode", PROMPTED)
@pytest.mark.parametrize("kind", KINDS)
def test_values(kind, mode, home, tmp_path, monkeypatch):
    text = recipe(home / kind, mode)
    theirs = by_mergekit(text, tmp_path / "theirs", monkeypatch)
    stage = by_smidgen(text, tmp_path / "ours")
    ours = merges.tensors(tmp_path / "ours")
    assert stage["tensors"] == len(ours)
    compare(fused(ours, kind), theirs)


def test_prompts_move_the_reference(home, tmp_path, monkeypatch):
    """Otherwise the comparison above proves nothing."""
    text = recipe(home / "llama")
    start = by_mergekit(text, tmp_path / "start", monkeypatch)
    for number, (old, new) in enumerate((("def return", "def returns"), ("don't", "do"), (": hidden", ": hidden_avg"), ("lorinta", "lorint"))):
        assert text.count(old) == 1
        moved = by_mergekit(text.replace(old, new), tmp_path / str(number), monkeypatch)
        off = max((moved[n] - start[n]).abs().max() / start[n].abs().max() for n in start if "mlp.gate." in n)
        assert off >= 100 * TOLERANCE, old


def test_the_reference_as_it_is_computes_in_bf16(home, tmp_path, monkeypatch):
    text = recipe(home / "llama")
    theirs = by_mergekit(text, tmp_path / "theirs", monkeypatch, exact=False)
    by_smidgen(text, tmp_path / "ours")
    compare(fused(merges.tensors(tmp_path / "ours"), "llama"), theirs, 0.1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_types_are_rounded_once(dtype, home, tmp_path, monkeypatch):
    text = recipe(home / "llama", "cheap_embed", dtype)
    theirs = by_mergekit(text, tmp_path / "theirs", monkeypatch)
    by_smidgen(text, tmp_path / "ours")
    ours = fused(merges.tensors(tmp_path / "ours"), "llama")
    compare(ours, theirs, 2**-7)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["dtype"] == dtype


@pytest.mark.parametrize("kind", KINDS)
def test_configuration(kind, home, tmp_path, monkeypatch):
    from transformers import AutoConfig

    text = recipe(home / kind, "cheap_embed", experts_per_token=1)
    by_mergekit(text, tmp_path / "theirs", monkeypatch)
    by_smidgen(text, tmp_path / "ours")
    ours, theirs = (AutoConfig.from_pretrained(tmp_path / side).to_dict() for side in ("ours", "theirs"))
    apart = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    dense = {"attention_bias", "mlp_bias", "pretraining_tp", "layer_types", "max_window_layers"} - ours.keys()  # of no meaning there
    assert apart <= dense | {"transformers_version", "_name_or_path", "sliding_window"}, {k: (ours.get(k), theirs.get(k)) for k in apart}
    assert ("sliding_window" in apart) == (kind == "mistral")  # dropped there, kept by us


def logits(folder):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([IDS]), use_cache=False).logits[0].double().numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_and_smidgen_compute_the_same(kind, home, tmp_path):
    by_smidgen(recipe(home / kind), tmp_path / "ours")
    wanted = logits(tmp_path / "ours")
    assert reference.difference(smidgen.forward(tmp_path / "ours", ids=IDS)["logits"], wanted) <= 1e-5
    assert reference.difference(logits(home / kind / "base"), wanted) >= 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_equal_experts_compute_what_the_base_does(kind, home, tmp_path):
    """Their shares add up to 1, whatever the routers say."""
    base = home / kind / "base"
    experts = [{"source_model": str(base)}] * 3
    by_smidgen(yaml.safe_dump({"base_model": str(base), "gate_mode": "random", "experts": experts}), tmp_path / "ours")
    wanted = logits(base)
    assert reference.difference(smidgen.forward(tmp_path / "ours", ids=IDS)["logits"], wanted) <= 1e-5
    assert reference.difference(logits(tmp_path / "ours"), wanted) <= 1e-5


def test_random_routers_follow_seed_and_distribution(home, tmp_path):
    rows = {}
    for mode, width in (("random", 1.0), ("uniform_random", (1 / 48 / 3) ** 0.5)):
        text = recipe(home / "llama", mode)
        for seed in (1, 1, 2):
            out = tmp_path / f"{mode} {seed} {len(rows)}"
            by_smidgen(text, out, seed=seed)
            found = merges.tensors(out)
            rows[out.name] = torch.stack([v for k, v in sorted(found.items()) if k.endswith("block_sparse_moe.gate.weight")])
            assert abs(rows[out.name].std() / width - 1) < 6 / rows[out.name].numel() ** 0.5
    first, again, other = list(rows.values())[:3]
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_base_in_gguf_and_one_with_an_adapter(home, tmp_path):
    base = tiny.model()
    smidgen.ok("export", model=base, out=tmp_path / "base.gguf", format="gguf")
    smidgen.tune(base, tiny.data(), tmp_path / "run", rank=4, max_steps=3, learning_rate=1e-2)
    tuned = f"{base}+{tmp_path / 'run' / 'adapter'}"
    smidgen.ok("export", model=base, adapter=tmp_path / "run" / "adapter", out=tmp_path / "merged")

    def mixture(first, second, out):
        experts = [{"source_model": str(first), "positive_prompts": ["Lorine"]}, {"source_model": str(second), "positive_prompts": ["def"]}]
        by_smidgen(yaml.safe_dump({"base_model": str(first), "experts": experts}), out)
        return merges.tensors(out)

    folders = mixture(base, tmp_path / "merged", tmp_path / "folders")
    for out, found in (("gguf", mixture(tmp_path / "base.gguf", tuned, tmp_path / "gguf")),
                       ("adapter", mixture(base, tuned, tmp_path / "adapter"))):  # fmt: skip
        assert found.keys() == folders.keys(), out
        for name, value in folders.items():
            assert np.allclose(found[name].float(), value.float(), atol=1e-5 * value.abs().max()), (out, name)


def test_the_folder_is_whole(home, tmp_path):
    text = recipe(home / "llama")
    stage = by_smidgen(text, tmp_path / "ours", shard_size="60KB")
    assert stage["shards"] > 2 and stage["method"] == "experts"
    card = (tmp_path / "ours" / "README.md").read_text()
    assert all(str(home / "llama" / name) in card for name in ("base", "a", "b"))
    assert {"tokenizer.json", "config.json", "model.safetensors.index.json"} <= {p.name for p in (tmp_path / "ours").iterdir()}
    again = smidgen.call("merge", tmp_path / "ours.yaml", tmp_path / "ours")
    assert again.returncode == 2 and "not empty" in again.stderr
    smidgen.ok("merge", tmp_path / "ours.yaml", tmp_path / "dry", dry_run=True)
    assert not (tmp_path / "dry").exists()
