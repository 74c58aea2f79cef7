"""smidgen combine against live PEFT's add_weighted_adapter: every type, drawn configurations, and laws where PEFT fails."""

import json
import random
import warnings

import numpy as np
import peft.utils.merge_utils
import pytest
import torch
from support import reference, small_lora, smidgen

TINY = 1e-5
LINEAR = ["body.q", "body.v", "body.up"]
FACTORS = ["linear", "magnitude_prune", "ties"]
PRODUCTS = ["svd", "magnitude_prune_svd", "ties_svd"]
RANDOM = ["dare_linear", "dare_ties", "dare_linear_svd", "dare_ties_svd"]
DRAWN = 60


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def combine(folders, weights, out, **flags):
    flags = {k: v for k, v in flags.items() if v is not None}
    done = smidgen.ok("combine", adapter=[f"{f}:{w!r}" for f, w in zip(folders, weights)], out=out, json=True, **flags)
    return smidgen.read_json(done.stdout)


def peft_combines(wrapped, weights, kind, rank=None, density=None, sign="total", clamp=None):
    """What PEFT's factors amount to. Their scale is meant to be 1: with rsLoRA in the first adapter it is not (3761)."""
    wrapped.add_weighted_adapter(
        [str(i) for i in range(len(weights))],
        weights,
        "sum",
        combination_type=kind,
        svd_rank=rank,
        density=density,
        majority_sign_method=sign,
        svd_clamp=clamp,
        svd_full_matrices=False,
    )
    return small_lora.updates(wrapped, "sum", scaled=False)


def weighted_sum(wrapped, weights):
    total = {}
    for i, w in enumerate(weights):
        for name, update in small_lora.updates(wrapped, str(i)).items():
            total[name] = total.get(name, 0) + w * update
    return total


def written(out):
    """What an adapter of ours amounts to once PEFT has loaded it."""
    return small_lora.updates(small_lora.load(out), "0")


def off(ours, theirs):
    assert ours.keys() == theirs.keys()
    return max(reference.difference(ours[name], theirs[name]) for name in theirs)


def draw(seed):
    pick = random.Random(seed)
    kind = pick.choice(["cat", *FACTORS, *PRODUCTS])
    count = pick.choice([2, 2, 3, 4])
    equal = kind in FACTORS or pick.random() < 0.4
    rank = pick.choice([2, 3, 4, 5])
    pattern = {"body.q": pick.choice([1, 3, 6])} if pick.random() < 0.3 else {}
    targets = pick.sample(small_lora.MODULES, pick.randint(2, 5))
    settings = []
    for _ in range(count):
        c = {"r": rank if equal else pick.choice([1, 2, 3, 5]), "lora_alpha": pick.choice([1, 4, 7, 2.5])}
        c["target_modules"] = targets if pick.random() < 0.6 else pick.sample(small_lora.MODULES, pick.randint(1, 5))
        c["use_rslora"] = pick.random() < 0.3
        if equal:
            c["rank_pattern"] = pattern
        elif pick.random() < 0.3:
            c["rank_pattern"] = {"body.v": pick.choice([1, 4])}
        if pick.random() < 0.4:
            c["alpha_pattern"] = {"q": pick.choice([2, 9]), "table": 5}
        settings.append(c)
    options = {}
    if kind not in ("cat", "svd", "linear"):
        options["density"] = pick.choice([0.2, 0.35, 0.5, 0.8, 1.0])
    if "ties" in kind:
        options["sign"] = pick.choice(["total", "frequency"])
    if kind in PRODUCTS:
        options["rank"] = pick.choice([1, 2, 4, 6])
        if pick.random() < 0.3:
            options["clamp"] = pick.choice([0.8, 0.95])
    weights = [pick.choice([1, 0.5, 0.7, 2, -1, -0.3]) for _ in range(count)]
    return kind, settings, weights, options


def flags(kind, options):
    renamed = {"sign": "majority_sign"}
    return {"type": kind} | {renamed.get(k, k): v for k, v in options.items()}


@pytest.mark.parametrize("seed", range(DRAWN))
def test_drawn(seed, tmp_path):
    kind, settings, weights, options = draw(seed)
    wrapped, folders = small_lora.adapters(settings, tmp_path, seed)
    exact = weighted_sum(wrapped, weights)
    report = combine(folders, weights, tmp_path / "out", **flags(kind, options))
    theirs = peft_combines(wrapped, weights, kind, **options)
    ours = written(tmp_path / "out")
    if "clamp" not in options:  # the quantile depends on the signs of singular vectors, which are nobody's choice
        assert off(ours, theirs) <= TINY, (kind, options)
    if kind == "cat":
        assert off(ours, exact) <= 1e-6
    if kind in ("cat", "svd", "linear"):
        miss = sum(np.square(ours[n] - exact[n]).sum() for n in exact)
        norm = sum(np.square(exact[n]).sum() for n in exact)
        assert abs(report["error"] - np.sqrt(miss / norm)) <= TINY * max(1, report["error"])


def test_the_draw_reaches_every_type_and_field():
    drawn = [draw(seed) for seed in range(DRAWN)]
    for kind in ["cat", *FACTORS, *PRODUCTS]:
        assert sum(k == kind for k, *_ in drawn) >= 4, kind
    assert sum("clamp" in o for *_, o in drawn) >= 3
    assert sum(o.get("sign") == "frequency" for *_, o in drawn) >= 3
    assert sum(any(w < 0 for w in weights) for _, _, weights, _ in drawn) >= 10
    assert sum(any(c["use_rslora"] for c in s) for _, s, _, _ in drawn) >= 10


SAME = [{"r": 4, "lora_alpha": 6, "target_modules": LINEAR}, {"r": 4, "lora_alpha": 2, "target_modules": LINEAR}]


@pytest.mark.parametrize("kind", ["cat", *FACTORS, *PRODUCTS])
def test_settings_move_the_reference(kind, tmp_path):
    """Otherwise the comparison above proves nothing."""
    options = {"density": 0.5} if kind not in ("cat", "svd", "linear") else {}

    def theirs(weights, home, **more):
        wrapped, _ = small_lora.adapters(SAME, tmp_path / home)
        return peft_combines(wrapped, weights, kind, **options | more)

    start = theirs([0.7, -0.3], "a")
    assert off(theirs([0.7, 0.3], "b"), start) >= 100 * TINY
    if options:
        assert off(theirs([0.7, -0.3], "c", density=0.6), start) >= 100 * TINY
    if "ties" in kind:
        assert off(theirs([0.7, -0.3], "d", sign="frequency"), start) >= 100 * TINY


@pytest.mark.parametrize("clamp", [0.7, 0.95, 1.0])
def test_clamp_is_peft_s_on_our_factors(clamp, tmp_path):
    _, folders = small_lora.adapters(SAME, tmp_path)
    found = {}
    for name, value in (("free", None), ("clamped", clamp)):
        combine(folders, [0.7, 0.4], tmp_path / name, type="svd", rank=5, clamp=value)
        found[name] = smidgen.tensors(tmp_path / name / "adapter_model.safetensors")
    for name in (n for n in found["free"] if "lora_A" in n):
        a, b = (torch.tensor(found["free"][n]) for n in (name, name.replace("lora_A", "lora_B")))
        bound = torch.quantile(torch.cat([b.flatten(), a.flatten()]), clamp)
        assert np.allclose(found["clamped"][name], a.clamp(-bound, bound), atol=1e-7)
        assert np.allclose(found["clamped"][name.replace("lora_A", "lora_B")], b.clamp(-bound, bound), atol=1e-7)


# ---------------------------------------------------------------------------------------------- random types
def masks(folders, wrapped, product, density, tmp_path):
    """Which elements of each adapter's tensors our DARE keeps: (tensor, mask) pairs. The other adapters weigh next to
    nothing, so that what is left is the kept part of one."""
    found = []
    for i in range(len(folders)):
        out = tmp_path / f"mask {product} {i}"
        weights = [1.0 if k == i else 1e-30 for k in range(len(folders))]
        kind = "dare_linear_svd" if product else "dare_linear"
        combine(folders, weights, out, type=kind, density=density, seed=5, rank=24 if product else None)
        if product:
            kept = written(out)
            whole = small_lora.updates(wrapped, str(i))
        else:
            kept = smidgen.tensors(out / "adapter_model.safetensors")
            whole = smidgen.tensors(folders[i] / "adapter_model.safetensors")
        for name, x in whole.items():
            mask = np.abs(kept[name]) > 1e-4 * np.abs(x)
            share = mask.mean()
            assert abs(share - density) < 6 * np.sqrt(density * (1 - density) / x.size), name
            found.append((torch.tensor(x, dtype=torch.float32), torch.tensor(mask)))
    return found


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("density", [0.3, 0.8])
def test_random_types_with_our_masks_in_peft(kind, density, tmp_path, monkeypatch):
    weights = [0.7, -0.4]
    wrapped, folders = small_lora.adapters(SAME, tmp_path)
    product = kind.endswith("_svd")
    known = masks(folders, wrapped, product, density, tmp_path)

    def ours(tensor, density, rescale):
        assert rescale
        for whole, mask in known:
            if whole.shape == tensor.shape and torch.allclose(whole, tensor, rtol=1e-4, atol=1e-5):
                return tensor * mask / density
        raise AssertionError("PEFT drops from a tensor that is none of the adapters'")

    monkeypatch.setattr(peft.utils.merge_utils, "random_pruning", ours)
    theirs = peft_combines(wrapped, weights, kind, rank=5 if product else None, density=density)
    combine(folders, weights, tmp_path / "out", type=kind, density=density, seed=5, rank=5 if product else None)
    assert off(written(tmp_path / "out"), theirs) <= TINY


@pytest.mark.parametrize("kind", RANDOM)
def test_density_one_drops_nothing(kind, tmp_path):
    wrapped, folders = small_lora.adapters(SAME, tmp_path)
    combine(folders, [0.7, 0.4], tmp_path / "out", type=kind, density=1)
    assert off(written(tmp_path / "out"), peft_combines(wrapped, [0.7, 0.4], kind, density=1)) <= TINY


@pytest.mark.parametrize("density", [0.2, 0.7])
def test_as_many_are_dropped_as_peft_drops(density, tmp_path):
    """Of PEFT's random choice only the share can be compared, and that what is kept is divided by it."""
    wrapped, folders = small_lora.adapters(SAME, tmp_path)
    peft_combines(wrapped, [0.7, 1e-30], "dare_linear", density=density)
    combine(folders, [0.7, 1e-30], tmp_path / "out", type="dare_linear", density=density)
    ours = smidgen.tensors(tmp_path / "out" / "adapter_model.safetensors")
    whole = smidgen.tensors(folders[0] / "adapter_model.safetensors")
    shares, count = np.zeros(2), 0
    for name, x in whole.items():
        module = wrapped.base_model.model.get_submodule(name.removeprefix("base_model.model.").rsplit(".", 2)[0])
        theirs = (module.lora_A if "lora_A" in name else module.lora_B)["sum"].weight.detach().numpy()
        for side, found in enumerate((ours[name], theirs)):
            kept = np.abs(found) > 1e-6
            assert np.allclose(found[kept], (np.sqrt(0.7 * 6 / 4) * x / density)[kept], rtol=1e-5)
            shares[side] += kept.sum()
        count += x.size
    assert np.all(np.abs(shares / count - density) < 6 * np.sqrt(density * (1 - density) / count))


# ---------------------------------------------------------------------------------------------- where PEFT fails
IDS = torch.arange(12).reshape(1, -1)


def answers(wrapped, name):
    wrapped.set_adapter(name)
    with torch.no_grad():
        return wrapped(IDS).double().numpy()


@pytest.mark.parametrize("kind", ["cat", "linear", "svd"])
@pytest.mark.parametrize("extra", [{}, {"use_rslora": True}, {"lora_bias": True}])
def test_the_identity_that_peft_breaks(kind, extra, tmp_path):
    """peft#3761, with the same adapter a second time at weight 0: of one alone PEFT makes `linear`, whatever it is asked."""
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["body.v", "body.up"] if "lora_bias" in extra else LINEAR} | extra
    wrapped, folders = small_lora.adapters([settings, settings], tmp_path)
    with torch.no_grad():
        for name, value in wrapped.named_parameters():
            if "lora_B.0.bias" in name:
                value.fill_(0.7)
    wrapped.save_pretrained(str(tmp_path))
    wanted = answers(wrapped, "0")
    wrapped.add_weighted_adapter(["0", "1"], [1.0, 0.0], "same", combination_type=kind)
    broken = reference.difference(answers(wrapped, "same"), wanted)
    assert broken >= 0.05 if extra else broken <= TINY
    combine(folders, [1.0, 0.0], tmp_path / "ours", type=kind)
    assert reference.difference(answers(small_lora.load(tmp_path / "ours"), "0"), wanted) <= 1e-6


def test_dropout_plays_no_part(tmp_path):
    """peft#3586 is of the same kind: what is written must not depend on whether somebody was training."""
    made = {}
    for dropout in (0.0, 0.5):
        settings = [c | {"lora_dropout": dropout} for c in SAME]
        _, folders = small_lora.adapters(settings, tmp_path / str(dropout))
        for kind in ("cat", "svd", "linear"):
            combine(folders, [0.7, -0.4], tmp_path / f"{kind} {dropout}", type=kind)
            made[kind, dropout] = (tmp_path / f"{kind} {dropout}" / "adapter_model.safetensors").read_bytes()
    assert all(made[kind, 0.0] == made[kind, 0.5] for kind in ("cat", "svd", "linear"))


@pytest.mark.parametrize("what", ["dora", "kasa", "loha"])
def test_what_has_no_weighted_sum_is_refused(what, tmp_path):
    import peft
    from peft.tuners.lora.config import KasaConfig

    config = {
        "dora": lambda: peft.LoraConfig(r=4, target_modules=["up"], use_dora=True),
        "kasa": lambda: peft.LoraConfig(r=4, target_modules=["up"], kasa_config=KasaConfig()),
        "loha": lambda: peft.LoHaConfig(r=4, target_modules=["up"], rank_dropout=0.5),
    }[what]()
    with reference.without_hub():
        peft.get_peft_model(small_lora.net(), config).save_pretrained(str(tmp_path / what))
    done = smidgen.call("combine", adapter=[tmp_path / what, tmp_path / what], out=tmp_path / "out")
    assert done.returncode == 1 and {"dora": "DoRA", "kasa": "KaSA", "loha": "LOHA"}[what] in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_convolution_in_one_dimension(tmp_path):
    """PEFT's types of ..._svd fail on it (3769)."""
    settings = [{"r": 2, "lora_alpha": 3, "target_modules": ["line"]}, {"r": 3, "lora_alpha": 1, "target_modules": ["line"]}]
    wrapped, folders = small_lora.adapters(settings, tmp_path)
    exact = weighted_sum(wrapped, [0.5, -2.0])
    for kind, rank in (("cat", None), ("svd", 5)):
        combine(folders, [0.5, -2.0], tmp_path / kind, type=kind, rank=rank)
        assert off(written(tmp_path / kind), exact) <= 1e-6
    with pytest.raises((RuntimeError, ValueError)):
        peft_combines(wrapped, [0.5, -2.0], "svd", rank=5)


@pytest.mark.parametrize("kind", ["cat", "linear", "svd"])
@pytest.mark.parametrize("extra", [{}, {"use_rslora": True}, {"lora_bias": True}, {"alpha_pattern": {"q": 11}}])
def test_one_of_weight_one_is_itself(kind, extra, tmp_path):
    """PEFT gives another adapter with use_rslora and with lora_bias."""
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["body.v", "body.up"] if "lora_bias" in extra else LINEAR}
    _, (folder,) = small_lora.adapters([settings | extra], tmp_path)
    combine([folder], [1], tmp_path / "out", type=kind)
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "out" / file).read_bytes() == (folder / file).read_bytes()


def test_biases_are_summed(tmp_path):
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["body.v", "body.up"], "lora_bias": True}
    wrapped, folders = small_lora.adapters([settings, settings | {"lora_alpha": 2, "use_rslora": True}], tmp_path)
    combine(folders, [0.5, -2.0], tmp_path / "out")
    loaded = small_lora.load(tmp_path / "out")
    for name in ("v", "up"):
        module = getattr(wrapped.base_model.model.body, name)
        wanted = sum(w * module.scaling[a] * module.lora_B[a].bias for a, w in (("0", 0.5), ("1", -2.0)))
        found = getattr(loaded.base_model.model.body, name).lora_B["0"].bias
        assert torch.allclose(found, wanted, rtol=1e-6)


def test_two_that_cancel(tmp_path):
    """Weights of 1 and -1: cat and svd give their difference, linear does not, and says so."""
    wrapped, folders = small_lora.adapters(SAME, tmp_path)
    exact = weighted_sum(wrapped, [1, -1])
    for kind, rank in (("cat", None), ("svd", 8)):
        combine(folders, [1, -1], tmp_path / kind, type=kind, rank=rank)
        assert off(written(tmp_path / kind), exact) <= 1e-6
    done = smidgen.ok("combine", adapter=[folders[0], f"{folders[1]}:-1"], type="linear", out=tmp_path / "linear")
    assert "B of one adapter meets A of another" in done.stderr and "cat is exact" in done.stderr
    assert off(written(tmp_path / "linear"), exact) >= 0.3


def test_ranks_by_module_survive_loading(tmp_path):
    """PEFT's own result cannot be loaded again (3737)."""
    settings = {"r": 4, "lora_alpha": 6, "target_modules": LINEAR, "rank_pattern": {"q": 2, "up": 6}}
    wrapped, folders = small_lora.adapters([settings, settings], tmp_path)
    for kind in ("cat", "linear", "svd"):
        combine(folders, [0.5, 0.5], tmp_path / kind, type=kind)
        config = json.loads((tmp_path / kind / "adapter_config.json").read_text())
        assert config["rank_pattern"] == config["alpha_pattern"] and len(config["rank_pattern"]) == 2
        written(tmp_path / kind)
    assert off(written(tmp_path / "cat"), weighted_sum(wrapped, [0.5, 0.5])) <= 1e-6
