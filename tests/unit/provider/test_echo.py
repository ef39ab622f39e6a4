"""The echo model says what it is, is the same each time, and counts like the rest."""

from services.provider import echo, sizes, tokens
from services.provider.assembling import assemble
from services.provider.chat import Chat, Finish, Message, Role, Text


def chat(text: str, most: int | None = None) -> Chat:
    """A question."""
    return Chat((Message(Role.SYSTEM, (Text("Be kind."),)), Message(Role.USER, (Text(text),))), max_output_tokens=most)


def test_it_says_that_it_stands_in() -> None:
    """Nobody may take it for a model."""
    answer = echo.answer(chat("what is new?"), "echo")
    [part] = answer.parts
    assert isinstance(part, Text)
    assert "not a language model" in part.text
    assert part.text.endswith("You said: what is new?")
    assert answer.usage is not None
    assert answer.usage.output_tokens == sizes.of_characters(len(part.text))
    assert answer.usage.input_tokens == tokens.of_chat(chat("what is new?"))


def test_its_stream_is_its_answer() -> None:
    """Word by word, spaces and all."""
    for text in ("hello", "  two  words \n", "", "x"):
        assert assemble(echo.deltas(chat(text), "echo")) == echo.answer(chat(text), "echo")


def test_it_keeps_to_the_wished_length() -> None:
    """Cut, and says so."""
    answer = echo.answer(chat("hello", most=5), "echo")
    assert answer.finish is Finish.LENGTH
    assert answer.usage is not None
    assert answer.usage.output_tokens <= 5
