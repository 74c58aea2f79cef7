"""One timed load by transformers, and of an adapter by PEFT. Prints one line of JSON. Run by bench/load.py."""

import argparse
import json
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("--model", type=Path, required=True, help="folder, or GGUF file")
parser.add_argument("--adapter")
args = parser.parse_args()

torch.set_num_threads(2)
gguf = args.model.suffix == ".gguf"
where = {"pretrained_model_name_or_path": args.model.parent, "gguf_file": args.model.name} if gguf else {"pretrained_model_name_or_path": args.model}
result = {}
if args.adapter:
    from peft import PeftModel

begin = time.perf_counter()
model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
result["weights_s"] = time.perf_counter() - begin
begin = time.perf_counter()
AutoTokenizer.from_pretrained(**where)
result["tokenizer_s"] = time.perf_counter() - begin
result["total_s"] = result["weights_s"] + result["tokenizer_s"]
if args.adapter:
    begin = time.perf_counter()
    PeftModel.from_pretrained(model, args.adapter)
    result["adapter_s"] = time.perf_counter() - begin
print(json.dumps(result))
