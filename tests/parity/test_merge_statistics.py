"""Statistics of models and the merges that read them, against torch: gradients of transformers' models, inputs by hooks, RegMean by lstsq."""

import numpy as np
import pytest
import tiny
import torch
from support import merges, reference, smidgen


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return {name: tiny.data(6, seed=seed) for name, seed in (("a", 3), ("b", 8))}


@pytest.fixture(scope="module")
def models():
    return {"a": tiny.model(tie_word_embeddings=False), "b": tiny.model(tie_word_embeddings=False, seed=1)}


def measured(model, data, kind, out, **flags):
    smidgen.ok("statistics", model=model, data=data, kind=kind, out=out, dtype="fp32", **flags)
    return smidgen.tensors(out)


def fisher_reference(folder, data):
    model = reference.llama(folder, torch.float64).requires_grad_(True)
    sums = {}
    rows = reference.samples(folder, data)
    for row in rows:
        model.zero_grad()
        losses = reference.token_losses(model, row["ids"])
        (losses * torch.tensor(row["answer"][1:])).sum().backward()
        for name, value in model.named_parameters():
            sums[name] = sums.get(name, 0) + value.grad.double() ** 2
    return {name: (value / len(rows)).numpy() for name, value in sums.items()}


def gram_reference(folder, data):
    model = reference.llama(folder, torch.float64)
    sums = {}

    def hook(name):
        def add(_, inputs):
            x = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).double()
            sums[name] = sums.get(name, 0) + x.T @ x

        return add

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(hook(name + ".weight"))
    with torch.no_grad():
        for row in reference.samples(folder, data):
            model(torch.tensor([row["ids"]]))
    return {name: value.numpy() for name, value in sums.items()}


def close(ours, theirs, tolerance):
    assert ours.keys() == theirs.keys()
    for name, wanted in theirs.items():
        assert ours[name].shape == wanted.shape, name
        assert np.abs(ours[name] - wanted).max() < tolerance * np.abs(wanted).max(), name


@pytest.mark.parametrize("tied", [False, True])
def test_fisher_is_the_mean_squared_gradient(tied, data, tmp_path):
    folder = tiny.model(tie_word_embeddings=tied)
    theirs = fisher_reference(folder, data["a"])
    close(measured(folder, data["a"], "fisher", tmp_path / "f.safetensors"), theirs, 1e-4)


@pytest.mark.parametrize("micro", [1, 2048])
def test_gram_is_the_product_of_the_inputs(micro, models, data, tmp_path):
    theirs = gram_reference(models["a"], data["a"])
    close(measured(models["a"], data["a"], "gram", tmp_path / "g.safetensors", micro_tokens=micro), theirs, 1e-5)


def test_adapters_count_as_part_of_the_model(models, data, tmp_path):
    reference.save_adapter(reference.lora(reference.llama(models["a"])), tmp_path / "lora")
    merged = reference.load_adapter(reference.llama(models["a"], torch.float64), tmp_path / "lora").merge_and_unload()
    merged.float().save_pretrained(tmp_path / "merged")
    tiny.write_tokenizer(tmp_path / "merged")
    for kind, tolerance in (("fisher", 1e-3), ("gram", 1e-4)):
        close(measured(f"{models['a']}+{tmp_path / 'lora'}", data["a"], kind, tmp_path / f"{kind}.safetensors"),
              measured(tmp_path / "merged", data["a"], kind, tmp_path / f"merged-{kind}.safetensors"), tolerance)  # fmt: skip


def recipe(method, models, files, **top):
    rows = "".join(f"  - model: {models[n]}\n    statistics: {files[n]}\n    parameters: {{weight: {w}}}\n" for n, w in (("a", 1.0), ("b", 0.5)))
    return f"merge_method: {method}\ndtype: float32\nmodels:\n{rows}parameters: {{{', '.join(f'{k}: {v}' for k, v in top.items())}}}\n"


def merge(text, out):
    file = out.parent / f"{out.name}.yaml"
    file.write_text(text)
    smidgen.ok("merge", file, out)
    return merges.tensors(out)


def test_fisher_merge(models, data, tmp_path):
    files, fishers = {}, {}
    for name, folder in models.items():
        files[name] = tmp_path / f"{name}.safetensors"
        fishers[name] = measured(folder, data[name], "fisher", files[name])
    ours = merge(recipe("fisher", models, files, floor=1e-6), tmp_path / "out")
    parts = {name: merges.tensors(folder) for name, folder in models.items()}
    for key, got in ours.items():
        shares = {n: w * torch.from_numpy(fishers[n][key]).double().clamp(min=1e-6) for n, w in (("a", 1.0), ("b", 0.5))}
        wanted = sum(shares[n] * parts[n][key].double() for n in shares) / sum(shares.values())
        assert (got - wanted).abs().max() < 1e-5 * wanted.abs().max(), key


@pytest.mark.parametrize("alpha", [1.0, 0.8])
def test_regmean_is_a_least_squares_solution(alpha, models, data, tmp_path):
    files, grams = {}, {}
    for name, folder in models.items():
        files[name] = tmp_path / f"{name}.safetensors"
        grams[name] = measured(folder, data[name], "gram", files[name])
    ours = merge(recipe("regmean", models, files, alpha=alpha), tmp_path / "out")
    parts = {name: merges.tensors(folder) for name, folder in models.items()}
    weights = {"a": 1.0, "b": 0.5}
    for key, got in ours.items():
        if key not in grams["a"]:
            wanted = sum(w * parts[n][key].double() for n, w in weights.items()) / sum(weights.values())
            assert (got - wanted).abs().max() < 1e-6 * wanted.abs().max(), key
            continue
        full = {n: torch.from_numpy(grams[n][key]).double() for n in weights}
        full = {n: weights[n] * (alpha * g + (1 - alpha) * torch.diag(g.diag())) for n, g in full.items()}
        left = sum(full.values())
        right = sum(full[n] @ parts[n][key].double().T for n in full)
        # The normal equations hold, whatever is undetermined.
        assert ((left @ got.double().T) - right).abs().max() < 1e-4 * right.abs().max(), key


def refused(text, tmp_path, **flags):
    file = tmp_path / "refused.yaml"
    file.write_text(text)
    done = smidgen.call("merge", file, tmp_path / "refused", **flags)
    assert done.returncode in (1, 2) and not (tmp_path / "refused").exists()
    return done.stderr


def test_refused_in_words(models, data, tmp_path):
    files = {name: tmp_path / f"{name}.safetensors" for name in models}
    for name, kind in (("a", "fisher"), ("b", "gram")):
        measured(models[name], data[name], kind, files[name])
    text = recipe("fisher", models, files)
    assert "holds gram statistics" in refused(text, tmp_path)
    assert "has none" in refused(text.replace(f"    statistics: {files['b']}\n", ""), tmp_path)
    other = tiny.model(num_hidden_layers=4, tie_word_embeddings=False)
    wrong = tmp_path / "other.safetensors"
    measured(other, data["a"], "fisher", wrong)
    assert "layers.3" in refused(text.replace(str(files["b"]), str(wrong)), tmp_path)
    assert "nowhere" in refused(text.replace(str(files["b"]), "nowhere"), tmp_path)
    linear = recipe("linear", models, files)
    assert "[statistics] has no effect" in refused(linear, tmp_path, strict=True)
    done = smidgen.call("statistics", model=models["a"], data=data["a"], kind="fisher", out=files["a"])
    assert done.returncode != 0 and "exists" in done.stderr
