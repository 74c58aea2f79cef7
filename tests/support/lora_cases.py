"""LoRA configurations of PEFT: twelve by hand that turn every field, and as many as wanted drawn by seed."""

import copy
import random
import re
import zlib

import torch
from support import reference

LEAVES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ATTENTION = LEAVES[:4]

# Base models by name: which modules have a bias, and whether the head is the embedding.
BASES = {
    "tied": {"tie_word_embeddings": True},
    "own head": {"tie_word_embeddings": False},
    "biased": {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True},
    "biased, tied": {"tie_word_embeddings": True, "attention_bias": True},
}

# Each with the fields that must move the reference, one at a time, when they go back to their default.
BY_HAND = {
    "scale": (
        "tied",
        {"r": 5, "lora_alpha": 12, "use_rslora": True, "target_modules": LEAVES},
        ["lora_alpha", "use_rslora"],
    ),
    "rank pattern": (
        "tied",
        {
            "target_modules": LEAVES,
            "rank_pattern": {r"layers\.1\..*up_proj": 7, "mlp.up_proj": 3, "^model.layers.0.self_attn.q_proj": 2},
        },
        ["rank_pattern"],
    ),
    "alpha pattern": (
        "own head",
        {"target_modules": LEAVES, "alpha_pattern": {"k_proj": 20, "v.*_proj": 3.5}},
        ["alpha_pattern"],
    ),
    "regex": ("tied", {"target_modules": r".*layers\.[02]\.mlp\.(up|down)_proj"}, ["target_modules"]),
    "all but some": (
        "own head",
        {"target_modules": "all-linear", "exclude_modules": r".*\.1\..*|.*gate_proj"},
        ["exclude_modules", "target_modules"],
    ),
    "layers": (
        "tied",
        {
            "target_modules": ["o_proj", "down_proj", "model.layers.1.mlp.up_proj"],
            "layers_to_transform": [0, 2],
            "layers_pattern": "layers",
        },
        ["layers_to_transform"],
    ),
    "biases": ("biased", {"target_modules": ["q_proj", "down_proj"], "bias": "all"}, ["bias"]),
    "their biases and own": (
        "biased",
        {"target_modules": ATTENTION, "bias": "lora_only", "lora_bias": True},
        ["bias", "lora_bias"],
    ),
    "saved modules": (
        "biased",
        {"target_modules": LEAVES, "modules_to_save": ["lm_head", "model.norm", "1.mlp", "input_layernorm"]},
        ["modules_to_save"],
    ),
    "embedding and head": ("own head", {"target_modules": ["embed_tokens", "lm_head", "v_proj"]}, ["target_modules"]),
    "one update for a tied pair": (
        "tied",
        {"target_modules": ["lm_head", "v_proj"], "ensure_weight_tying": True},
        ["ensure_weight_tying", "target_modules"],
    ),
    "tokens": (
        "tied",
        {"target_modules": ["v_proj"], "trainable_token_indices": [5, 300, 17]},
        ["trainable_token_indices"],
    ),
}


def draw(seed: int) -> tuple[str, dict]:
    """A base and a configuration that PEFT takes, over all the fields that this build reads."""
    pick = random.Random(seed)

    def sometimes(share):
        return pick.random() < share

    base = pick.choice(list(BASES))
    tied, biased = "tied" in base, "biased" in base
    c = {"r": pick.choice([1, 2, 3, 4, 6, 9]), "lora_alpha": pick.choice([1, 4, 7, 16, 2.5])}
    kind = pick.choice(["names", "names", "names", "regex", "all"])
    names = pick.sample(LEAVES, pick.randint(1, 5))
    embeddings = False
    if kind == "all":
        c["target_modules"] = "all-linear"
    elif kind == "regex":
        c["target_modules"] = rf".*\.({'|'.join(names)})"
    else:
        if sometimes(0.2):
            names.append(f"model.layers.{pick.randrange(3)}.{pick.choice(['self_attn.o_proj', 'mlp.gate_proj'])}")
        if sometimes(0.3):
            names += pick.choice([["embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"]])
            embeddings = True
        c["target_modules"] = names
        if sometimes(0.3):
            c["layers_to_transform"] = pick.choice([0, 2, [1], [0, 2], [0, 1]])
            if sometimes(0.5):
                c["layers_pattern"] = pick.choice(["layers", ["h", "layers"]])
    if not set(names) <= {"k_proj", "v_proj"} and sometimes(0.2):
        c["exclude_modules"] = pick.choice([["v_proj"], r".*\.1\..*", ["layers.0.mlp.up_proj", "k_proj"]])
    if sometimes(0.3):
        c["use_rslora"] = True
    if sometimes(0.35):
        ranks = [("q_proj", 3), (r"layers\.[01]\..*", 5), ("mlp.up_proj", 2), ("model.layers.2.self_attn.v_proj", 8)]
        c["rank_pattern"] = dict(pick.sample(ranks, 2))
    if sometimes(0.35):
        alphas = [("q_proj", 3), (r".*\.mlp\..*", 11), ("^model.layers.1.self_attn.k_proj", 30)]
        c["alpha_pattern"] = dict(pick.sample(alphas, 2))
    if biased and sometimes(0.6):
        c["bias"] = pick.choice(["all", "lora_only"])
    if not embeddings and sometimes(0.25):
        c["lora_bias"] = True
    if sometimes(0.35):
        copies = ["lm_head", "embed_tokens", "model.norm", "post_attention_layernorm"]
        copies += ["2.self_attn.o_proj", "1.mlp", "0.self_attn"]
        c["modules_to_save"] = pick.sample(copies, pick.randint(1, 3))
    saved = set(c.get("modules_to_save", []))
    if not embeddings and not saved & {"lm_head", "embed_tokens"} and sometimes(0.35):
        rows = [[5, 17, 300], {"embed_tokens": [7, 240]}, {"lm_head": [3, 9]}]
        c["trainable_token_indices"] = pick.choice([*rows, {"embed_tokens": [5, 7], "lm_head": [7, 90]}])
    both = embeddings and bool(saved & {"lm_head", "embed_tokens"})  # PEFT refuses to tie a copy and an update
    if tied and not both and sometimes(0.4) and isinstance(c.get("trainable_token_indices", []), list):
        c["ensure_weight_tying"] = True
    init = pick.choice([True, True, False, "gaussian", "orthogonal"])
    ranks = [c["r"], *c.get("rank_pattern", {}).values()]
    if init == "orthogonal" and any(r % 2 for r in ranks):
        init = "gaussian"
    if init in (True, False) or not c.get("lora_bias"):
        c["init_lora_weights"] = init
    if sometimes(0.3):
        c["lora_dropout"] = 0.2  # of no effect in evaluation
    return base, c


def build(model, settings: dict, scale: float = 0.05, like: dict | None = None):
    """`model` (left as it is) under PEFT with every trained value moved away from its start, by its name, in the
    sizes that suit the alphas of `like` (of `settings`, where it is not given)."""
    import peft

    settings = copy.deepcopy(settings)
    for key in ("rank_pattern", "alpha_pattern"):
        if key in settings:  # PEFT sorts them in the file and goes by the first: only sorted ones mean the same again
            settings[key] = dict(sorted(settings[key].items()))
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 10, "task_type": "CAUSAL_LM"} | settings)
    with reference.without_hub():
        wrapped = peft.get_peft_model(copy.deepcopy(model), config)
    seen = set()
    alphas = like or settings
    largest = max(alphas.get("lora_alpha", 10), *alphas.get("alpha_pattern", {}).values(), 1)
    with torch.no_grad():
        for name, p in wrapped.named_parameters():
            if not p.requires_grad or p.data_ptr() in seen:
                continue
            seen.add(p.data_ptr())
            noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
            if "lora_A" in name or "lora_embedding" in name:
                p.copy_(noise * 0.1)
            elif "lora_B" in name:  # of a size that leaves the model well conditioned: fp32 must reach 1e-5
                p.copy_(noise * 0.3 / largest)
            else:
                p += noise * scale
    return wrapped.eval()


def in_double(wrapped):
    """The model itself, now in fp64, norms included. What PEFT ties stays equal, though no longer one memory."""
    wrapped.double()
    for module in wrapped.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.forward = lambda x, module=module: reference.rms_norm(module, x)
    return wrapped


def file_name(parameter: str) -> str:
    """The name in the adapter's file of a parameter of the model."""
    name = parameter.replace(".modules_to_save.default.", ".").replace(".default.", ".")
    return re.sub(r"\.default$", "", name)


def gradients(wrapped, ids) -> dict:
    """By file name, of the sum of token losses. A head that shares its embedding's update adds its share there: PEFT
    keeps two parameters over one memory."""
    wrapped.zero_grad()
    reference.token_losses(wrapped, ids).sum().backward()
    found = {file_name(n): p.grad.double().numpy() for n, p in wrapped.named_parameters() if p.grad is not None}
    config = wrapped.peft_config["default"]
    if config.ensure_weight_tying and "base_model.model.lm_head.lora_A.weight" in found:
        embedding = "base_model.model.model.embed_tokens.lora_embedding_"
        if embedding + "A" in found:
            found[embedding + "B"] += found.pop("base_model.model.lm_head.lora_A.weight").T
            found[embedding + "A"] += found.pop("base_model.model.lm_head.lora_B.weight").T
    return found
