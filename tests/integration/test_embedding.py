"""The embedding model is what it should be: near the original's vectors, remembered, and replaced when it is not there."""

import asyncio
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from services.provider.features import Vector
from services.provider.settings import ProviderSettings
from services.provider.workers import embedding
from services.provider.workers.embedding import HASHED, MINILM, MODEL, Embedder

FOLDER = ProviderSettings().embedding_folder
needs_model = pytest.mark.skipif(not (FOLDER / MODEL).exists(), reason="the embedding model is not built; run: make models")
SENTENCES = (
    "How do I sort a list of dictionaries by a value in Python?",
    "Order an array of objects by one of their fields.",
    "What are the symptoms of influenza?",
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "",
    "Ünïcödé, 数学, and a very long text. " * 60,
)
# of the mean over tokens after the third layer of the original, between every two of the sentences
COSINES = (
    (1.000, 0.761, 0.503, 0.391, 0.455, 0.216, 0.297),
    (0.761, 1.000, 0.457, 0.427, 0.515, 0.259, 0.299),
    (0.503, 0.457, 1.000, 0.377, 0.403, 0.318, 0.257),
    (0.391, 0.427, 0.377, 1.000, 0.937, 0.329, 0.210),
    (0.455, 0.515, 0.403, 0.937, 1.000, 0.302, 0.262),
    (0.216, 0.259, 0.318, 0.329, 0.302, 1.000, 0.125),
    (0.297, 0.299, 0.257, 0.210, 0.262, 0.125, 1.000),
)  # fmt: skip


@needs_model
async def test_cosines_are_those_of_the_original() -> None:
    """Against three layers of all-MiniLM-L6-v2 in float64, computed with numpy alone; int8 may move a cosine a little."""
    embedder = Embedder(FOLDER, 256, 10)
    vectors = np.stack([await embedder.embed(text) for text in SENTENCES])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert np.abs(vectors @ vectors.T - np.array(COSINES)).max() < 0.05
    await embedder.close()


@needs_model
async def test_one_load_serves_everybody_and_the_last_prompts_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent first calls load the model once; a prompt asked again is not computed again, until others pushed it out."""
    loads, computed = 0, 0
    real = embedding._MiniLm

    class Counted(real):  # type: ignore[valid-type, misc]
        def __init__(self, folder: Path, tokens: int) -> None:
            nonlocal loads
            loads += 1
            super().__init__(folder, tokens)

        def embed(self, text: str) -> Vector:
            nonlocal computed
            computed += 1
            return cast(Vector, super().embed(text))

    monkeypatch.setattr(embedding, "_MiniLm", Counted)
    embedder = Embedder(FOLDER, 64, 2)
    await asyncio.gather(*(embedder.embed(text) for text in ("a", "b", "c")))
    await embedder.embed("c")
    assert (loads, computed) == (1, 3)
    await embedder.embed("a")
    assert (loads, computed) == (1, 4)
    await embedder.close()


async def test_without_a_model_words_are_hashed(tmp_path: Path) -> None:
    """It says so by its name and tells what to do."""
    embedder = Embedder(tmp_path, 256, 10)
    assert (embedder.name, embedder.available) == (HASHED, False)
    assert "make models" in embedder.why_not
    assert (await embedder.embed("hello")).shape == (256,)
    await embedder.close()


async def test_a_broken_model_costs_nobody_a_selection(tmp_path: Path) -> None:
    """A file that is no model: the hashed embedding stands in from then on."""
    (tmp_path / MODEL).write_bytes(b"nonsense")
    (tmp_path / "tokenizer.json").write_text("{}")
    embedder = Embedder(tmp_path, 256, 10)
    if not embedder.available:
        pytest.skip("onnxruntime and tokenizers are not installed; run: make models")
    assert embedder.name == MINILM
    assert (await embedder.embed("hello")).shape == (256,)
    assert embedder.name == HASHED
    await embedder.close()
