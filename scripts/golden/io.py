#!/usr/bin/env python3
"""Writes smidgen/io/golden_data.h from the Python references: safetensors, gguf, numpy, torch, tensorboard.

Run from the root of the tree: python3 scripts/golden/io.py > smidgen/io/golden_data.h
"""
import hashlib
import json
import os
import struct
import tempfile

import gguf
import numpy as np
import safetensors
import torch
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2

rng = np.random.default_rng(20)
out = []


def text(name, value):
    """A C string literal, in lines of hexadecimal digits."""
    digits = value.hex()
    lines = [digits[i : i + 90] for i in range(0, len(digits), 90)] or [""]
    out.append(f"inline constexpr char {name}[] =\n" + "\n".join(f'    "{line}"' for line in lines) + ";\n")


def safetensors_file():
    bits = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
            "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
            "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64}
    wire = {"BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "F16": "float16",
            "BF16": "bfloat16", "I32": "int32", "U32": "uint32", "F32": "float32", "F64": "float64",
            "I64": "int64", "U64": "uint64", "C64": "complex64", "F8_E5M2": "float8_e5m2",
            "F8_E4M3": "float8_e4m3fn", "F8_E8M0": "float8_e8m0fnu", "F8_E4M3FNUZ": "float8_e4m3fnuz",
            "F8_E5M2FNUZ": "float8_e5m2fnuz"}
    names = ["z", "a", "a.b", "a10", "a2", 'quo"te', "back\\slash", "sl/ash", "new\nline", "nul\0", "bell\x07",
             "del\x7f", "\u00e9", "\u2028", "\U0001f600", "", "tab\t", "Z", "layer.0.weight"]
    shapes = [[], [3], [2, 3], [0, 5], [1, 2, 2]]
    tensors = {}
    for i, (kind, name) in enumerate(zip(bits, names)):
        shape = shapes[i % len(shapes)]
        size = int(np.prod(shape, dtype=np.int64)) * bits[kind] // 8
        data = bytes((7 * i + j) % 256 for j in range(size))
        tensors[name] = {"dtype": wire[kind], "shape": shape, "data": data}
    tensors["more.f32"] = {"dtype": "float32", "shape": [2], "data": bytes(range(8))}
    buffers = {name: np.frombuffer(t["data"] or b"\0", np.uint8).copy() for name, t in tensors.items()}
    specs = {name: safetensors.TensorSpec(dtype=t["dtype"], shape=t["shape"], data_ptr=buffers[name].ctypes.data,
                                          data_len=len(t["data"])) for name, t in tensors.items()}
    text("kSafetensors", bytes(safetensors.serialize(specs, {"for\"mat": "pt\u00e9\n"})))
    out.append("struct Piece {\n  const char *dtype, *name;\n  unsigned long name_size;\n  const char *shape, *hex;\n};\n")
    out.append("inline constexpr Piece kSafetensorsPieces[] = {\n")
    back = {v: k for k, v in wire.items()}
    for name, t in tensors.items():
        raw = name.encode()
        literal = "".join(f"\\{b:03o}" for b in raw)
        out.append(f'    {{"{back[t["dtype"]]}", "{literal}", {len(raw)}, "{t["shape"]}", "{t["data"].hex()}"}},\n')
    out.append("};\n")


def adapter_config():
    config = {"r": 8, "lora_alpha": 16, "eps": 1e-05, "tiny": 5e-324, "big": 1e16, "just": 1e15, "third": 1 / 3,
              "one": 1.0, "neg": -0.0, "limit": 0.0001, "large": 123456789012345680.0, "none": None, "yes": True,
              "empty": [], "hollow": {}, "target_modules": ["k_proj", "q_proj"], "nested": {"b": [1, 2.5], "a": {"x": ""}},
              "text": 'quo"te \\ \u00e9 \u2028 \U0001f600 \x7f \n \t \x01 /', "\u00e9": 1, "int": -(2**53)}
    text("kConfigIn", json.dumps(config, ensure_ascii=False).encode())
    text("kConfigOut", json.dumps(config, indent=2, sort_keys=True).encode())
    values = np.concatenate([
        rng.integers(0, 2**64, 400, dtype=np.uint64).view(np.float64),
        10.0 ** np.arange(-20, 25), np.array([0.1, 0.3, 2.5e-5, 9999999999999998.0, 1e23, 1.7976931348623157e308])])
    values = [float(v) for v in values if np.isfinite(v)]
    out.append("struct Repr {\n  unsigned long bits;\n  const char* text;\n};\ninline constexpr Repr kFloats[] = {\n")
    for v in values:
        out.append(f'    {{0x{struct.unpack("<Q", struct.pack("<d", v))[0]:x}u, "{v!r}"}},\n')
    out.append("};\n")


BLOCKS = {"F32": 64, "F16": 64, "BF16": 64, "Q8_0": 4, "Q4_0": 4, "Q4_1": 4}


def random_bytes(kind, rows):
    """Rows of random blocks; the scales include zero, subnormals, both infinities and NaN."""
    q = gguf.GGMLQuantizationType[kind]
    elements, size = gguf.GGML_QUANT_SIZES[q]
    data = rng.integers(0, 256, (rows, size), dtype=np.uint8)
    special = [0x0000, 0x8000, 0x0001, 0x83FF, 0x7C00, 0xFC00, 0x7E00, 0x7BFF]
    if elements > 1:
        for i, s in enumerate(special):
            data[i % rows if i < rows else 0, 0:2] = np.frombuffer(struct.pack("<H", s), np.uint8)
    return data


def canonical(values):
    """NaN has no sign and no payload here: processors disagree on both."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).copy()
    bits[np.isnan(values)] = 0x7FC00000
    return bits


def dequantisation():
    out.append("struct Blocks {\n  const char *format, *in, *out;\n};\n")
    rows = []
    for kind in BLOCKS:
        q = gguf.GGMLQuantizationType[kind]
        count = 12 if gguf.GGML_QUANT_SIZES[q][0] > 1 else 40
        data = random_bytes(kind, count).reshape(1, -1)
        values = data.view(np.float32) if kind == "F32" else gguf.dequantize(data, q)
        text(f"k{kind}In", data.tobytes())
        text(f"k{kind}Out", canonical(values).tobytes())
        rows.append(f'    {{"{kind.lower()}", k{kind}In, k{kind}Out}},\n')
    out.append("inline constexpr Blocks kBlocks[] = {\n" + "".join(rows) + "};\n")
    half = np.arange(65536, dtype=np.uint16)
    digest = lambda a: hashlib.sha256(a.tobytes()).hexdigest()
    out.append(f'inline constexpr char kHalfTable[] = "{digest(canonical(half.view(np.float16).astype(np.float32)))}";\n')
    out.append(f'inline constexpr char kBfloatTable[] = "{digest(canonical(torch.from_numpy(half.view(np.int16).copy()).view(torch.bfloat16).float().numpy()))}";\n')
    bits = (np.arange(1 << 22, dtype=np.uint64) * 1024 + np.arange(1 << 22, dtype=np.uint64) % 1024).astype(np.uint32)
    # Every tie and its neighbours around all halves and bfloats.
    ties = [half.view(np.float16).astype(np.float32).view(np.uint32)[:, None] + np.array([0xFFF, 0x1000, 0x1001], np.uint32),
            (half.astype(np.uint32) << 16)[:, None] + np.array([0x7FFF, 0x8000, 0x8001], np.uint32)]
    bits = np.concatenate([bits] + [t.ravel() for t in ties])
    values = bits.view(np.float32)
    values = values[~np.isnan(values)]
    with np.errstate(over="ignore"):
        as_half = values.astype(np.float16).view(np.uint16)
    as_bfloat = torch.from_numpy(values.copy()).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    out.append(f'inline constexpr char kToHalf[] = "{digest(as_half)}";\n')
    out.append(f'inline constexpr char kToBfloat[] = "{digest(as_bfloat)}";\n')


def gguf_file():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.gguf")
        w = gguf.GGUFWriter(path, "llama")
        w.add_uint8("t.u8", 200)
        w.add_int8("t.i8", -100)
        w.add_uint16("t.u16", 60000)
        w.add_int16("t.i16", -30000)
        w.add_uint32("t.u32", 4000000000)
        w.add_int32("t.i32", -2000000000)
        w.add_float32("t.f32", 0.1)
        w.add_bool("t.bool", True)
        w.add_string("t.string", "gr\u00fc\u00dfe")
        w.add_uint64("t.u64", 2**63)
        w.add_int64("t.i64", -(2**62))
        w.add_float64("t.f64", 0.1)
        w.add_array("t.strings", ["a", "", "\u00e9\u00e9"])
        w.add_array("t.ints", [1, -2, 3])
        w.add_array("t.floats", [0.5, -1.25])
        w.add_tensor("norm.weight", np.arange(5, dtype=np.float32))
        w.add_tensor("half.weight", np.arange(6, dtype=np.float16).reshape(2, 3))
        for kind in ["Q8_0", "Q4_1", "Q4_K", "BF16"]:
            q = gguf.GGMLQuantizationType[kind]
            elements, size = gguf.GGML_QUANT_SIZES[q]
            w.add_tensor(kind + ".weight", rng.integers(0, 60, (3, 2 * size), dtype=np.uint8), raw_dtype=q)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
        with open(path, "rb") as f:
            text("kGguf", f.read())


def events():
    def record(event):
        from tensorboard.summary.writer.record_writer import masked_crc32c
        data = event.SerializeToString()
        head = struct.pack("<Q", len(data))
        return head + struct.pack("<I", masked_crc32c(head)) + data + struct.pack("<I", masked_crc32c(data))

    text("kVersionEvent", record(event_pb2.Event(wall_time=1.0, file_version="brain.Event:2")))
    value = summary_pb2.Summary.Value(tag="loss/train", simple_value=0.5)
    text("kScalarEvent", record(event_pb2.Event(wall_time=1.0, step=3, summary=summary_pb2.Summary(value=[value]))))
    value = summary_pb2.Summary.Value(tag="lr", simple_value=0.0)
    text("kZeroEvent", record(event_pb2.Event(wall_time=1.5e9, step=0, summary=summary_pb2.Summary(value=[value]))))
    value = summary_pb2.Summary.Value(
        tag="sample/0",
        metadata=summary_pb2.SummaryMetadata(plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="text")),
        tensor=tensor_pb2.TensorProto(
            dtype="DT_STRING", string_val=[("gr\u00fc\u00dfe " * 30).encode()],
            tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)])))
    text("kTextEvent", record(event_pb2.Event(wall_time=2.5, step=300, summary=summary_pb2.Summary(value=[value]))))


safetensors_file()
adapter_config()
dequantisation()
gguf_file()
events()
print("// Written by scripts/golden/io.py; do not edit. Bytes as hexadecimal digits.\n#pragma once\n\nnamespace smidgen::golden {\n")
print("".join(out))
print("}  // namespace smidgen::golden")
