"""Tiny models and data sets, made on the spot and equal for equal seeds.

Every field of the configuration differs from its default, and the weights are large, so that a reader which ignores a
field gives visibly different logits (test_reference.py measures that). All row lengths are multiples of 32, the block
of GGUF's Q8_0, Q4_0 and Q4_1.
"""

import hashlib
import json
import random
from pathlib import Path

import numpy as np
from support.paths import BUILD, digest, made_once

HOME = BUILD / "tiny" / digest(Path(__file__), 12)

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,  # not hidden / heads
    "hidden_act": "silu",
    "rms_norm_eps": 1e-3,
    "rope_theta": 5000.0,
    "max_position_embeddings": 160,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "use_cache": True,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.5,
    "high_freq_factor": 3.0,
    "original_max_position_embeddings": 48,
}
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# ChatML with a default system message, in the constructs that SmolLM2's own template uses.
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nAnswer in few words.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPARE_IDS = 5  # rows of the embedding beyond the tokenizer's vocabulary, as published models have


# ---------------------------------------------------------------------------------------------- tokenizer
def corpus(lines: int = 3000, seed: int = 7) -> list[str]:
    """Sentences over an invented vocabulary with figures, case, indentation and a little of other scripts."""
    pick = random.Random(seed)
    parts = ["lo", "ri", "ne", "ta", "um", "sel", "ka", "do", "ver", "in", "es", "an", "the", "ing", "ed", "pro"]
    words = ["".join(pick.choices(parts, k=pick.randint(1, 4))) for _ in range(400)]
    odd = ["naïve", "Straße", "日本語", "мир", "don't", "we'll", "I'm", "def", "return", "self.x", "==", "->", "()"]
    out = []
    for _ in range(lines):
        line = [pick.choice(words) if pick.random() < 0.9 else pick.choice(odd) for _ in range(pick.randint(2, 14))]
        if pick.random() < 0.3:
            line.insert(pick.randrange(len(line)), str(pick.randrange(10000)))
        out.append(" " * pick.choice([0, 0, 0, 2, 4]) + " ".join(line).capitalize() + pick.choice([".", "!", ":", ""]))
    return out


def tokenizer():
    """A byte-level BPE of SmolLM2's kind (digits apart, GPT-2's pattern) with some 100 merges."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    folder = HOME / "tokenizer"
    with made_once(folder) as scratch:
        if scratch:
            made = Tokenizer(models.BPE())
            made.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
            )
            made.decoder = decoders.ByteLevel()
            trainer = trainers.BpeTrainer(
                vocab_size=len(SPECIALS) + 256 + 100,
                special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIALS],
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            )
            made.train_from_iterator(corpus(), trainer)
            made.save(str(scratch / "tokenizer.json"))
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def write_tokenizer(folder: Path, template: str = TEMPLATE) -> None:
    tokenizer()
    (folder / "tokenizer.json").write_bytes((HOME / "tokenizer" / "tokenizer.json").read_bytes())
    (folder / "chat_template.jinja").write_text(template)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONFIG["max_position_embeddings"],
        "chat_template": template,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))


def vocab_size() -> int:
    return tokenizer().get_vocab_size() + SPARE_IDS


# ---------------------------------------------------------------------------------------------- weights
def weights(config: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """fp32 tensors under HF names; drawn in sorted order so that one name more does not shift the others' values."""
    h, m, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    q = config["num_attention_heads"] * config["head_dim"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], h), "model.norm.weight": (h,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], h)
    for i in range(layers):
        at = f"model.layers.{i}."
        linears = {
            "self_attn.q_proj": (q, h),
            "self_attn.k_proj": (kv, h),
            "self_attn.v_proj": (kv, h),
            "self_attn.o_proj": (h, q),
            "mlp.gate_proj": (m, h),
            "mlp.up_proj": (m, h),
            "mlp.down_proj": (h, m),
        }
        for name, shape in linears.items():
            shapes[at + name + ".weight"] = shape
            if config["attention_bias" if "attn" in name else "mlp_bias"]:
                shapes[at + name + ".bias"] = shape[:1]
        shapes[at + "input_layernorm.weight"] = (h,)
        shapes[at + "post_attention_layernorm.weight"] = (h,)
    out = {}
    for name, shape in sorted(shapes.items()):
        draw = np.random.default_rng([seed, *name.encode()])
        x = draw.standard_normal(shape)
        if name.endswith("norm.weight"):
            x = 1 + 0.3 * x
        elif name.endswith(".bias"):
            x = 0.3 * x
        elif "embed" in name or "lm_head" in name:
            x = 0.25 * x
        else:
            x = 1.2 * x / np.sqrt(shape[1])
        out[name] = x.astype(np.float32)
    return out


def to_bf16(x: np.ndarray) -> np.ndarray:
    """The nearest bf16 of each fp32, ties to even, as the upper 16 bits."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.uint32) << 16).view(np.float32)


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], dtype: str = "fp32") -> None:
    from safetensors import TensorSpec, serialize_file

    kind = {"fp32": "float32", "bf16": "bfloat16"}[dtype]
    # `raw` must outlive the call: serialize_file reads the arrays' memory.
    raw = {n: to_bf16(x) if dtype == "bf16" else np.ascontiguousarray(x, np.float32) for n, x in tensors.items()}
    serialize_file(
        {n: TensorSpec(dtype=kind, shape=x.shape, data_ptr=x.ctypes.data, data_len=x.nbytes) for n, x in raw.items()},
        str(path),
        {"format": "pt"},
    )


def config(style: str = "v5", **changes) -> dict:
    """A configuration with `changes`. Style v4 writes rope_theta and rope_scaling, v5 writes rope_parameters."""
    out = {**CONFIG, "vocab_size": vocab_size(), **changes}
    scaling = out.pop("rope_scaling", None)
    if style == "v5":
        out["rope_parameters"] = {"rope_type": "default", **(scaling or {}), "rope_theta": out.pop("rope_theta")}
        out["dtype"] = "float32"
    else:
        out["rope_scaling"] = scaling
        out["torch_dtype"] = "float32"
    return out


def write_model(folder: Path, config: dict, tensors: dict[str, np.ndarray], dtype: str = "fp32", shards: int = 1):
    folder.mkdir(parents=True, exist_ok=True)
    config = dict(config)
    for key in ("dtype", "torch_dtype"):
        if key in config:
            config[key] = {"fp32": "float32", "bf16": "bfloat16"}[dtype]
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    write_tokenizer(folder)
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors, dtype)
        return
    where = {}
    names = sorted(tensors)
    for s in range(shards):
        file = f"model-{s + 1:05d}-of-{shards:05d}.safetensors"
        part = {n: tensors[n] for n in names[s::shards]}
        write_safetensors(folder / file, part, dtype)
        where |= {n: file for n in part}
    total = sum(x.size * (2 if dtype == "bf16" else 4) for x in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def model(name: str = "llama", *, dtype: str = "fp32", shards: int = 1, seed: int = 0, style: str = "v5", flip=None, **changes):
    """An HF folder. `changes` hold for weights and configuration; `flip` edits the written configuration only."""
    key = [name, dtype, f"s{shards}", f"r{seed}", style] + [f"{k}={v}" for k, v in sorted(changes.items())]
    key += [f"!{k}={v}" for k, v in sorted((flip or {}).items())]
    label = "-".join(key)
    if len(label) > 60:
        label = f"{name}-{dtype}-{hashlib.sha256(label.encode()).hexdigest()[:12]}"
    folder = HOME / label
    with made_once(folder) as scratch:
        if scratch:
            full = {**CONFIG, "vocab_size": vocab_size(), **changes}
            write_model(scratch, config(style, **{**changes, **(flip or {})}), weights(full, seed), dtype, shards)
    return folder


# ---------------------------------------------------------------------------------------------- GGUF
def permuted(w: np.ndarray, heads: int) -> np.ndarray:
    """HF's half-split rows of one head put in GGUF's interleaved order, as converters do for arch llama."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def gguf_name(name: str) -> str:
    fixed = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    inner = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    stem, kind = name.rsplit(".", 1)
    if stem in fixed:
        return f"{fixed[stem]}.{kind}"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{inner[rest]}.{kind}"


def gguf(kind: str = "Q4_1", *, seed: int = 0, template: str = TEMPLATE, **changes) -> Path:
    """The same model as one GGUF file: matrices in `kind` (F32 F16 BF16 Q8_0 Q4_0 Q4_1), norms in F32."""
    key = "-".join([kind, f"r{seed}"] + [f"{k}={v}" for k, v in sorted(changes.items())])
    folder = HOME / f"gguf-{key}"
    with made_once(folder) as scratch:
        if scratch:
            full = {**CONFIG, "vocab_size": vocab_size(), **changes}
            write_gguf(scratch / f"tiny.{kind}.gguf", full, weights(full, seed), kind, template)
    return folder / f"tiny.{kind}.gguf"


def write_gguf(path: Path, config: dict, tensors: dict[str, np.ndarray], kind: str, template: str = TEMPLATE) -> None:
    import gguf as lib
    from gguf import quants

    out = lib.GGUFWriter(str(path), "llama")
    out.add_type("model")
    out.add_name("tiny")
    out.add_file_type({"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "BF16": 32}[kind])
    if kind.startswith("Q"):
        out.add_quantization_version(2)
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_block_count(config["num_hidden_layers"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(config["num_attention_heads"])
    out.add_head_count_kv(config["num_key_value_heads"])
    out.add_key_length(config["head_dim"])
    out.add_value_length(config["head_dim"])
    out.add_rope_dimension_count(config["head_dim"])
    out.add_rope_freq_base(config["rope_theta"])
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_vocab_size(config["vocab_size"])
    spec = json.loads(tokenizer().to_str())
    by_id = {i: t for t, i in tokenizer().get_vocab(with_added_tokens=True).items()}
    tokens = [by_id.get(i, f"[PAD{i}]") for i in range(config["vocab_size"])]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("smollm")
    out.add_token_list(tokens)
    out.add_token_types([3 if t in SPECIALS else 1 if i in by_id else 5 for i, t in enumerate(tokens)])
    out.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in spec["model"]["merges"]])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    out.add_pad_token_id(0)
    out.add_add_bos_token(False)
    out.add_add_space_prefix(False)
    out.add_chat_template(template)
    for name in sorted(tensors):
        x = tensors[name]
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
        if heads:
            x = permuted(x, config[heads])
        x = np.ascontiguousarray(x, np.float32)
        if x.ndim == 1 or kind == "F32":
            out.add_tensor(gguf_name(name), x)
        else:
            type_ = lib.GGMLQuantizationType[kind]
            out.add_tensor(gguf_name(name), quants.quantize(x, type_), raw_dtype=type_)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


# ---------------------------------------------------------------------------------------------- data sets
WANTED, UNWANTED = "sovi", "brek"


def samples(count: int, kind: str = "messages", seed: int = 3) -> list[dict]:
    """Short questions and answers of the corpus' words; `kind` is messages, prompt, text, pairs or labelled.

    A chosen answer ends in one word and a rejected one in another: something a small model learns at once.
    """
    pick = random.Random(seed)
    lines = [s.strip() for s in corpus(600, seed=seed + 100)]
    out = []
    for _ in range(count):
        ask, answer = (" ".join(pick.choice(lines).split()[: pick.randint(2, 7)]) for _ in range(2))
        if kind == "messages":
            turns = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
            out.append({"messages": turns})
        elif kind == "pairs":
            other = " ".join(pick.choice(lines).split()[: pick.randint(2, 7)])
            out.append({"prompt": ask, "chosen": f"{answer} {WANTED}", "rejected": f"{other} {UNWANTED}"})
        elif kind == "labelled":
            wanted = pick.random() < 0.5
            out.append({"prompt": ask, "completion": f"{answer} {WANTED if wanted else UNWANTED}", "label": wanted})
        elif kind == "prompt":
            out.append({"prompt": ask + "\n", "completion": answer})
        else:
            out.append({"text": f"{ask} {answer}"})
    return out


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return path


def data(count: int = 24, kind: str = "messages", seed: int = 3) -> Path:
    """A JSONL file of samples()."""
    folder = HOME / f"data-{kind}-{count}-{seed}"
    with made_once(folder) as scratch:
        if scratch:
            write_jsonl(scratch / "data.jsonl", samples(count, kind, seed))
    return folder / "data.jsonl"
