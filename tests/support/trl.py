"""trl's own loss code, called on log-probabilities that a test gives: no trainer, no data set, no model.

trl is installed without what it depends on (requirements-alone.txt): its loss functions need torch only, and the modules
around them import datasets and pandas for other things. Those two names are empty modules here.
"""

import contextlib
import importlib.abc
import importlib.machinery
import os
import sys
import types
from collections import defaultdict
from types import SimpleNamespace

import torch

ABSENT = ("datasets", "pandas", "pyarrow")


class Absent(types.ModuleType):
    """A module that has every class one asks for, each without content."""

    __path__: list[str] = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Absent(spec.name)

    def exec_module(self, module):
        pass


@contextlib.contextmanager
def imports():
    """While trl's modules are imported; afterwards nothing else sees the empty ones."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    finder = Finder()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n in sys.modules if isinstance(sys.modules[n], Absent)]:
            del sys.modules[name]


with imports():
    import transformers  # noqa: F401  its lazy modules must not be looked up among the empty ones later
    from trl.experimental.cpo.cpo_trainer import CPOTrainer
    from trl.experimental.gkd.gkd_trainer import GKDTrainer
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.kto_trainer import KTOTrainer


class Accelerator:
    device = torch.device("cpu")

    @staticmethod
    def gather(x):
        return x

    gather_for_metrics = gather


class Model:
    """Answers a forward call with given log-probabilities [sequences, tokens - 1]."""

    training = True

    def __init__(self, log_probs):
        self.log_probs = log_probs

    def __call__(self, **inputs):
        zeros = torch.zeros_like(self.log_probs)
        return SimpleNamespace(log_probs=self.log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())


def trainer(**fields):
    metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    common = {"accelerator": Accelerator(), "aux_loss_enabled": False, "_metrics": metrics, "_total_train_tokens": 0}
    return SimpleNamespace(**common, _tp_size=1, **fields)


def masked(tokens: list[torch.Tensor]):
    """Log-probabilities of answers of different lengths, padded with 0, and the mask with a column for the first token."""
    longest = max(len(t) for t in tokens)
    padded = torch.stack([torch.nn.functional.pad(t, (0, longest - len(t))) for t in tokens])
    mask = torch.zeros(len(tokens), longest + 1, dtype=torch.long)
    for row, t in enumerate(tokens):
        mask[row, 1 : len(t) + 1] = 1
    return padded, mask


def last(me, name):
    return me._metrics["train"][name][-1]


REWARDS = ("rewards/chosen", "rewards/rejected", "rewards/margins")


def dpo(chosen, rejected, ref_chosen, ref_rejected, *, variant="sigmoid", beta=0.1, label_smoothing=0.0):
    """(loss, metrics) of pairs: lists of per-token log-probabilities, and summed ones of the reference."""
    log_probs, mask = masked([*chosen, *rejected])
    me = trainer(
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[variant],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=label_smoothing,
        use_weighting=False,
        model=SimpleNamespace(training=True),
    )
    inputs = {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "ref_chosen_logps": ref_chosen,
        "ref_rejected_logps": ref_rejected,
    }
    loss = DPOTrainer._compute_loss(me, Model(log_probs), inputs, False)
    return loss, {k: last(me, k) for k in (*REWARDS, "rewards/accuracies")}


def kto(answers, labels, reference, kl, *, beta=0.1, desirable_weight=1.0, undesirable_weight=1.0):
    """(loss, metrics) of labelled answers; `kl` is (policy, reference) log-probabilities of the mismatched ones."""
    log_probs, mask = masked(answers)
    me = trainer(
        model=SimpleNamespace(training=True),
        precompute_ref_logps=True,
        calculate_KL=True,
        loss_type="kto",
        beta=beta,
        desirable_weight=desirable_weight,
        undesirable_weight=undesirable_weight,
        _compute_kl_logps=lambda model, batch: kl[0],
    )
    inputs = {
        "input_ids": torch.zeros_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "label": torch.tensor(labels),
        "ref_logps": reference,
        "ref_KL_logps": kl[1],
    }
    loss = KTOTrainer._compute_loss(me, Model(log_probs), inputs, False)
    return loss, {k: last(me, k) for k in (*REWARDS, "kl") if me._metrics["train"][k]}


def orpo(chosen, rejected, nll, *, beta=0.1):
    """(loss, metrics): lists of per-token log-probabilities and the mean cross-entropy of prompts and chosen answers."""
    means = [torch.stack([t.mean() for t in side]) for side in (chosen, rejected)]
    me = trainer(beta=beta)
    nothing = torch.zeros(1)
    me.concatenated_forward = lambda model, batch: (*means, nothing, nothing, nll)
    me.odds_ratio_loss = lambda *logps: ORPOTrainer.odds_ratio_loss(me, *logps)
    loss, metrics = ORPOTrainer.get_batch_loss_metrics(me, None, None)
    return loss, metrics


def simpo(chosen, rejected, nll=None, *, beta=2.0, gamma=1.0, label_smoothing=0.0, nll_weight=0.0):
    """(loss, metrics) of CPOTrainer with loss_type simpo."""
    means = [torch.stack([t.mean() for t in side]) for side in (chosen, rejected)]
    me = trainer(
        alpha=0.0, loss_type="simpo", beta=beta, simpo_gamma=gamma, label_smoothing=label_smoothing, cpo_alpha=nll_weight
    )
    nothing = torch.zeros(1)
    me.concatenated_forward = lambda model, batch: (*means, nothing, nothing, nothing.sum() if nll is None else nll)
    me.cpo_loss = lambda *logps: CPOTrainer.cpo_loss(me, *logps)
    return CPOTrainer.get_batch_loss_metrics(me, None, None)


def jsd(student, teacher, labels, *, divergence=0.0, temperature=1.0):
    """The mean over tokens with a label: logits [batch, tokens, vocabulary], labels [batch, tokens]."""
    return GKDTrainer.generalized_jsd_loss(student, teacher, labels=labels, beta=divergence, temperature=temperature)
