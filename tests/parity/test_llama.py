"""`forward` against transformers: logits and last hidden states, for every field, file kind and arithmetic."""

import json

import numpy as np
import pytest
import tiny
import torch
from support import reference, smidgen
from support.cases import FLIPS, IDS, ROPE_FLIPS

TINY, REAL = 1e-5, 1e-4  # relative to the largest value of the reference

# Settings that this build may refuse, but never ignore.
MAY_REFUSE = {"layers": "model.layers.2", "act": "hidden_act", "rope_linear": "linear", "rope_type": "llama3"}

PROSE = (
    "The lighthouse keeper counted 1,284 ships that year. Nobody knew why he wrote them down; "
    "his daughter, who found the 12 notebooks in 1973, gave them to the museum.\n\n"
    "def count(ships):\n    return sum(1 for s in ships if s.lights >= 2)\n"
)


def same(folder, tolerance=TINY, ids=IDS, reference_folder=None):
    wanted = reference.forward(reference.llama(reference_folder or folder, torch.float64), ids)
    ours = smidgen.forward(folder, ids=ids)
    assert ours["logits"].dtype == np.float32 and ours["hidden"].dtype == np.float32
    for what in ("logits", "hidden"):
        assert reference.difference(ours[what], wanted[what]) <= tolerance, what


@pytest.mark.parametrize("tied", [True, False])
def test_tiny(tied):
    same(tiny.model(tie_word_embeddings=tied))


@pytest.mark.parametrize("field", FLIPS)
def test_each_field_counts(field):
    folder = tiny.model(flip=FLIPS[field])
    if field in MAY_REFUSE:
        done = smidgen.call("forward", model=folder, ids=IDS, dtype="fp32", out="/dev/null")
        if done.returncode == 1 and "error:" in done.stderr:
            assert MAY_REFUSE[field] in done.stderr
            return
    same(folder)


@pytest.mark.parametrize("field", ROPE_FLIPS)
def test_each_rope_field_counts(field):
    scaling = tiny.LLAMA3_ROPE | ROPE_FLIPS[field]
    done = smidgen.call("forward", model=tiny.model(rope_scaling=scaling), ids=IDS, dtype="fp32", out="/dev/null")
    if done.returncode == 1 and "error:" in done.stderr:
        assert "llama3" in done.stderr
        return
    same(tiny.model(rope_scaling=scaling))


@pytest.mark.parametrize("field", ["attention_bias", "mlp_bias"])
def test_biases(field):
    same(tiny.model(**{field: True}))


@pytest.mark.parametrize("style", ["v4", "v5"])
def test_both_styles_of_config(style):
    same(tiny.model(style=style))


def test_null_head_dim_is_width_over_heads():
    same(tiny.model(head_dim=24, flip={"head_dim": None}))


def test_equal_heads_when_kv_heads_are_not_given():
    same(tiny.model(num_key_value_heads=4, flip={"num_key_value_heads": None}))


def test_stored_head_beside_the_tie_flag_is_taken_or_refused():
    folder = tiny.model(tie_word_embeddings=False, flip={"tie_word_embeddings": True})
    done = smidgen.call("forward", model=folder, ids=IDS, dtype="fp32", out="/dev/null")
    if done.returncode == 1:
        assert "lm_head" in done.stderr
        return
    same(folder)


def test_sharded():
    same(tiny.model(shards=3))


def test_bf16_storage_in_fp32_arithmetic():
    """bf16 weights are exact in fp32, so fp32 arithmetic on them meets the fp32 tolerance."""
    folder = tiny.model(dtype="bf16")
    wanted = reference.forward(reference.llama(folder, torch.float64), IDS)
    assert reference.difference(smidgen.forward(folder, ids=IDS)["logits"], wanted["logits"]) <= TINY


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
def test_gguf(kind):
    same(tiny.gguf(kind))


def test_gguf_untied():
    same(tiny.gguf("Q8_0", tie_word_embeddings=False))


def test_one_token_and_the_last_that_fits():
    same(tiny.model(), ids=[17])
    same(tiny.model(), ids=(IDS * 2)[: tiny.CONFIG["max_position_embeddings"]])


def test_ref_and_fast_kernels_agree():
    for kernels in ("ref", "fast"):
        wanted = reference.forward(reference.llama(tiny.model(), torch.float64), IDS)["logits"]
        ours = smidgen.forward(tiny.model(), ids=IDS, env=smidgen.environment(SMIDGEN_KERNELS=kernels))["logits"]
        assert reference.difference(ours, wanted) <= TINY, kernels


def test_two_runs_give_equal_bits():
    one, two = (smidgen.forward(tiny.model(), ids=IDS)["logits"] for _ in range(2))
    assert np.array_equal(one, two)


def test_text_is_tokenised_as_tokenize_does(tmp_path):
    text = tiny.corpus(1)[0]
    by_text = smidgen.forward(tiny.model(), text=text)["logits"]
    by_ids = smidgen.forward(tiny.model(), ids=smidgen.tokenize(tiny.model(), text))["logits"]
    assert np.array_equal(by_text, by_ids)


def test_fields_without_meaning_for_the_model_are_no_error(tmp_path):
    """Fields of training time and of the hub change nothing and must not be refused."""
    folder = smidgen.copy(tiny.model(), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config |= {"transformers_version": "4.42.3", "pretraining_tp": 1, "is_llama_config": True, "rope_interleaved": False}
    (folder / "config.json").write_text(json.dumps(config))
    assert np.array_equal(smidgen.forward(folder, ids=IDS)["logits"], smidgen.forward(tiny.model(), ids=IDS)["logits"])


# ---------------------------------------------------------------------------------------------- the real model
@pytest.fixture(scope="module")
def real(smollm2, smollm2_reference):
    ids = reference.encode(smollm2, PROSE)
    return ids, reference.forward(smollm2_reference, ids)


def test_real_model(smollm2, real):
    ids, wanted = real
    ours = smidgen.forward(smollm2, ids=ids)
    for what in ("logits", "hidden"):
        assert reference.difference(ours[what], wanted[what]) <= REAL, what


def test_real_model_as_a_folder(smollm2, real):
    """The dequantised folder is the same model; only the storage differs."""
    ids, wanted = real
    ours = smidgen.forward(reference.as_folder(smollm2), ids=ids)
    assert reference.difference(ours["logits"], wanted["logits"]) <= REAL


def test_bf16_error_of_the_real_model(smollm2, real):
    ids, wanted = real
    theirs = reference.forward(reference.llama(smollm2, torch.bfloat16), ids)["logits"]
    allowed = 1.5 * reference.rms_difference(theirs, wanted["logits"])
    assert 1e-3 < allowed < 0.1, "transformers' own bf16 error is out of its usual range"
    ours = smidgen.forward(smollm2, ids=ids, dtype="bf16")["logits"]
    error = reference.rms_difference(ours, wanted["logits"])
    assert error <= allowed
    assert error > 1e-5, "that was not bf16 arithmetic"
