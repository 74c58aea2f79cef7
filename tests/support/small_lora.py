"""A small network of every kind of layer that PEFT's LoRA updates, with adapters on it: what combining is compared over."""

import copy
import warnings
from pathlib import Path

import numpy as np
import torch
from support import reference
from torch import nn

MODULES = ["body.q", "body.v", "body.up", "table", "conv"]


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.q = nn.Linear(12, 10, bias=False)
        self.v = nn.Linear(12, 6)
        self.up = nn.Linear(24, 16)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(30, 12)
        self.body = Body()
        self.conv = nn.Conv2d(3, 8, 3)
        self.line = nn.Conv1d(4, 6, 3)  # apart from MODULES: PEFT's types of ..._svd fail on it

    def forward(self, ids):
        x = self.table(ids)
        pair = torch.cat([self.body.q(x), self.body.v(x)], -1)
        return self.body.up(nn.functional.pad(pair, (0, 8)))


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def adapters(settings: list[dict], home: Path, seed: int = 0):
    """A PEFT model with adapters "0", "1" ..., all their values random, and the folders they are saved in."""
    import peft

    with warnings.catch_warnings(), reference.without_hub():
        warnings.simplefilter("ignore")
        wrapped = None
        for i, c in enumerate(settings):
            config = peft.LoraConfig(**copy.deepcopy(c))
            if wrapped is None:
                wrapped = peft.get_peft_model(net(), config, adapter_name=str(i))
            else:
                wrapped.add_adapter(str(i), config)
        torch.manual_seed(seed + 1)
        with torch.no_grad():
            for name, p in sorted(wrapped.named_parameters()):
                if "lora_" in name:
                    p.copy_(torch.randn_like(p))
        wrapped.eval()
        wrapped.save_pretrained(str(home))
    return wrapped, [home / str(i) for i in range(len(settings))]


def updates(wrapped, adapter: str, scaled: bool = True) -> dict[str, np.ndarray]:
    """scale B A of every module that the adapter has, in fp64; without the scale on request."""
    found = {}
    for name, module in wrapped.base_model.model.named_modules():
        if adapter in getattr(module, "lora_A", {}):
            a, b = module.lora_A[adapter].weight, module.lora_B[adapter].weight
        elif adapter in getattr(module, "lora_embedding_A", {}):
            a, b = module.lora_embedding_A[adapter], module.lora_embedding_B[adapter]
        else:
            continue
        product = b.detach().double().flatten(1) @ a.detach().double().flatten(1)
        found[name] = (product * (module.scaling[adapter] if scaled else 1)).numpy()
    return found


def load(folder: Path):
    import peft

    with warnings.catch_warnings(), reference.without_hub():
        warnings.simplefilter("error")  # PEFT only warns of tensors that it misses or does not expect
        return peft.PeftModel.from_pretrained(net(), str(folder), adapter_name="0").eval()
