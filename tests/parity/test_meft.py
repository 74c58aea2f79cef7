"""MEFT and the parallel adapter against the same forward pass in plain PyTorch, out of transformers' own layers.

The adapter folders are written here, so that both sides read the same file. The reference keeps every activation: its
gradients are the truth for every way back that the program has.
"""

import json

import numpy as np
import pytest
import tiny
import torch
from support import family_reference as families
from support import reference, smidgen
from support.cases import IDS

TOLERANCE = 1e-5
TOKENS = [i % tiny.vocab_size() for i in IDS[:40]]
WIDE = {"llama": "model.layers", "granite": "model.layers", "gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers"}
ATTENTION = {"llama": "self_attn", "granite": "self_attn", "gpt2": "attn", "gpt_neox": "attention"}
FACTORS = {"meft1": (0.25, 0.5), "meft2": (0.5, 0.25), "meft3": (0.25, 0.5)}
ACTIVATIONS = {"gelu": torch.nn.functional.gelu, "relu": torch.relu, "silu": torch.nn.functional.silu}


def write(folder, config, sites, width, bottleneck):
    """An adapter folder with a bottleneck at every site; its tensors in fp64 by site."""
    from safetensors.numpy import save_file

    draw = np.random.default_rng(4)
    shapes = {"down.weight": (bottleneck, width), "down.bias": (bottleneck,), "up.weight": (width, bottleneck), "up.bias": (width,)}
    stored = {
        f"base_model.model.{site}.adapter_{part}": (0.15 * draw.standard_normal(shape)).astype(np.float32)
        for site in sites
        for part, shape in shapes.items()
    }
    folder.mkdir()
    save_file(stored, str(folder / "adapter_model.safetensors"))
    (folder / "adapter_config.json").write_text(json.dumps({"bottleneck": bottleneck, "base_model_name_or_path": "x"} | config))
    return {name: torch.from_numpy(x).double().requires_grad_() for name, x in stored.items()}


class Reference:
    """A model of transformers with bottlenecks on its modules, and its layers run as told."""

    def __init__(self, family, tensors, activation="gelu", scale=1.0):
        self.model = families.model(family).requires_grad_(False)
        self.family, self.tensors, self.act, self.scale = family, tensors, ACTIVATIONS[activation], scale
        self.path = WIDE[family]
        parent, _, leaf = self.path.rpartition(".")
        self.parent, self.leaf = self.model.get_submodule(parent), leaf
        self.layers = list(getattr(self.parent, leaf))

    def site(self, layer, part=""):
        return f"{self.path}.{layer}" + (f".{part}" if part else "")

    def adapter(self, site, x):
        t = {part: self.tensors[f"base_model.model.{site}.adapter_{part}"] for part in ("down.weight", "down.bias", "up.weight", "up.bias")}
        h = self.act(torch.nn.functional.linear(x, t["down.weight"], t["down.bias"]))
        return self.scale * torch.nn.functional.linear(h, t["up.weight"], t["up.bias"])

    def beside(self, part):
        for n, layer in enumerate(self.layers):
            site = self.site(n, part)
            layer.get_submodule(part).register_forward_hook(
                lambda m, args, kwargs, y, site=site: with_first(y, lambda z: z + self.adapter(site, args[0] if args else kwargs["hidden_states"])),
                with_kwargs=True,
            )

    def behind(self, part):
        for n, layer in enumerate(self.layers):
            site = self.site(n, part)
            layer.get_submodule(part).register_forward_hook(
                lambda m, args, y, site=site: with_first(y, lambda z: z + self.adapter(site, z))
            )

    def replace_layers(self, run):
        class All(torch.nn.Module):
            def __getattr__(self, name, first=self.layers[0]):
                return getattr(first, name)

            def forward(self, x, *args, **kwargs):
                return run(x, args, kwargs)

        setattr(self.parent, self.leaf, torch.nn.ModuleList([All()]))

    def whole(self, n, x, args, kwargs):
        y = self.layers[n](x, *args, **kwargs)
        return y[0] if isinstance(y, tuple) else y

    def attention_half(self, n, x, args, kwargs):
        layer = self.layers[n]
        if self.family == "gpt2":
            return x + layer.attn(layer.ln_1(x), *args, **kwargs)[0]
        y = layer.self_attn(hidden_states=layer.input_layernorm(x), **kwargs)[0]
        return x + y * getattr(layer, "residual_multiplier", 1.0)

    def mlp_half(self, n, x):
        layer = self.layers[n]
        norm = layer.ln_2 if self.family == "gpt2" else layer.post_attention_layernorm
        return x + layer.mlp(norm(x)) * getattr(layer, "residual_multiplier", 1.0)

    def compare(self, folder, bound=TOLERANCE):
        logits = self.model(input_ids=torch.tensor([TOKENS]), use_cache=False).logits[0]
        base = families.forward(families.model(self.family), TOKENS)["logits"]
        assert reference.difference(logits.detach().numpy(), base) >= 100 * TOLERANCE, "the adapter must act"
        loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(TOKENS[1:]), reduction="sum")
        slopes = torch.autograd.grad(loss, list(self.tensors.values()))
        ours = smidgen.forward(families.folder(self.family), adapter=folder, ids=TOKENS, gradients=True)
        assert reference.difference(ours["logits"], logits.detach().numpy()) <= TOLERANCE
        assert ours["gradients"].keys() == self.tensors.keys()
        for name, slope in zip(self.tensors, slopes, strict=True):
            assert slope.abs().max() > 1e-4, f"{name}: too small a gradient to prove anything"
            assert reference.difference(ours["gradients"][name], slope.numpy()) <= bound, name


def with_first(y, change):
    return (change(y[0]), *y[1:]) if isinstance(y, tuple) else change(y)


def width(family):
    entry = families.settings(family)
    return entry.get("hidden_size", entry.get("n_embd"))


def layers(family):
    entry = families.settings(family)
    return entry.get("num_hidden_layers", entry.get("n_layer"))


@pytest.mark.parametrize("where", ["mlp", "attention"])
@pytest.mark.parametrize("family", WIDE)
def test_parallel_adapter(family, where, tmp_path):
    part = "mlp" if where == "mlp" else ATTENTION[family]
    sites = [f"{WIDE[family]}.{n}.{part}" for n in range(layers(family))]
    config = {"peft_type": "SMIDGEN_PARALLEL_ADAPTER", "target_modules": [part], "activation": "silu", "scale": 1.5}
    tensors = write(tmp_path / "a", config, sites, width(family), 6)
    made = Reference(family, tensors, activation="silu", scale=1.5)
    made.beside(part)
    made.compare(tmp_path / "a", bound=5 * TOLERANCE)


CASES = [(f, m) for f in WIDE for m in FACTORS if (f, m) != ("gpt_neox", "meft3")]


@pytest.mark.parametrize("combine", ["main", "average"])
@pytest.mark.parametrize(("family", "method"), CASES)
def test_meft(family, method, combine, tmp_path):
    count = layers(family)
    x1_factor, x2_factor = FACTORS[method]
    at = [f"{WIDE[family]}.{n}" for n in range(count)]
    sites = [f"{site}.mlp" for site in at]
    if method == "meft3":
        sites += [f"{site}.{ATTENTION[family]}" for site in at]
    else:
        # With the main stream alone meft1's last adapter would reach nothing.
        sites += at[:-1] if (method, combine) == ("meft1", "main") else at
    config = {"peft_type": f"SMIDGEN_{method.upper()}", "x1_factor": x1_factor, "x2_factor": x2_factor, "combine": combine}
    tensors = write(tmp_path / "a", config, sites, width(family), 5)
    made = Reference(family, tensors)
    made.beside("mlp")
    if method == "meft3":
        made.behind(ATTENTION[family])

    def own(n, x):
        return made.adapter(at[n], x) if at[n] in sites else torch.zeros_like(x)

    def run(x, args, kwargs):
        x1 = x2 = x
        for n in range(count):
            if method == "meft1":
                y1 = x1_factor * x1 + made.whole(n, x2, args, kwargs)
                x1, x2 = x2_factor * x2 + own(n, y1), y1
            elif method == "meft2":
                y1 = x1_factor * x1 + own(n, x2)
                x1, x2 = x2_factor * x2 + made.whole(n, y1, args, kwargs), y1
            else:
                x1 = x1_factor * x1 + made.attention_half(n, x2, args, kwargs)
                x2 = x2_factor * x2 + made.mlp_half(n, x1)
        return (x1 + x2) / 2 if combine == "average" else (x1 if method == "meft2" else x2)

    made.replace_layers(run)
    made.compare(tmp_path / "a", bound=5 * TOLERANCE)


def test_peft_refuses_our_types(tmp_path):
    import peft

    write(tmp_path / "a", {"peft_type": "SMIDGEN_MEFT1"}, ["model.layers.0.mlp"], 48, 4)
    with pytest.raises((KeyError, ValueError, TypeError)):
        peft.PeftConfig.from_pretrained(str(tmp_path / "a"))


@pytest.mark.parametrize("kind", ["folder", "gguf adapter"])
@pytest.mark.parametrize("method", ["PARALLEL_ADAPTER", "MEFT1"])
def test_export_says_why_it_cannot(method, kind, tmp_path):
    count = layers("llama")
    sites = [f"model.layers.{n}.mlp" for n in range(count)]
    if method == "MEFT1":
        sites += [f"model.layers.{n}" for n in range(count - 1)]
    config = {"target_modules": ["mlp"]} if method == "PARALLEL_ADAPTER" else {}
    write(tmp_path / "a", {"peft_type": f"SMIDGEN_{method}"} | config, sites, width("llama"), 4)
    out = tmp_path / ("out" if kind == "folder" else "out.gguf")
    flags = {"format": "gguf-lora"} if kind != "folder" else {}
    done = smidgen.call("export", model=families.folder("llama"), adapter=tmp_path / "a", out=out, **flags)
    assert done.returncode != 0
    assert "not a linear function" in done.stderr or "two streams" in done.stderr, done.stderr
    assert not out.exists()
