"""Texts for vectors: split into calls without loss, read and written in every dialect, checked when they come back."""

import base64
import itertools
import json
import math
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider import echo, sizes
from services.provider.chat import Usage
from services.provider.dialects.asked import Unreadable
from services.provider.dialects.base import Unsupported, dump
from services.provider.dialects.openai import embeddings
from services.provider.dialects.table import DIALECTS
from services.provider.failure import CallFailedError, FailureKind
from services.provider.pricelist import PriceList, RegistryError
from services.provider.registry_tables import build_registry
from services.provider.target import Manner, Target
from services.provider.texts import NO_VECTORS, Batch, Texts, Vectors, flaw, most_tokens, split

ITEMS = st.one_of(st.text(max_size=12), st.lists(st.integers(0, 100), max_size=12).map(tuple))
HELLO = Texts(("hello", "there"))


def vectors(*items: list[float], usage: int = 0) -> Vectors:
    """Vectors of these numbers."""
    return Vectors(tuple(array("f", item) for item in items), Usage(usage) if usage else None)


def body_of(dialect: str, texts: Texts, manner: Manner | None = None, base: str = "http://far") -> tuple[str, Any]:
    """Where a request goes and what it says."""
    target = Target("p", "m", dialect, base, "key", manner=manner or Manner())
    outgoing = DIALECTS[dialect].embedding(texts, target)
    return outgoing.url, json.loads(outgoing.body)


@given(st.lists(ITEMS, max_size=40), st.integers(0, 7), st.integers(0, 30), st.integers(0, 45))
def test_splitting_loses_nothing(items: list[Any], texts: int, most: int, done: int) -> None:
    """In order, within both limits but for a text that is too long alone, and no call that could have held one more."""
    asked, limit = Texts(tuple(items), 5), Batch(texts, most)
    batches = list(split(asked, limit, done))
    assert [item for batch in batches for item in batch.items] == items[done:]
    assert all(batch.dimensions == 5 for batch in batches)
    for batch in batches:
        weight = sum(map(most_tokens, batch.items))
        assert batch.items
        assert not texts or len(batch.items) <= texts
        assert not most or weight <= most or len(batch.items) == 1
    for batch, following in itertools.pairwise(batches):
        more = (*batch.items, following.items[0])
        assert (texts and len(more) > texts) or (most and sum(map(most_tokens, more)) > most)


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3), max_size=5),
    st.booleans(),
)
def test_what_is_written_is_read_again(items: list[list[float]], packed: bool) -> None:
    """Every 32-bit float as it was, as base64 and as digits."""
    made = Vectors(tuple(array("f", item) for item in items), Usage(7), "m")
    body = json.loads(b"".join(embeddings.write_answer(made, 'a "model"', 7, packed=packed)))
    assert body["model"] == 'a "model"'
    assert body["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [each["index"] for each in body["data"]] == list(range(len(items)))
    assert embeddings.read_answer(body).items == made.items


def test_vectors_add_up() -> None:
    """Those of batches in order, their tokens together, and an estimate of one makes the whole one."""
    first, second = vectors([1.0], usage=3), Vectors((array("f", [2.0]),), Usage(4), "m", estimated=True)
    whole = NO_VECTORS.plus(first).plus(second)
    assert [item.tolist() for item in whole.items] == [[1.0], [2.0]]
    assert (whole.usage, whole.model, whole.estimated, whole.dimensions) == (Usage(7), "m", True, 1)


def test_flaws() -> None:
    """As many as the texts, of one length, of finite numbers; the largest numbers are no flaw."""
    largest = 3.4028234663852886e38
    assert flaw(vectors([largest] * 5000, [-largest] * 5000), HELLO) == ""
    assert flaw(vectors([1.0]), HELLO) == "1 vectors came for 2 texts"
    assert "differ in length" in flaw(vectors([1.0], [1.0, 2.0]), HELLO)
    assert "without numbers" in flaw(vectors([], []), HELLO)
    for bad in (math.nan, math.inf, -math.inf):
        assert "not finite" in flaw(vectors([1.0, 0.0], [bad, -bad]), HELLO)


def test_requests_of_every_dialect() -> None:
    """Paths, names and limits as each vendor has them."""
    fewer = Texts(HELLO.items, 8)
    url, body = body_of("openai", fewer, base="http://far/v1")
    assert url == "http://far/v1/embeddings"
    assert body == {"model": "m", "input": ["hello", "there"], "encoding_format": "base64", "dimensions": 8}
    url, body = body_of("gemini", fewer)
    assert url == "http://far/v1beta/models/m:batchEmbedContents"
    assert body["requests"][1] == {"model": "models/m", "outputDimensionality": 8, "content": {"parts": [{"text": "there"}]}}
    url, body = body_of("ollama", fewer)
    assert url == "http://far/api/embed"
    assert body == {"model": "m", "input": ["hello", "there"], "truncate": False, "dimensions": 8}
    assert [DIALECTS[name].batch for name in ("openai", "gemini")] == [Batch(2048, 300_000), Batch(100)]


def test_other_speakers_of_openai() -> None:
    """Azure's address, Mistral's name for the dimensions, one who knows no base64; the path for conversations does not count."""
    azure = Manner(api_version="2024-10-21", auth_header="api-key", path="/chat/completions")
    url, _ = body_of("openai", HELLO, azure, "https://a.openai.azure.com/openai/deployments/{model}")
    assert url == "https://a.openai.azure.com/openai/deployments/m/embeddings?api-version=2024-10-21"
    _, body = body_of("openai", Texts(("a",), 8), Manner(rename={"dimensions": "output_dimension"}, drop=("encoding_format",)))
    assert body == {"model": "m", "input": ["a"], "output_dimension": 8}


def test_what_a_dialect_cannot_say_is_refused_by_name() -> None:
    """Anthropic has no embeddings; ids of tokens and OpenAI's own fields go to who speaks OpenAI's dialect only."""
    ids = Texts(((1, 2), (3,)), extra={"openai": {"input_type": "query"}}, hints={"openai": {"user": "ada"}})
    assert body_of("openai", ids)[1]["input"] == [[1, 2], [3]]
    assert body_of("openai", ids)[1]["input_type"] == "query"
    with pytest.raises(Unsupported, match="anthropic dialect has no call for embeddings"):
        body_of("anthropic", HELLO)
    for dialect in ("gemini", "ollama"):
        with pytest.raises(Unsupported, match=r"input: the .* dialect takes words and no token ids"):
            body_of(dialect, Texts(((1, 2),)))
        with pytest.raises(Unsupported, match="input_type"):
            body_of(dialect, Texts(("a",), extra=ids.extra))
        assert body_of(dialect, Texts(("a",), hints=ids.hints))


PACKED = base64.b64encode(array("f", [0.5, -2.0]).tobytes()).decode()


@pytest.mark.parametrize(
    ("dialect", "body", "usage"),
    [
        ("openai", {"data": [{"index": 0, "embedding": PACKED}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}, 3),
        ("openai", {"data": [{"embedding": [0.5, -2]}], "usage": {"total_tokens": 4}}, 4),
        ("openai", {"data": [{"index": 0, "embedding": [0.5, -2]}], "usage": {"prompt_tokens": 0, "total_tokens": 0}}, 0),
        ("gemini", {"embeddings": [{"values": [0.5, -2]}]}, 0),
        ("gemini", {"embeddings": [{"values": [0.5, -2]}], "usageMetadata": {"promptTokenCount": 5}}, 5),
        ("ollama", {"model": "m", "embeddings": [[0.5, -2]], "prompt_eval_count": 6}, 6),
    ],
)
def test_answers_of_every_dialect(dialect: str, body: dict[str, Any], usage: int) -> None:
    """Packed and plain, with and without usage."""
    made = DIALECTS[dialect].vectors(dump(body))
    assert [item.tolist() for item in made.items] == [[0.5, -2.0]]
    assert made.usage == (Usage(usage) if usage else None)


def test_the_index_decides() -> None:
    """OpenAI's vectors may come in any order; who numbers none of them keeps the order of the texts."""
    data = [{"index": 1, "embedding": [1.0]}, {"index": 0, "embedding": [0.0]}]
    assert [item.tolist() for item in embeddings.read_answer({"data": data}).items] == [[0.0], [1.0]]
    plain = [{"embedding": [1.0]}, {"embedding": [0.0]}]
    assert [item.tolist() for item in embeddings.read_answer({"data": plain}).items] == [[1.0], [0.0]]


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai", {"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}),
        ("openai", {"data": [{"index": 5, "embedding": [1]}]}),
        ("openai", {"data": [{"index": 0, "embedding": "AAA"}]}),
        ("openai", {"data": [{"index": 0, "embedding": base64.b64encode(b"12345").decode()}]}),
        ("openai", {"data": [{"index": 0, "embedding": ["1"]}]}),
        ("openai", {"data": {"embedding": [1]}}),
        ("gemini", {"embeddings": [[1.0]]}),
        ("gemini", {"embeddings": [{"values": None}]}),
        ("ollama", {}),
        ("ollama", {"embeddings": [1.0]}),
        ("ollama", {"embeddings": [[{}]]}),
    ],
)
def test_answers_that_are_none(dialect: str, body: dict[str, Any]) -> None:
    """A malformed answer, never an exception of another kind."""
    with pytest.raises(CallFailedError) as caught:
        DIALECTS[dialect].vectors(dump(body))
    assert caught.value.failure.kind is FailureKind.MALFORMED


def test_an_error_with_a_good_status() -> None:
    """Where an error stands instead of vectors, it is what it says."""
    for dialect, body in (
        ("openai", {"error": {"message": "slow down", "code": 429}}),
        ("gemini", {"error": {"message": "slow down", "status": "RESOURCE_EXHAUSTED", "code": 429}}),
        ("ollama", {"error": "rate limit reached"}),
    ):
        with pytest.raises(CallFailedError) as caught:
            DIALECTS[dialect].vectors(dump(body))
        assert caught.value.failure.kind is FailureKind.RATE_LIMITED, dialect


def test_reading_what_a_caller_asks() -> None:
    """A text, texts, ids of tokens, lists of them; the format of OpenAI's client, and fields that we do not know."""
    asked = embeddings.read({"model": "m", "input": "a", "encoding_format": "base64", "user": "ada", "dimensions": 3, "odd": 1})
    assert (asked.texts.items, asked.texts.dimensions, asked.packed, asked.user) == (("a",), 3, True, "ada")
    assert asked.texts.extra == {"openai": {"odd": 1}}
    assert embeddings.read({"model": "m", "input": ["a", "b"]}).texts.items == ("a", "b")
    assert embeddings.read({"model": "m", "input": [1, 2]}).texts.items == ((1, 2),)
    assert embeddings.read({"model": "m", "input": [[1], [2, 3]]}).texts.items == ((1,), (2, 3))
    assert not embeddings.read({"model": "m", "input": "a"}).packed


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input[0]"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", [1]]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [[1], [-1]]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    """The field that is wrong is named."""
    with pytest.raises(Unreadable) as caught:
        embeddings.read({"model": "m", **fields})
    assert caught.value.field == field


@given(st.text(min_size=1, max_size=30), st.integers(1, 300))
def test_hashed_words_are_unit_vectors(text: str, dimensions: int) -> None:
    """Of any text and any length; the same again for the same text."""
    made = echo.vectors(Texts((text, text), dimensions), "m")
    first, again = made.items
    assert first == again
    assert len(first) == dimensions
    assert math.isclose(math.hypot(*first), 1, rel_tol=1e-5)
    assert made.usage == Usage(2 * sizes.of_characters(sizes.size(text)))


def test_the_registry_knows_what_an_embedding_model_is() -> None:
    """Its price may be that of input alone, which no other's may; a provider without such a call cannot have one."""

    def registry(dialect: str, *capabilities: str, price: dict[str, str]) -> Any:
        model = {"quality": 0.5, "tokens_per_second": 1, "context_window": 10, "capabilities": list(capabilities), "price": price}
        table = {"providers": {"p": {"dialect": dialect, "batch_texts": 7, "models": {"m": model}}}}
        return build_registry(table, PriceList({}, {}))

    made = registry("openai", "embeddings", price={"input": "1"})
    assert made.model("p", "m").embeds
    assert made.price_of("p", "m").cost(1000, 0) == 1_000_000
    assert made.providers["p"].manner.batch == Batch(7)
    with pytest.raises(RegistryError, match="write prices"):
        registry("openai", "tools", price={"input": "1"})
    with pytest.raises(RegistryError, match="no call for embeddings"):
        registry("anthropic", "embeddings", price={"input": "1"})
