"""A written GGUF file against transformers' reader and gguf's, and what --verify says against the same sums in numpy."""

import json

import gguf
import numpy as np
import pytest
import tiny
from gguf import GGUFReader
from support import reference, smidgen

IDS = [1, 17, 300, 5, 81, 240, 9, 33, 2, 120, 64, 7, 200]


def exported(tmp_path, model, name="m.gguf", **flags):
    smidgen.ok("export", model=model, out=tmp_path / name, **flags)
    return tmp_path / name


def fields(path) -> dict:
    return {n: f.contents() for n, f in GGUFReader(str(path)).fields.items() if not n.startswith("GGUF.")}


def through_transformers(path):
    """transformers' own GGUF reader, not this suite's."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    return transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="sdpa"
    ).eval()


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": False, "head_dim": 24}], ids=["tied", "untied"])
def test_transformers_reads_it_with_the_logits_of_the_folder(changes, tmp_path):
    model = tiny.model(**changes)
    path = exported(tmp_path, model)
    wanted = reference.forward(reference.llama(model), IDS)["logits"]
    got = reference.forward(through_transformers(path), IDS)["logits"]
    assert reference.difference(got, wanted) < 1e-6
    assert reference.difference(smidgen.forward(path, ids=IDS)["logits"], wanted) < 1e-5
    other = reference.forward(reference.llama(tiny.model(seed=1, **changes)), IDS)["logits"]
    assert reference.difference(other, wanted) > 1e-2, "the reference moves with the weights"


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "q8_0", "q4_0", "q4_1"])
def test_every_format_computes_what_the_reference_makes_of_it(dtype, tmp_path):
    path = exported(tmp_path, tiny.model(), dtype_out=dtype)
    wanted = reference.forward(reference.llama(path), IDS)["logits"]
    assert reference.difference(smidgen.forward(path, ids=IDS)["logits"], wanted) < 1e-5


def test_metadata_are_those_of_the_converter(tmp_path):
    """Key by key what ggml-org/llama.cpp's convert_hf_to_gguf.py writes for such a model."""
    path = exported(tmp_path, tiny.model(), dtype_out="q8_0")
    got = fields(path)
    config = tiny.CONFIG
    wanted = {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": tiny.model().name,
        "llama.context_length": config["max_position_embeddings"],
        "llama.embedding_length": config["hidden_size"],
        "llama.block_count": config["num_hidden_layers"],
        "llama.feed_forward_length": config["intermediate_size"],
        "llama.attention.head_count": config["num_attention_heads"],
        "llama.attention.head_count_kv": config["num_key_value_heads"],
        "llama.attention.key_length": config["head_dim"],
        "llama.attention.value_length": config["head_dim"],
        "llama.rope.dimension_count": config["head_dim"],
        "llama.vocab_size": tiny.vocab_size(),
        "general.file_type": 7,
        "general.quantization_version": 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": tiny.TEMPLATE,
    }
    assert {k: got.get(k) for k in wanted} == wanted
    assert got["llama.rope.freq_base"] == pytest.approx(config["rope_theta"])
    assert got["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(config["rms_norm_eps"])
    theirs = fields(tiny.gguf("Q8_0"))
    for key in ("tokens", "token_type", "merges"):
        assert got[f"tokenizer.ggml.{key}"] == theirs[f"tokenizer.ggml.{key}"], key
    label = gguf.size_label(sum(int(np.prod(t.shape)) for t in GGUFReader(str(path)).tensors), 0, 0, 0)
    assert got["general.size_label"] == label


def test_there_and_back_keeps_tensors_ids_and_configuration(tmp_path):
    from tokenizers import Tokenizer

    model = tiny.model()
    path = exported(tmp_path, model)
    back = exported(tmp_path, path, "back")
    before, after = smidgen.tensors(model / "model.safetensors"), smidgen.tensors(back / "model.safetensors")
    assert set(before) == set(after)
    assert all(np.array_equal(before[n], after[n]) for n in before)
    theirs, ours = Tokenizer.from_file(str(model / "tokenizer.json")), Tokenizer.from_file(str(back / "tokenizer.json"))
    for line in tiny.corpus(300) + ["<|im_start|>user\nx<|im_end|>", "  42", "日本語 naïve"]:
        assert ours.encode(line).ids == theirs.encode(line).ids, line
    config = json.loads((back / "config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == "float32"
    wanted = reference.forward(reference.llama(model), IDS)["logits"]
    assert np.array_equal(reference.forward(reference.llama(back), IDS)["logits"], wanted)


def test_copies_the_tokenizer_of_a_gguf_file(tmp_path):
    path = exported(tmp_path, tiny.gguf("F16"), dtype_out="fp32")
    ours, theirs = fields(path), fields(tiny.gguf("F16"))
    same = [k for k in theirs if k.startswith("tokenizer.")]
    assert len(same) > 8 and {k: ours[k] for k in same} == {k: theirs[k] for k in same}


def test_verify_says_what_numpy_says(tmp_path):
    done = smidgen.ok("export", model=tiny.model(), out=tmp_path / "q.gguf", dtype_out="q4_0", verify=True, json=True)
    v = smidgen.read_json(done.stdout)["verify"]
    assert json.loads((tmp_path / "q.gguf.json").read_text())["verify"] == v
    assert 0 < v["relative"] and 0 < v["mean_kl"] and v["lossless"] is False
    text = (
        "In 1969 the first people walked on the moon. \"It's 384,400 km away,\" she said; def f(x):\n"
        "    return x ** 2  # naïve\n\nQ: What is 17 + 25?\nA: 42."
    )
    ids = smidgen.tokenize(tiny.model(), text)[: tiny.CONFIG["max_position_embeddings"]]
    a, b = (smidgen.forward(m, ids=ids)["logits"].astype(np.float64) for m in (tiny.model(), tmp_path / "q.gguf"))
    p, q = (x - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)) - x.max(-1, keepdims=True) for x in (a, b))
    assert v["positions"] == len(ids)
    assert v["max_abs"] == pytest.approx(np.abs(a - b).max(), rel=1e-4)
    assert v["mean_kl"] == pytest.approx((np.exp(p) * (p - q)).sum(-1).mean(), rel=1e-3)
    assert v["same_top"] == pytest.approx((a.argmax(-1) == b.argmax(-1)).mean())


@pytest.mark.parametrize("name", ["v.gguf", "v"])
def test_verify_of_a_lossless_copy_is_nearly_nothing(name, tmp_path):
    done = smidgen.ok("export", model=tiny.model(), out=tmp_path / name, verify=True, json=True)
    v = smidgen.read_json(done.stdout)["verify"]
    assert v["lossless"] is True and v["relative"] <= 1e-6 and v["same_top"] == 1
    kept = tmp_path / "v.gguf.json" if name.endswith("gguf") else tmp_path / "v" / "smidgen.json"
    assert json.loads(kept.read_text())["verify"] == v
