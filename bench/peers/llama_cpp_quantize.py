"""Writes a GGUF file of one block format with llama.cpp. Run by bench/blocks.py in llama-cpp-python's own environment."""

import argparse
import ctypes
import json

from llama_cpp import llama_cpp

TYPES = {"q4_0": 2, "q4_1": 3, "q8_0": 7, "q4_k": 14, "q6_k": 18}  # llama_ftype

parser = argparse.ArgumentParser()
parser.add_argument("source")
parser.add_argument("out")
parser.add_argument("type", choices=TYPES)
args = parser.parse_args()
params = llama_cpp.llama_model_quantize_default_params()
params.ftype, params.nthread, params.pure = TYPES[args.type], 2, True  # every matrix in that format
if llama_cpp.llama_model_quantize(args.source.encode(), args.out.encode(), ctypes.byref(params)):
    raise SystemExit(f"llama.cpp could not write {args.out}")
print(json.dumps({"type": args.type}))
