"""Features of prompts: small, without text, the same every time, and back from the store nearly as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider import features

texts = st.text(max_size=300)
vectors = st.lists(st.floats(-1, 1, width=32), min_size=0, max_size=50).map(lambda values: np.array(values, np.float32))


@given(texts, vectors)
def test_features_come_back_from_the_store(text: str, vector: np.ndarray) -> None:
    """The embedding to 1/127 of its largest number, the shape to half precision, the words exactly."""
    made = features.read(text, vector)
    back = features.unpack(made.pack())
    largest = float(np.max(np.abs(vector), initial=0.0))
    assert np.allclose(back.embedding, vector, atol=largest / 127 + 1e-6)
    assert np.allclose(back.shape, made.shape, rtol=2e-3, atol=1e-3)
    assert np.array_equal(back.words, made.words)


@given(texts)
def test_every_text_has_features(text: str) -> None:
    """Finite numbers, as many for every text; buckets ascending and in range; a unit vector or zero."""
    seen = features.read(text, features.hashed_embedding(text))
    assert seen.shape.shape == features.shape_of("").shape
    assert np.isfinite(seen.shape).all()
    assert list(seen.words) == sorted(set(seen.words))
    assert all(bucket < features.WORD_BUCKETS for bucket in seen.words)
    assert np.linalg.norm(seen.embedding) == pytest.approx(1, abs=1e-5) or not seen.embedding.any()


def test_no_text_is_kept() -> None:
    """Not a word of the prompt stands in what the store gets."""
    packed = features.read("my secret plan", features.hashed_embedding("my secret plan")).pack()
    assert not any(word in packed for word in (b"secret", b"plan"))


def test_the_hashed_embedding_finds_what_shares_words() -> None:
    """Nearer to a prompt with the same words than to one with others."""
    one, near, far = map(
        features.hashed_embedding,
        ("sort a list in python", "how to sort a list of numbers in python", "symptoms of mild influenza"),
    )
    assert one @ near > one @ far + 0.2


def test_what_is_no_packed_prompt_is_refused() -> None:
    """A version that this code does not know."""
    with pytest.raises(ValueError, match="version"):
        features.unpack(bytes([99, 0, 0, 0, 0, 0, 0, 0, 0]))
