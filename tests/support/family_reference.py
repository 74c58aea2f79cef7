"""Tiny models of every family made and run by transformers, and the same as GGUF by the gguf package.

The layouts of GGUF are llama.cpp's (convert_hf_to_gguf.py): q and k of some architectures turned to pairs, one added to
Gemma's norms, experts stacked, GPT-2's Conv1D turned, GPT-NeoX's q, k and v put apart. Nothing here runs smidgen.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import tiny
import torch
from support.families import FAMILIES
from support.paths import CACHE, made_once

HOME = CACHE / "families"
TURNED = ("llama", "smollm3", "granite")  # architectures whose q and k rows lie pair by pair


# ---------------------------------------------------------------------------------------------- models
def settings(family: str, changes: dict | None = None) -> dict:
    return FAMILIES[family]["base"] | {"vocab_size": tiny.vocab_size()} | (changes or {})


def configuration(family: str, changes: dict | None = None):
    import transformers

    entry = FAMILIES[family]
    # Deep copy: transformers edits the dictionaries it is given.
    values = json.loads(json.dumps(settings(family, changes)))
    made = getattr(transformers, entry.get("config", entry["model"] + "Config"))(**values)
    # The plain code of attention (soft caps exist nowhere else) and of experts (the fast one has no fp64).
    made._attn_implementation = "eager"
    made._experts_implementation = "eager"
    return made


def drawn(name: str, shape, family: str) -> np.ndarray:
    """Weights large enough that every field acts, keyed by name: a changed size leaves the others as they are."""
    x = np.random.default_rng([7, *name.encode()]).standard_normal(shape)
    if name.endswith("bias"):
        x = 0.3 * x
    elif len(shape) == 1:
        x = 0.3 * x + (0 if family.startswith("gemma") else 1)
    elif "embed" in name or "lm_head" in name or "wte" in name or "wpe" in name:
        x = 0.25 * x
    else:
        conv1d = family == "gpt2"
        x = 1.2 * x / math.sqrt(shape[0] if conv1d else shape[-1])
    return x.astype(np.float32)


def model(family: str, changes: dict | None = None, flip: dict | None = None, dtype=torch.float64):
    """The family's model with `changes`; `flip` changes the configuration alone and keeps the weights."""
    import transformers

    transformers.logging.set_verbosity_error()
    entry = FAMILIES[family]
    config = configuration(family, {**(changes or {}), **(flip or {})})
    made = getattr(transformers, entry.get("class", entry["model"] + "ForCausalLM"))(config)
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.copy_(torch.from_numpy(drawn(name, tuple(p.shape), family)))
    made = made.to(dtype).eval()
    if dtype == torch.float64:
        for module in made.modules():
            if type(module).__name__.endswith("RMSNorm"):
                module.forward = norm_of(module, 1.0 if family.startswith("gemma") else 0.0)
    return made


def norm_of(module, offset):
    """transformers' norms go through fp32 whatever the model's dtype; this one stays in x's."""
    eps = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    return lambda x: (offset + module.weight) * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def key(*parts) -> str:
    source = [Path(__file__).read_bytes(), Path(__file__).with_name("families.py").read_bytes()]
    return hashlib.sha256(repr(parts).encode() + b"".join(source)).hexdigest()[:12]


def folder(family: str, changes: dict | None = None) -> Path:
    """What save_pretrained writes, with the tiny tokenizer beside it."""
    path = HOME / f"{family}-{key(changes)}"
    with made_once(path) as scratch:
        if scratch:
            model(family, changes, dtype=torch.float32).save_pretrained(str(scratch))
            tiny.write_tokenizer(scratch)
    return path


@torch.no_grad()
def forward(made, ids) -> dict[str, np.ndarray]:
    out = made(input_ids=torch.tensor([list(ids)]), use_cache=False, output_hidden_states=True)
    return {"logits": out.logits[0].double().numpy(), "hidden": out.hidden_states[-1][0].double().numpy()}


# ---------------------------------------------------------------------------------------------- GGUF
def stored(name: str, x: np.ndarray, config, arch: str) -> np.ndarray:
    heads = config.num_attention_heads
    if arch in TURNED and ".q_proj." in name:
        return tiny.permuted(x, heads)
    if arch in TURNED and ".k_proj." in name:
        return tiny.permuted(x, config.num_key_value_heads)
    if arch.startswith("gemma") and name.endswith("norm.weight"):
        return x + 1
    if arch == "gpt2" and x.ndim == 2 and ("attn" in name or "mlp" in name):
        return x.T
    if arch == "gptneox" and "query_key_value" in name:
        return x.reshape(heads, 3, x.shape[0] // heads // 3, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)
    return x


def write_metadata(out, config, arch: str) -> None:
    get = lambda name, absent=None: getattr(config, name, absent)  # noqa: E731
    heads, width = config.num_attention_heads, config.hidden_size
    head_dim = get("head_dim") or width // heads
    rope = get("rope_parameters") or {}
    full = rope.get("full_attention", rope)
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(width)
    out.add_block_count(config.num_hidden_layers)
    out.add_feed_forward_length(get("n_inner") or get("intermediate_size"))
    out.add_head_count(heads)
    if arch not in ("gpt2", "gptneox"):
        out.add_head_count_kv(config.num_key_value_heads)
        out.add_layer_norm_rms_eps(config.rms_norm_eps)
        out.add_key_length(head_dim)
        out.add_value_length(head_dim)
    else:
        out.add_layer_norm_eps(get("layer_norm_epsilon") or config.layer_norm_eps)
    if full:
        out.add_rope_freq_base(full["rope_theta"])
        out.add_rope_dimension_count(int(head_dim * full.get("partial_rotary_factor", 1)))
    if arch == "gptneox":
        out.add_parallel_residual(config.use_parallel_residual)
    if arch == "gemma3":
        out.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
    if full.get("rope_type") in ("linear", "yarn"):
        out.add_rope_scaling_type(__import__("gguf").RopeScalingType(full["rope_type"]))
        out.add_rope_scaling_factor(full["factor"])
    if full.get("rope_type") == "yarn":
        out.add_rope_scaling_orig_ctx_len(full["original_max_position_embeddings"])
        out.add_rope_scaling_yarn_beta_fast(full["beta_fast"])
        out.add_rope_scaling_yarn_beta_slow(full["beta_slow"])
    if full.get("rope_type") == "longrope":
        original = full["original_max_position_embeddings"]
        out.add_rope_scaling_orig_ctx_len(original)
        out.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(full["factor"]) / math.log(original)))
        out.add_tensor("rope_factors_long.weight", np.array(full["long_factor"], np.float32))
        out.add_tensor("rope_factors_short.weight", np.array(full["short_factor"], np.float32))
    if full.get("rope_type") == "llama3":
        out.add_tensor("rope_freqs.weight", llama3_factors(full, head_dim))
    if get("sliding_window") and arch in ("gemma2", "gemma3", "phi3", "llama"):
        out.add_sliding_window(config.sliding_window)
    if arch.startswith("gemma"):
        if get("attn_logit_softcapping"):
            out.add_attn_logit_softcapping(config.attn_logit_softcapping)
        if get("final_logit_softcapping"):
            out.add_final_logit_softcapping(config.final_logit_softcapping)
    if arch == "granite":
        out.add_embedding_scale(config.embedding_multiplier)
        out.add_residual_scale(config.residual_multiplier)
        out.add_attention_scale(config.attention_multiplier)
        out.add_logit_scale(config.logits_scaling)
    if get("num_local_experts"):
        out.add_expert_count(config.num_local_experts)
        out.add_expert_used_count(config.num_experts_per_tok)
    if get("moe_intermediate_size"):
        out.add_expert_feed_forward_length(config.moe_intermediate_size)


def llama3_factors(rope: dict, head_dim: int) -> np.ndarray:
    """By what llama.cpp divides each frequency."""
    old, low, high = rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
    out = []
    for i in range(0, head_dim, 2):
        wave = 2 * math.pi * rope["rope_theta"] ** (i / head_dim)
        smooth = (old / wave - low) / (high - low)
        if wave < old / high:
            out.append(1.0)
        elif wave > old / low:
            out.append(rope["factor"])
        else:
            out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(out, np.float32)


ARCH = {"qwen3_moe": "qwen3moe", "gpt_neox": "gptneox", "mistral": "llama", "mixtral": "llama"}


def gguf(family: str, changes: dict | None = None) -> Path:
    """The folder of these settings as one GGUF file in F32."""
    import gguf as lib

    where = HOME / f"gguf-{family}-{key(changes)}"
    path = where / "tiny.gguf"
    with made_once(where) as scratch:
        if scratch:
            from safetensors.numpy import load_file

            arch = ARCH.get(family, family)
            config = configuration(family, changes)
            tensors = load_file(str(folder(family, changes) / "model.safetensors"))
            out = lib.GGUFWriter(str(scratch / "tiny.gguf"), arch)
            write_metadata(out, config, arch)
            number = next(k for k, v in lib.MODEL_ARCH_NAMES.items() if v == arch)
            names = lib.get_tensor_name_map(number, config.num_hidden_layers)
            experts: dict[str, dict[int, np.ndarray]] = {}
            for name, x in sorted(tensors.items()):
                x = stored(name, x, config, arch)
                if ".experts." in name:
                    head, tail = name.split(".experts.")
                    expert, leaf = tail.split(".", 1)
                    experts.setdefault(f"{head}.experts.{leaf}", {})[int(expert)] = x
                    continue
                out.add_tensor(found(names, name), np.ascontiguousarray(x, np.float32))
            for name, parts in experts.items():
                stacked = np.stack([parts[e] for e in sorted(parts)])
                out.add_tensor(found(names, name), np.ascontiguousarray(stacked, np.float32))
            out.write_header_to_file()
            out.write_kv_data_to_file()
            out.write_tensors_to_file()
            out.close()
    return path


def found(names, name: str) -> str:
    made = names.get_name(name, try_suffixes=(".weight", ".bias"))
    assert made, f"the gguf package has no name for {name}"
    return made
