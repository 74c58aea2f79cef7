"""The reference side by itself: what the other files compare with must be right, and must be able to fail.

These cases do not run smidgen.
"""

import functools
import json

import numpy as np
import pytest
import tiny
import torch
from support import reference
from support.cases import FLIPS, IDS, ROPE_FLIPS
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-5


@functools.lru_cache
def logits(folder):
    return reference.forward(reference.llama(folder, torch.float64), IDS)["logits"]


@pytest.mark.parametrize("field", FLIPS)
def test_a_flipped_field_moves_the_reference(field):
    moved = reference.difference(logits(tiny.model(flip=FLIPS[field])), logits(tiny.model()))
    assert moved >= 100 * TOLERANCE


@pytest.mark.parametrize("field", ROPE_FLIPS)
def test_a_flipped_rope_field_moves_the_reference(field):
    plain = tiny.model(rope_scaling=tiny.LLAMA3_ROPE)
    other = tiny.model(rope_scaling=tiny.LLAMA3_ROPE | ROPE_FLIPS[field])
    assert reference.difference(logits(other), logits(plain)) >= 100 * TOLERANCE


def test_the_tied_head_moves_the_reference():
    assert reference.difference(logits(tiny.model(tie_word_embeddings=False)), logits(tiny.model())) >= 100 * TOLERANCE


def test_a_stored_head_wins_over_the_tie_flag_in_transformers():
    """A folder that says tied and stores another head: transformers takes the stored one."""
    both = tiny.model(tie_word_embeddings=False, flip={"tie_word_embeddings": True})
    assert np.array_equal(logits(both), logits(tiny.model(tie_word_embeddings=False)))


@pytest.mark.parametrize("field", ["attention_bias", "mlp_bias"])
def test_a_bias_moves_the_reference(field):
    assert reference.difference(logits(tiny.model(**{field: True})), logits(tiny.model())) >= 100 * TOLERANCE


def test_both_styles_of_rope_settings_are_the_same_model_to_transformers():
    rope = {"rope_scaling": tiny.LLAMA3_ROPE}
    assert np.array_equal(logits(tiny.model(style="v4", **rope)), logits(tiny.model(style="v5", **rope)))


def test_a_model_is_equal_for_an_equal_seed_and_differs_for_another():
    again = tiny.weights({**tiny.CONFIG, "vocab_size": tiny.vocab_size()})
    stored = reference.llama(tiny.model()).state_dict()
    assert all(np.array_equal(x, stored[n].numpy()) for n, x in again.items())
    assert reference.difference(logits(tiny.model(seed=1)), logits(tiny.model())) > 0.1


def test_shards_hold_the_same_tensors():
    assert np.array_equal(logits(tiny.model(shards=3)), logits(tiny.model()))


@pytest.mark.parametrize("tied", [True, False])
def test_gguf_of_fp32_gives_back_every_bit(tied):
    config, tensors = reference.read_gguf(tiny.gguf("F32", tie_word_embeddings=tied))
    wanted = tiny.weights({**tiny.CONFIG, "vocab_size": tiny.vocab_size(), "tie_word_embeddings": tied})
    assert tensors.keys() == wanted.keys()
    assert all(np.array_equal(tensors[n], wanted[n]) for n in wanted)
    plain = tiny.model(tie_word_embeddings=tied)
    # Not equal: GGUF holds eps as fp32.
    assert reference.difference(logits(tiny.gguf("F32", tie_word_embeddings=tied)), logits(plain)) < 1e-7
    assert config["head_dim"] == 32 and config["rms_norm_eps"] == np.float32(1e-3)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_1", "Q4_0"])
def test_gguf_kinds_lose_what_they_must_and_no_more(kind):
    _, tensors = reference.read_gguf(tiny.gguf(kind))
    wanted = tiny.weights({**tiny.CONFIG, "vocab_size": tiny.vocab_size()})
    error = max(reference.rms_difference(tensors[n], wanted[n]) for n in wanted if wanted[n].ndim == 2)
    low, high = {"F16": (1e-5, 5e-4), "BF16": (1e-4, 4e-3), "Q8_0": (1e-3, 1e-2)}.get(kind, (0.03, 0.15))
    assert low < error < high


@pytest.mark.parametrize("kind", ["F32", "Q4_1"])
def test_our_row_order_of_q_and_k_is_that_of_transformers_own_reader(kind):
    path = tiny.gguf(kind, head_dim=24)  # its reader takes head_dim from hidden / heads
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).state_dict()
    _, ours = reference.read_gguf(path)
    for name, x in ours.items():
        assert np.array_equal(x, theirs[name].numpy()), name


def test_the_wrong_row_order_would_be_seen():
    folder = tiny.model()
    model = reference.llama(folder, torch.float64)
    plain = reference.forward(model, IDS)["logits"]
    q = model.model.layers[0].self_attn.q_proj.weight
    with torch.no_grad():
        q.copy_(torch.from_numpy(tiny.permuted(q.numpy(), 4)))
    assert reference.difference(reference.forward(model, IDS)["logits"], plain) >= 100 * TOLERANCE


def test_gradients_of_peft_are_the_slope_of_the_loss():
    model = reference.lora(reference.llama(tiny.model(), torch.float64), target_modules="all-linear")
    ids = IDS[:24]
    grads = reference.gradients(model, ids)
    assert len(grads) == 3 * 7 * 2
    name = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"
    p = dict(model.named_parameters())[name.replace("lora_A.", "lora_A.default.")]
    step = 1e-5
    with torch.no_grad():
        p[2, 3] += step
        up = reference.token_losses(model, ids).sum().item()
        p[2, 3] -= 2 * step
        down = reference.token_losses(model, ids).sum().item()
    assert grads[name][2, 3] == pytest.approx((up - down) / (2 * step), rel=1e-6)
    # A tensor whose gradient is nearly nothing would let any gradient pass.
    assert min(np.abs(g).max() for g in grads.values()) > 1e-3


def test_an_adapter_of_peft_acts():
    plain = reference.forward(reference.llama(tiny.model(), torch.float64), IDS)["logits"]
    adapted = reference.forward(reference.lora(reference.llama(tiny.model(), torch.float64)), IDS)["logits"]
    assert reference.difference(adapted, plain) >= 100 * TOLERANCE


def test_settings_of_lora_move_the_reference():
    def with_settings(**s):
        return reference.forward(reference.lora(reference.llama(tiny.model(), torch.float64), **s), IDS)["logits"]

    plain = with_settings()
    pattern = with_settings(alpha_pattern={"layers.1.self_attn.v_proj": 3})
    assert reference.difference(pattern, plain) >= 100 * TOLERANCE
    assert reference.difference(with_settings(use_rslora=True), plain) >= 100 * TOLERANCE
    assert reference.difference(with_settings(lora_alpha=11), plain) >= 100 * TOLERANCE


def test_the_template_of_tiny_models_renders():
    turns = tiny.samples(1)[0]["messages"]
    text = reference.render(tiny.TEMPLATE, turns)
    assert text.startswith("<|im_start|>system\nAnswer in few words.<|im_end|>\n<|im_start|>user\n")
    assert text.endswith(f"<|im_start|>assistant\n{turns[1]['content']}<|im_end|>\n")
    ids = reference.encode(tiny.model(), text)
    assert ids[0] == 1 and ids.count(2) == 3 and max(ids) < tiny.vocab_size()


def test_digits_stand_alone_in_the_tiny_tokenizer():
    ids = tiny.tokenizer().encode("a 1984").ids
    assert len(ids) >= 5
    assert tiny.tokenizer().decode(ids) == "a 1984"


def test_rows_of_a_sample_fit_the_context():
    for kind in ("messages", "prompt", "text"):
        for row in tiny.samples(40, kind):
            assert len(tiny.tokenizer().encode(json.dumps(row)).ids) < tiny.CONFIG["max_position_embeddings"]


def test_the_real_model_speaks(smollm2, smollm2_reference):
    """The dequantised real model continues a sentence as a language model does: low loss on plain English."""
    ids = reference.encode(smollm2, "The capital of France is Paris, and the capital of Germany is Berlin.")
    loss = reference.token_losses(smollm2_reference, ids).mean().item()
    assert loss < 2.5
