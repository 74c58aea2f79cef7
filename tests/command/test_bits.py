"""A value must not depend on the process that computes it."""

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny
from support import smidgen

AT_ONCE = 3  # more processes than cores: threads then meet inside a function's first call


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_process_computes_the_same_bits(tmp_path):
    """MKL's first calls once gave a low-accuracy cosine in one process of three hundred: kernels/vector_math.cpp."""
    folder = tiny.model(tie_word_embeddings=False)

    def logits(i) -> str:
        return hashlib.sha256(smidgen.forward(folder, ids=[1, 17, 300, 5, 81])["logits"].tobytes()).hexdigest()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = Counter(pool.map(logits, range(1200)))
    assert len(seen) == 1, seen
