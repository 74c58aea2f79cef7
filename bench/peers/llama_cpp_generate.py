"""One timed run of llama.cpp, or its logits. Prints one line of JSON. Run by bench/generate.py in llama-cpp-python's own environment."""

import argparse
import json
import time

import numpy as np
from llama_cpp import Llama, llama_cpp

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--ids", required=True, help="JSON file: rows of ids")
parser.add_argument("--new-tokens", type=int, default=64)
parser.add_argument("--logits", help="write the logits of every row to this .npy and time nothing")
args = parser.parse_args()
rows = json.load(open(args.ids, encoding="utf-8"))
longest = max(map(len, rows))
llama = Llama(
    args.model,
    n_ctx=longest + args.new_tokens,
    n_batch=512,
    n_threads=args.threads,
    n_threads_batch=args.threads,
    logits_all=bool(args.logits),
    verbose=False,
)
if args.logits:
    out = np.lib.format.open_memmap(args.logits, mode="w+", dtype=np.float32, shape=(sum(map(len, rows)), llama.n_vocab()))
    at = 0
    for row in rows:
        llama.reset()
        llama.eval(row)
        out[at : at + len(row)] = llama.scores[: len(row)]
        at += len(row)
    out.flush()
    print(json.dumps({"rows": at}))
    raise SystemExit

prefill, decode = [], []
for row in [rows[0][:32], *rows]:  # the first warms up
    llama.reset()
    begin = time.perf_counter()
    llama.eval(row)
    # The most likely token from the scores where they lie: the binding's own samplers copy them.
    scores = lambda: np.ctypeslib.as_array(llama_cpp.llama_get_logits(llama.ctx), shape=(llama.n_vocab(),))
    token = int(scores().argmax())
    middle = time.perf_counter()
    for _ in range(args.new_tokens - 1):
        llama.eval([token])
        token = int(scores().argmax())
    end = time.perf_counter()
    prefill.append(len(row) / (middle - begin))
    decode.append((args.new_tokens - 1) / (end - middle))
print(json.dumps({"prefill_tokens_per_s": prefill[1:], "decode_tokens_per_s": decode[1:]}))
