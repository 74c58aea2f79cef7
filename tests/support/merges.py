"""Merge recipes and the tiny models that they are about, for smidgen and mergekit alike."""

import torch
from safetensors import safe_open
from transformers import LlamaConfig, LlamaForCausalLM

LAYERS = 4
MODELS = ("base", "a", "b", "c")


def make_models(home, tied=False):
    """Llama models of four layers, in fp32; a, b and c are the base and something else."""
    config = LlamaConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=2,
                         vocab_size=67, max_position_embeddings=96, tie_word_embeddings=tied, dtype="float32")  # fmt: skip
    for number, name in enumerate(MODELS):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        with torch.no_grad():
            draw = torch.Generator().manual_seed(number)
            for value in model.parameters():
                value.add_(torch.randn(value.shape, generator=draw) * 0.3 if number == 0 else torch.randn(value.shape, generator=draw) * 0.05)
        if number:
            base = dict(MADE.named_parameters())
            with torch.no_grad():
                for key, value in model.named_parameters():
                    value.copy_(base[key] + (value - value.mean()) * 0.1)
        else:
            globals()["MADE"] = model
        model.save_pretrained(home / name)


def tensors(folder):
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            found |= {key: opened.get_tensor(key) for key in opened.keys()}
    return found


def listed(*models, **parameters):
    """`models:` with parameters for each; a value is one for all, or a tuple of one for each."""
    rows = []
    for at, model in enumerate(models):
        own = {k: (v[at] if isinstance(v, tuple) else v) for k, v in parameters.items()}
        rows.append(f"  - model: {model}\n" + (f"    parameters: {{{', '.join(f'{k}: {v}' for k, v in own.items())}}}\n" if own else ""))
    return "models:\n" + "".join(rows)


def recipe(method, models, base=None, top="", dtype="float32"):
    text = f"merge_method: {method}\ndtype: {dtype}\n{models}{top}"
    return text + (f"base_model: {base}\n" if base else "")


def sliced(*slices):
    """Each slice: a list of (model, first, last)."""
    text = "slices:\n"
    for sources in slices:
        text += "  - sources:\n"
        for model, first, last in sources:
            text += f"      - model: {model}\n        layer_range: [{first}, {last}]\n"
    return text


GRADIENT = "parameters:\n  t:\n    - filter: self_attn\n      value: [0, 0.5, 0.3, 0.7, 1]\n    - filter: mlp\n      value: [1, 0.5, 0.7, 0.3, 0]\n    - value: 0.5\n"

# Every method, its options, and the structures that recipes have. Random ones are apart.
RECIPES = {
    "linear": recipe("linear", listed("a", "b", weight=(1.0, 0.3))),
    "linear not normalised": recipe("linear", listed("a", "b", "c", weight=(1.0, 0.3, -0.2)), top="parameters: {normalize: false}\n"),
    "linear with a base": recipe("linear", listed("a", "b", "base", weight=(0.4, 0.3, 0.3)), base="base"),
    "linear gradients": recipe("linear", listed("a", "b", weight=("[0, 1]", "[1, 0.2, 0]"))),
    "linear filters": recipe("linear", listed("a", "b", weight=("[{filter: mlp, value: 0.9}, {value: 0.1}]", "0.5"))),
    "linear bf16 out": recipe("linear", listed("a", "b", weight=0.5), top="out_dtype: bfloat16\n"),
    "slerp": recipe("slerp", listed("a"), base="base", top="parameters: {t: 0.3}\n"),
    "slerp gradient": recipe("slerp", sliced([("base", 0, 4), ("a", 0, 4)]), base="base", top=GRADIENT),
    "slerp ends": recipe("slerp", listed("a"), base="base", top="parameters: {t: [0, 1]}\n"),
    "nuslerp": recipe("nuslerp", listed("a", "b", weight=(0.7, 0.4))),
    "nuslerp with a base": recipe("nuslerp", listed("a", "b", weight=(0.7, 0.4)), base="base"),
    "nuslerp rows": recipe("nuslerp", listed("a", "b", weight=(0.7, 0.4)), base="base", top="parameters: {nuslerp_flatten: false, nuslerp_row_wise: true}\n"),
    "nuslerp columns": recipe("nuslerp", listed("a", "b", weight=(0.7, 0.4)), top="parameters: {nuslerp_flatten: false}\n"),
    "multislerp": recipe("multislerp", listed("a", "b", "c", weight=(0.7, 0.4, 0.2))),
    "multislerp with a base": recipe("multislerp", listed("a", "b", weight=(0.7, 0.4)), base="base"),
    "karcher": recipe("karcher", listed("a", "b", "c")),
    "karcher long": recipe("karcher", listed("a", "b"), top="parameters: {max_iter: 40, tol: 1e-9}\n"),
    "task_arithmetic": recipe("task_arithmetic", listed("a", "b", weight=(0.7, -0.4)), base="base"),
    "task_arithmetic normalised": recipe("task_arithmetic", listed("a", "b", weight=(0.7, 0.4)), base="base", top="parameters: {normalize: true, lambda: 1.3}\n"),
    "ties": recipe("ties", listed("a", "b", weight=(0.7, 0.4), density=0.5), base="base"),
    "ties dense": recipe("ties", listed("a", "b", "c", weight=(0.7, 0.4, 0.5)), base="base", top="parameters: {normalize: false}\n"),
    "ties sparse": recipe("ties", listed("a", "b", weight=1, density=(0.05, "[1, 0.3, 0.1]")), base="base", top="parameters: {lambda: 0.8, int8_mask: true}\n"),
    "ties nothing": recipe("ties", listed("a", "b", weight=1, density=(0.0, 0.2)), base="base"),
    "ties filters": recipe("ties", listed("a", "b", weight=("[{filter: mlp, value: 0.5}, {value: 0}]", "[0, 0.3, 0.7, 1]"), density=(0.6, 0.3)), base="base"),
    "breadcrumbs": recipe("breadcrumbs", listed("a", "b", weight=(1.0, 0.5), density=0.8, gamma=0.05), base="base"),
    "breadcrumbs_ties": recipe("breadcrumbs_ties", listed("a", "b", weight=(1.0, 0.5), density=0.6, gamma=0.02), base="base"),
    "model_stock": recipe("model_stock", listed("a", "b"), base="base"),
    "model_stock rows": recipe("model_stock", listed("a", "b", "c"), base="base", top="parameters: {filter_wise: true}\n"),
    "nearswap": recipe("nearswap", listed("a"), base="base", top="parameters: {t: 0.002}\n"),
    "sce": recipe("sce", listed("a", "b", "c"), base="base", top="parameters: {select_topk: 0.4}\n"),
    "sce all": recipe("sce", listed("a", "b"), base="base"),
    "arcee_fusion": recipe("arcee_fusion", listed("a"), base="base"),
    "ram": recipe("ram", listed("a", "b"), base="base"),
    "ram threshold": recipe("ram", listed("a", "b", "c"), base="base", top="parameters: {epsilon: 0.004}\n"),
    "ramplus_tl": recipe("ramplus_tl", listed("a", "b"), base="base", top="parameters: {epsilon: 0.004, r: 0.2, alpha: 0.3}\n"),
    "passthrough": recipe("passthrough", listed("a")),
    "passthrough stack": recipe("passthrough", sliced([("a", 0, 3)], [("b", 1, 4)], [("a", 2, 3)])),
    "passthrough scale": recipe("passthrough", listed("a", scale="[{filter: down_proj, value: 0.5}, {value: 1.0}]")),
    "slices of ties": recipe("ties", sliced([("base", 0, 2), ("a", 0, 2), ("b", 1, 3)], [("base", 2, 4), ("a", 2, 4), ("c", 0, 2)]), base="base", top="parameters: {weight: 0.5, density: 0.7}\n"),
    "slices of linear": recipe("linear", sliced([("a", 0, 2), ("b", 2, 4)], [("b", 0, 3), ("c", 1, 4)]), top="parameters: {weight: [0.2, 0.9]}\n"),
    "dare dense": recipe("dare_ties", listed("a", "b", weight=(0.7, 0.4)), base="base"),
    "della dense": recipe("della", listed("a", "b", weight=(0.7, 0.4)), base="base"),
}
RANDOM = {
    "dare_linear": recipe("dare_linear", listed("a", weight=1, density=0.4), base="base"),
    "dare_ties": recipe("dare_ties", listed("a", weight=1, density=0.4), base="base"),
    "della": recipe("della", listed("a", weight=1, density=0.5, epsilon=0.2), base="base"),
    "della_linear": recipe("della_linear", listed("a", weight=1, density=0.5, epsilon=0.2), base="base"),
}
# What `compat: mergekit` computes in 16 bits.
NARROW = {
    name: RECIPES[name]
    for name in ("linear", "linear not normalised", "linear gradients", "linear filters", "slerp", "slerp gradient", "slerp ends",
                 "task_arithmetic", "task_arithmetic normalised", "ties", "ties dense", "ties sparse", "ties nothing", "ties filters",
                 "breadcrumbs", "breadcrumbs_ties", "nearswap", "passthrough", "passthrough stack", "passthrough scale",
                 "slices of ties", "slices of linear", "dare dense", "della dense")
} | {
    "ties rescaled": recipe("ties", listed("a", "b", weight=(0.7, 0.4), density=0.4), base="base", top="parameters: {rescale: true}\n"),
    "task_arithmetic of three": recipe("task_arithmetic", listed("a", "b", "c", weight=(0.7, -0.4, 0.25)), base="base", top="parameters: {lambda: 0.7}\n"),
}  # fmt: skip


def convert(source, folder, dtype):
    model = LlamaForCausalLM.from_pretrained(source).to(dtype)
    model.save_pretrained(folder)
