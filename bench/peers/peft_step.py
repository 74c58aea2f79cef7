"""One timed run of HF PEFT: LoRA steps of a causal model on random ids. Prints one line of JSON. Run by bench/step.py and bench/memory.py."""

import argparse
import contextlib
import json
import resource
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--ids", required=True, help="JSON file: steps of batches of rows of ids")
parser.add_argument("--mode", choices=["fp32", "bf16", "autocast"], required=True)
parser.add_argument("--compile", action="store_true")
parser.add_argument("--checkpoint", action="store_true", help="gradient checkpointing")
parser.add_argument("--rank", type=int, default=8)
parser.add_argument("--skip", type=int, default=3)
parser.add_argument("--batch", type=int, default=0, help="lengths differ: batches of so many, of like length, padded, added up to one step")
args = parser.parse_args()

torch.set_num_threads(2)
torch.manual_seed(0)


def batches(step):
    """(ids, labels, mask, share of the step's targets) of each forward pass."""
    if not args.batch:
        ids = torch.tensor(step)
        return [(ids, ids, None, 1.0)]
    ordered = sorted(step, key=len, reverse=True)
    made = []
    for begin in range(0, len(ordered), args.batch):
        rows = ordered[begin : begin + args.batch]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        made.append((ids, ids.masked_fill(mask == 0, -100), mask, sum(len(row) - 1 for row in rows)))
    whole = sum(targets for *_, targets in made)
    return [(ids, labels, mask, targets / whole) for ids, labels, mask, targets in made]


given = json.load(open(args.ids, encoding="utf-8"))
sizes = [sum(map(len, step)) for step in given]
steps = [batches(step) for step in given]
dtype = torch.bfloat16 if args.mode == "bf16" else torch.float32
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype, attn_implementation="sdpa")
model = get_peft_model(model, LoraConfig(r=args.rank, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
model.train()
if args.checkpoint:
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
run = torch.compile(model) if args.compile else model
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-4, weight_decay=0.0)
cast = torch.autocast("cpu", torch.bfloat16) if args.mode == "autocast" else contextlib.nullcontext()
losses, tokens, seconds = [], 0, 0.0
for number, parts in enumerate(steps):
    begin = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for ids, labels, mask, share in parts:
        with cast:
            loss = run(input_ids=ids, labels=labels, attention_mask=mask).loss * share
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    losses.append(total)
    if number >= args.skip:
        seconds += time.perf_counter() - begin
        tokens += sizes[number]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"tokens_per_s": tokens / seconds, "peak_mb": peak, "losses": losses}))
