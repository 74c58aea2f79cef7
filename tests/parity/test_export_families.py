"""Every family written as GGUF by smidgen: the logits of the folder, to smidgen and to transformers' own reader."""

import numpy as np
import pytest
import tiny
import torch
from support import family_reference as reference
from support import reference as plain
from support import smidgen
from support.cases import IDS
from support.families import FAMILIES

TOLERANCE = 1e-5
TOKENS = [i % tiny.vocab_size() for i in IDS[:60]]
# transformers 5.23.0 leaves these fields at the class's defaults, whatever the file says.
CAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
GEMMA = {"head_dim": 256, "query_pre_attn_scalar": 256}
GEMMA3_ROPE = {"full_attention": {"rope_type": "default", "rope_theta": 900.0}}
GEMMA3_ROPE |= {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}
READER = {
    "mistral": {"sliding_window": None},
    "qwen3": {"head_dim": 128},
    "qwen3_moe": {"head_dim": 128, "moe_intermediate_size": 768},
    "gemma2": GEMMA | CAPS,
    "gemma3": GEMMA | {"final_logit_softcapping": None, "rope_parameters": GEMMA3_ROPE},
    "phi3": {"sliding_window": None, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0}},
    "gpt2": {"n_inner": None, "n_positions": 1024},
}
# It reads Mixtral's experts as a Llama without any.
MISREAD = ("mixtral",)


def through_transformers(path):
    import transformers

    transformers.logging.set_verbosity_error()
    return transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def exported(family, changes, path):
    """The folder's logits, and the file made of it."""
    folder = reference.folder(family, changes)
    smidgen.ok("export", model=folder, out=path, dtype_out="fp32")
    return smidgen.forward(folder, ids=TOKENS)["logits"], path


@pytest.mark.parametrize("family", FAMILIES)
def test_a_written_file_is_the_same_model_to_the_bit(family, tmp_path):
    wanted, path = exported(family, FAMILIES[family]["gguf"], tmp_path / "m.gguf")
    assert np.array_equal(smidgen.forward(path, ids=TOKENS)["logits"], wanted)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in MISREAD])
def test_transformers_reads_what_is_written(family, tmp_path):
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES as known

    wanted, path = exported(family, FAMILIES[family]["gguf"] | READER.get(family, {}), tmp_path / "m.gguf")
    if family not in known:
        with pytest.raises(ValueError, match="not supported"):
            through_transformers(path)
        return
    assert plain.difference(reference.forward(through_transformers(path), TOKENS)["logits"], wanted) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_what_gguf_cannot_say_is_refused(family, tmp_path):
    done = smidgen.call("export", model=reference.folder(family), out=tmp_path / "m.gguf", dtype_out="fp32")
    assert done.returncode == 1 and "has no words for" in done.stderr and "act" in done.stderr
    assert not list(tmp_path.iterdir())
