"""Estimates of tokens without a tokenizer: texts of any script, files and sound near what vendors count, and never nothing."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider import sizes, tokens
from services.provider.dialects.anthropic import reading as anthropic
from services.provider.dialects.openai import reading as openai

DATA = base64.b64encode(bytes(range(256)) * 4096).decode()
CHINESE = "今天天气很好，我们去公园散步，然后在湖边吃午饭。"
# tokens of a megabyte, from the vendors' formulas with a wide margin: a PDF of some fifteen pages, a minute of sound
PAGES, MINUTE = (10_000, 60_000), (300, 4_000)


def _openai(part: dict[str, object]) -> int:
    return tokens.of_chat(openai.read({"model": "m", "messages": [{"role": "user", "content": [part]}]}).chat)


def _anthropic(source: dict[str, object]) -> int:
    said = [{"type": "document", "source": source, "title": "a"}]
    return tokens.of_chat(anthropic.read({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": said}]}).chat)


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        (_openai({"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{DATA}"}}), PAGES),
        (_openai({"type": "file", "file": {"filename": "a.pdf", "file_data": DATA}}), PAGES),
        (_anthropic({"type": "base64", "media_type": "application/pdf", "data": DATA}), PAGES),
        (_openai({"type": "input_audio", "input_audio": {"data": DATA, "format": "mp3"}}), MINUTE),
        (_openai({"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{DATA}"}}), MINUTE),
    ],
    ids=["pdf", "bare pdf", "document", "sound", "film"],
)
def test_a_file_is_not_counted_as_words(counted: int, expected: tuple[int, int]) -> None:
    """A megabyte in base64 would be four hundred thousand tokens, a dollar and more for a call of some cents."""
    assert expected[0] <= counted <= expected[1]


def test_words_in_a_file_are_words() -> None:
    """However they travel."""
    words = "all work and no play " * 1000
    plain = _anthropic({"type": "text", "media_type": "text/plain", "data": words})
    packed = base64.b64encode(words.encode()).decode()
    inside = _openai({"type": "file", "file": {"filename": "a.txt", "file_data": f"data:text/plain;base64,{packed}"}})
    assert plain == pytest.approx(len(words) / sizes.CHARACTERS_PER_TOKEN, rel=0.02)
    assert inside == pytest.approx(plain, rel=0.02)


@pytest.mark.parametrize(
    ("text", "least", "most"), [(CHINESE, 0.6, 1.2), ("Привет, как твои дела сегодня?", 0.3, 0.7), ("hello there", 0.2, 0.4)]
)
def test_other_scripts_have_more_tokens(text: str, least: float, most: float) -> None:
    """By character, as the vendors' tokenizers cut them."""
    assert least <= sizes.of_characters(sizes.size(text)) / len(text) <= most


ANY = st.text(st.characters(exclude_categories=()), max_size=50)


@given(ANY, ANY)
def test_a_size_adds_up(one: str, other: str) -> None:
    """Whatever a text holds, halves of surrogate pairs too: at least its characters, and piece by piece the same."""
    assert sizes.size(one) >= len(one)
    assert sizes.size(one + other) == sizes.size(one) + sizes.size(other)
