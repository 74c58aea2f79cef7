"""One timed run of transformers in bf16, or its logits in fp32. Prints one line of JSON. Run by bench/generate.py."""

import argparse
import json
import time

import numpy as np
import torch
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--ids", required=True, help="JSON file: rows of ids")
parser.add_argument("--new-tokens", type=int, default=64)
parser.add_argument("--logits", help="write the logits of every row to this .npy and time nothing")
args = parser.parse_args()
torch.set_num_threads(args.threads)
rows = json.load(open(args.ids, encoding="utf-8"))
dtype = torch.float32 if args.logits else torch.bfloat16
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype, attn_implementation="sdpa").eval()
with torch.inference_mode():
    if args.logits:
        shape = (sum(map(len, rows)), model.config.vocab_size)
        out = np.lib.format.open_memmap(args.logits, mode="w+", dtype=np.float32, shape=shape)
        at = 0
        for row in rows:
            out[at : at + len(row)] = model(torch.tensor([row])).logits[0].numpy()
            at += len(row)
        out.flush()
        print(json.dumps({"rows": at}))
        raise SystemExit
    prefill, decode = [], []
    for row in [rows[0][:32], *rows]:  # the first warms up
        begin = time.perf_counter()
        step = model(torch.tensor([row]), use_cache=True, logits_to_keep=1)
        token = int(step.logits[0, -1].argmax())
        middle = time.perf_counter()
        for _ in range(args.new_tokens - 1):
            step = model(torch.tensor([[token]]), past_key_values=step.past_key_values, use_cache=True)
            token = int(step.logits[0, -1].argmax())
        end = time.perf_counter()
        prefill.append(len(row) / (middle - begin))
        decode.append((args.new_tokens - 1) / (end - middle))
print(json.dumps({"prefill_tokens_per_s": prefill[1:], "decode_tokens_per_s": decode[1:]}))
