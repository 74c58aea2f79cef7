"""Storage formats against gguf's quants.py and torch, value by value and byte by byte, through the command.

A model file whose matrices are random bytes is exported as fp32, and each tensor compared with the reference's own
dequantisation; fp32 values are exported to GGUF, and the blocks compared with the reference's own quantisation.
"""

import json
import struct
import subprocess
import sys

import gguf
import numpy as np
import pytest
import tiny
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, quants
from support import reference, smidgen

READ = (
    "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K TQ1_0 TQ2_0 IQ4_NL IQ4_XS MXFP4 NVFP4 "
    "IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S IQ1_M"
).split()
WRITTEN = {"fp16": "F16", "bf16": "BF16", "q8_0": "Q8_0", "q4_0": "Q4_0", "q4_1": "Q4_1"}
SMALL = {
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
}
HEADS = {"q_proj": 4, "k_proj": 2}


def small_config() -> dict:
    return {**tiny.CONFIG, **SMALL, "vocab_size": tiny.vocab_size()}


def canonical(values: np.ndarray) -> np.ndarray:
    """NaN has no sign and no payload here: processors disagree on both."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).copy()
    bits[np.isnan(values)] = 0x7FC00000
    return bits


def heads_of(name: str) -> int:
    return HEADS.get(name.split(".")[-2], 0)


def write_random(path, kind: str) -> dict[str, np.ndarray]:
    """A GGUF model with matrices of random bytes; their values by HF name as gguf reads them."""
    drawn = np.random.default_rng(sum(kind.encode()))
    type_ = GGMLQuantizationType[kind]
    elements, size = GGML_QUANT_SIZES[type_]
    raw, values = {}, {}
    for name, x in tiny.weights(small_config()).items():
        if x.ndim == 1:
            values[name] = x
            continue
        raw[name] = drawn.integers(0, 256, (x.shape[0], x.shape[1] // elements * size), np.uint8)
        with np.errstate(all="ignore"):
            got = quants.dequantize(raw[name].view(np.float16) if kind == "F16" else raw[name], type_)
        got = got.reshape(x.shape)
        values[name] = reference.unpermuted(got, heads_of(name)) if heads_of(name) else got
    tiny.write_gguf(path, small_config(), {n: v for n, v in values.items() if v.ndim == 1}, "F32")
    # The metadata of tiny's writer, the tensors of ours.
    source = GGUFReader(str(path))
    out = gguf.GGUFWriter(str(path) + ".new", "llama")
    for field in source.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kinds = field.types
        out.add_key_value(field.name, field.contents(), kinds[0], kinds[-1] if len(kinds) > 1 else None)
    for name, x in values.items():
        if x.ndim == 1:
            out.add_tensor(tiny.gguf_name(name), x)
        else:
            out.add_tensor(tiny.gguf_name(name), raw[name], raw_dtype=type_)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    (path.parent / (path.name + ".new")).replace(path)
    return values


@pytest.mark.parametrize("kind", READ)
def test_every_type_is_read_bit_for_bit(kind, tmp_path):
    values = write_random(tmp_path / "m.gguf", kind)
    smidgen.ok("export", model=tmp_path / "m.gguf", out=tmp_path / "m", dtype_out="fp32")
    got = smidgen.tensors(tmp_path / "m" / "model.safetensors")
    assert set(got) == set(values)
    for name, wanted in values.items():
        assert np.array_equal(canonical(got[name]), canonical(wanted)), name
    assert any(not np.isfinite(v).all() for v in values.values()) or "TQ" in kind or kind in ("MXFP4", "NVFP4")


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2"])
def test_eight_bit_floats_of_safetensors_are_read(kind, tmp_path):
    from safetensors.torch import save_file

    drawn = torch.Generator().manual_seed(3)
    tensors = {}
    for name, x in tiny.weights(small_config()).items():
        bits = torch.randint(0, 256, x.shape, generator=drawn, dtype=torch.uint8)
        tensors[name] = bits.view(getattr(torch, kind)) if x.ndim > 1 else torch.from_numpy(x)
    tiny.write_model(tmp_path / "m", tiny.config(**SMALL), tiny.weights(small_config()))
    save_file(tensors, tmp_path / "m" / "model.safetensors", {"format": "pt"})
    smidgen.ok("export", model=tmp_path / "m", out=tmp_path / "out", dtype_out="fp32")
    got = smidgen.tensors(tmp_path / "out" / "model.safetensors")
    for name, wanted in tensors.items():
        assert np.array_equal(canonical(got[name]), canonical(wanted.float().numpy())), name


def hard_values(shape, drawn) -> np.ndarray:
    """Ties, zeros, whole blocks of zeros and of subnormals, both signs of the largest, 40 powers of two."""
    x = drawn.integers(-128, 128, shape).astype(np.float32)
    blocks = x.reshape(-1, 32)
    blocks *= np.ldexp(np.float32(1), drawn.integers(-30, 9, (len(blocks), 1))).astype(np.float32)
    blocks[::11] = 0
    blocks[::13] = (blocks[::13] * np.float32(1e-44)).astype(np.float32)
    blocks[::17, 5] = -blocks[::17].max(axis=1)
    return blocks.reshape(shape)


@pytest.mark.parametrize("dtype", WRITTEN)
def test_written_blocks_are_those_of_gguf(dtype, tmp_path):
    drawn = np.random.default_rng(4)
    tensors = {n: x if x.ndim == 1 else hard_values(x.shape, drawn) for n, x in tiny.weights(small_config()).items()}
    tiny.write_model(tmp_path / "m", tiny.config(**SMALL), tensors)
    smidgen.ok("export", model=tmp_path / "m", out=tmp_path / "m.gguf", dtype_out=dtype)
    written = {t.name: t for t in GGUFReader(str(tmp_path / "m.gguf")).tensors}
    assert set(written) == {tiny.gguf_name(n) for n in tensors}
    for name, x in tensors.items():
        got = written[tiny.gguf_name(name)]
        kind = GGMLQuantizationType["F32" if x.ndim == 1 else WRITTEN[dtype]]
        assert got.tensor_type == kind, name
        x = tiny.permuted(x, heads_of(name)) if heads_of(name) else x
        with np.errstate(all="ignore"):
            wanted = quants.quantize(np.ascontiguousarray(x), kind)
        assert got.data.tobytes() == wanted.tobytes(), name


def test_a_file_far_larger_than_memory_opens_at_once(tmp_path):
    """40 GB on paper: a sparse file. Its table is read, nothing else."""
    width, rows = 1 << 14, (40 << 30) // (2 << 14)
    path = tmp_path / "huge.gguf"
    head = struct.pack("<4sIQQ", b"GGUF", 3, 1, 1)
    key, value = b"general.architecture", b"llama"
    head += struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    name = b"token_embd.weight"
    head += struct.pack("<Q", len(name)) + name + struct.pack("<IQQIQ", 2, width, rows, 1, 0)
    path.write_bytes(head)
    with open(path, "r+b") as f:
        f.truncate((len(head) + 31) // 32 * 32 + 2 * width * rows)
    header = json.dumps({"w": {"dtype": "BF16", "shape": [rows, width], "data_offsets": [0, 2 * width * rows]}}).encode()
    plain = tmp_path / "huge.safetensors"
    plain.write_bytes(struct.pack("<Q", len(header)) + header)
    with open(plain, "r+b") as f:
        f.truncate(8 + len(header) + 2 * width * rows)
    for file in (path, plain):
        script = (
            "import resource, subprocess, sys; "
            f"done = subprocess.run([{str(smidgen.binary())!r}, 'inspect', {str(file)!r}, '--json'], stdout=subprocess.PIPE); "
            "sys.stdout.buffer.write(done.stdout); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        found = json.loads(done.stdout)
        assert found["parameters"] == width * rows and found["tensor_bytes"] == 2 * width * rows
        assert int(done.stderr) < 100 * 1024, f"{done.stderr} KiB"
