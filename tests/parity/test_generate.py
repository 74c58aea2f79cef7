"""Greedy generation with the KV cache against transformers, and against recomputation without a cache.

The reference reads prompt and generated ids in one pass and says for each position which id it would have taken. That
is its own greedy continuation exactly as long as no id differs, and takes a second instead of a minute per prompt.
"""

import re

import numpy as np
import pytest
import tiny
import torch
from support import reference, smidgen

PROMPTS = [
    "The quick brown fox",
    "Once upon a time in a small village by the sea,",
    "def fibonacci(n):\n    ",
    "The three laws of thermodynamics are",
    "Q: What is 17 + 25?\nA:",
    "Dear Ms. Okafor,\n\nThank you for your letter of 3 March.",
    "import numpy as np\n\nclass Matrix:\n",
    "Water boils at 100 degrees Celsius because",
    "List of European capitals:\n1. Paris\n2. Berlin\n3.",
    "The history of the printing press begins",
    "In 1969, the first human",
    "Recipe for lentil soup\n\nIngredients:\n-",
    "SELECT name, COUNT(*) FROM orders",
    "To be, or not to be, that is the question:",
    "The mitochondria is",
    "He opened the door slowly and",
    "Translate to French: 'The weather is nice today.'",
    "# Installation\n\nFirst, clone the repository:\n",
    "Photosynthesis is the process by which",
    "α, β and γ are the first letters of",
]
LENGTH = 200
TIE = 1e-4  # of the range of the logits
EOS = 2


def follow(model, prompt_ids, ids):
    """Position of the first id the reference would not have taken, or None, and its top-2 gap over its range there."""
    logits = reference.forward(model, list(prompt_ids) + list(ids))["logits"]
    for k, taken in enumerate(ids):
        row = logits[len(prompt_ids) - 1 + k]
        if int(row.argmax()) != taken:
            second, first = np.sort(row)[-2:]
            return k, (first - second) / (row.max() - row.min())
    return None, None


def test_following_finds_a_wrong_token():
    """One id that the reference would not take, in an otherwise greedy continuation, is found where it stands."""
    model = reference.llama(tiny.model(), torch.float64)
    ids = [1, 17, 300]
    for _ in range(30):
        ids.append(int(reference.forward(model, ids)["logits"][-1].argmax()))
    assert follow(model, ids[:3], ids[3:]) == (None, None)
    wrong = list(ids)
    wrong[20] = (wrong[20] + 1) % 300
    assert follow(model, wrong[:3], wrong[3:])[0] == 17


def test_real_model_20_prompts_200_tokens(smollm2, smollm2_reference):
    ties = []
    for k, prompt in enumerate(PROMPTS):
        flags = {"raw": k % 2 == 0, "ignore_eos": True, "greedy": True, "dtype": "fp32"}
        out = smidgen.generate(smollm2, prompt, max_new_tokens=LENGTH, **flags)
        assert len(out["ids"]) == LENGTH
        at, gap = follow(smollm2_reference, out["prompt_ids"], out["ids"])
        if at is not None:
            assert gap < TIE, f"{prompt!r} differs at token {at} where the gap is {gap:.1e} of the range"
            ties.append((prompt, at))
    assert len(ties) <= 1, f"more than one tie: {ties}"


def test_real_model_stops_where_the_reference_does(smollm2, smollm2_reference):
    """Without --ignore-eos the continuation ends at the first end token, which is not part of the text."""
    out = smidgen.generate(smollm2, "What is the capital of France?", max_new_tokens=120, greedy=True, dtype="fp32")
    at, gap = follow(smollm2_reference, out["prompt_ids"], out["ids"])
    assert at is None or gap < TIE
    assert "<|im_end|>" not in out["text"]
    assert EOS not in out["ids"][:-1]
    if len(out["ids"]) < 120:
        assert out["stop"] == "eos"
        ids = [i for i in out["prompt_ids"] + out["ids"]]
        last = ids if ids[-1] != EOS else ids[:-1]
        assert int(reference.forward(smollm2_reference, last)["logits"][-1].argmax()) == EOS
    else:
        assert out["stop"] == "length"


def test_the_prompt_is_a_user_turn_or_raw_as_asked(smollm2):
    """--prompt is a user's turn where the model has a chat template; --raw takes it as it stands."""
    prompt = "Name a colour."
    raw = smidgen.generate(smollm2, prompt, max_new_tokens=1, greedy=True, raw=True)
    assert raw["prompt_ids"] == reference.encode(smollm2, prompt)
    turn = smidgen.generate(smollm2, prompt, max_new_tokens=1, greedy=True)
    text = reference.render(reference.chat_template(smollm2), [{"role": "user", "content": prompt}], True)
    assert turn["prompt_ids"] == reference.encode(smollm2, text)


def test_cached_equals_recomputed():
    """Each generated id is the argmax of a `forward` over all ids before it."""
    folder = tiny.model()
    out = smidgen.generate(folder, "Lori selka 42", max_new_tokens=60, greedy=True, ignore_eos=True, raw=True, dtype="fp32")
    logits = smidgen.forward(folder, ids=out["prompt_ids"] + out["ids"])["logits"]
    assert len(out["ids"]) == 60
    for k, taken in enumerate(out["ids"]):
        row = logits[len(out["prompt_ids"]) - 1 + k]
        if row.argmax() != taken:
            assert (row.max() - row[taken]) / np.ptp(row) < TIE, f"token {k}"


def test_tiny_model_follows_the_reference():
    folder = tiny.model()
    model = reference.llama(folder, torch.float64)
    for prompt in ("Ver", "Ka do the umes 7", "def return self.x == ()"):
        out = smidgen.generate(folder, prompt, max_new_tokens=80, greedy=True, ignore_eos=True, raw=True, dtype="fp32")
        assert out["prompt_ids"] == reference.encode(folder, prompt)
        at, gap = follow(model, out["prompt_ids"], out["ids"])
        assert at is None or gap < TIE


def test_generation_stops_at_the_end_of_the_context():
    """160 positions are all there are: the cache never runs past them, and the reason is said."""
    context = tiny.CONFIG["max_position_embeddings"]
    out = smidgen.generate(tiny.model(), "Ver", max_new_tokens=500, greedy=True, ignore_eos=True, raw=True)
    assert len(out["prompt_ids"]) + len(out["ids"]) in (context, context + 1)
    assert out["stop"] == "context"


def test_text_is_the_decoded_ids():
    out = smidgen.generate(tiny.model(), "Lori", max_new_tokens=40, greedy=True, ignore_eos=True, raw=True)
    assert out["text"] == tiny.tokenizer().decode(out["ids"], skip_special_tokens=True)


def test_stop_string_ends_the_text_before_it():
    folder, flags = tiny.model(), {"max_new_tokens": 60, "greedy": True, "ignore_eos": True, "raw": True}
    whole = smidgen.generate(folder, "Ver in", **flags)["text"]
    stop = re.search(r"[A-Za-z]{2}", whole).group()
    out = smidgen.generate(folder, "Ver in", stop=stop, **flags)
    assert out["text"] == whole[: whole.index(stop)]
    assert out["stop"] == "string"


# ---------------------------------------------------------------------------------------------- sampling
def test_sampling_is_repeatable_by_seed():
    def draw(seed):
        return smidgen.generate(tiny.model(), "Ka", max_new_tokens=40, temperature=1.0, seed=seed, ignore_eos=True)["ids"]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_top_k_of_one_and_a_tiny_nucleus_are_greedy():
    folder, prompt = tiny.model(), "Ver in"
    greedy = smidgen.generate(folder, prompt, max_new_tokens=40, greedy=True, ignore_eos=True)["ids"]
    for flags in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 0}):
        flags = {"temperature": 1.0} | flags
        assert smidgen.generate(folder, prompt, max_new_tokens=40, seed=3, ignore_eos=True, **flags)["ids"] == greedy


@pytest.mark.parametrize(
    "flags",
    [
        {"temperature": 1.0},
        {"temperature": 0.7},
        {"temperature": 1.0, "top_k": 5},
        {"temperature": 1.0, "top_p": 0.6},
        {"temperature": 1.0, "min_p": 0.2},
        {"temperature": 1.3, "top_k": 20, "top_p": 0.8},
    ],
    ids=str,
)
def test_samples_stay_inside_what_transformers_keeps(flags):
    """Every drawn id has a probability under transformers' warpers; and not only the first is ever drawn."""
    from transformers import LogitsProcessorList, MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warpers = LogitsProcessorList()
    makers = {
        "temperature": TemperatureLogitsWarper,
        "top_k": TopKLogitsWarper,
        "top_p": TopPLogitsWarper,
        "min_p": MinPLogitsWarper,
    }
    for key, make in makers.items():
        if key in flags:
            warpers.append(make(flags[key]))
    folder = tiny.model()
    out = smidgen.generate(folder, "Sel", max_new_tokens=140, seed=9, ignore_eos=True, raw=True, dtype="fp32", **flags)
    ids = out["prompt_ids"] + out["ids"]
    rows = torch.tensor(reference.forward(reference.llama(folder, torch.float64), ids)["logits"])
    start = len(out["prompt_ids"])
    ranks, log_loss, wanted, variance = [], 0.0, 0.0, 0.0
    for k, taken in enumerate(out["ids"]):
        p = torch.softmax(warpers(torch.tensor([ids[: start + k]]), rows[start + k - 1][None])[0], -1)
        assert p[taken] > 0, f"token {k} was cut by {flags}"
        surprise = -torch.log(p.clamp_min(1e-300))
        ranks.append(int((p > p[taken]).sum()))
        log_loss += float(surprise[taken])
        wanted += float((p * surprise).sum())
        variance += float((p * surprise**2).sum() - (p * surprise).sum() ** 2)
    assert max(ranks) > 0
    # The summed surprise has the mean and variance the distribution says: a wrong temperature leaves five sigma.
    assert abs(log_loss - wanted) <= 5 * variance**0.5


def test_repetition_penalty_is_that_of_transformers():
    """Greedy under a penalty: each id is the argmax of the penalised row (prompt and output both count)."""
    from transformers import RepetitionPenaltyLogitsProcessor

    folder, penalty = tiny.model(), 1.7
    out = smidgen.generate(
        folder, "Ver in", max_new_tokens=60, greedy=True, repetition_penalty=penalty, ignore_eos=True, raw=True, dtype="fp32"
    )
    ids, start = out["prompt_ids"] + out["ids"], len(out["prompt_ids"])
    rows = torch.tensor(reference.forward(reference.llama(folder, torch.float64), ids)["logits"])
    process = RepetitionPenaltyLogitsProcessor(penalty)
    changed = 0
    for k, taken in enumerate(out["ids"]):
        row = process(torch.tensor([ids[: start + k]]), rows[start + k - 1][None].clone())[0]
        assert float(row.max() - row[taken]) / float(row.max() - row.min()) < TIE, f"token {k}"
        changed += int(rows[start + k - 1].argmax() != row.argmax())
    assert changed > 0, "the penalty never mattered"
