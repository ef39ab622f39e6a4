"""Half of a surrogate pair is in no text that leaves here, and a pair that a stream cut in two is whole again."""

import itertools
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider.chat import Answer, Delta, Finish, Foreign, Reasoning, Text, ToolCall, ToolCallDelta
from services.provider.dialects.base import arguments_of
from services.provider.dialects.halves import Joining, mended, mended_answer

# every character that JSON can write, halves among them
ANY = st.text(st.characters(exclude_categories=()))
KINDS: dict[str, tuple[Callable[[str], Delta], Callable[[Delta], str]]] = {
    "words": (lambda text: Delta(text=text), lambda delta: delta.text),
    "thoughts": (lambda text: Delta(reasoning=text), lambda delta: delta.reasoning),
    "arguments": (
        lambda text: Delta(tool_call=ToolCallDelta(3, arguments=text)),
        lambda delta: delta.tool_call.arguments if delta.tool_call else "",
    ),
}


@given(ANY)
def test_a_text_can_be_written(text: str) -> None:
    """What is whole stays as it is; each half that is left becomes the character that stands for what cannot be read."""
    found = mended(text)
    found.encode()
    assert mended(found) == found
    if "\ufffd" not in found:
        assert found.encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass")


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(), data=st.data())
def test_a_stream_that_is_cut_as_javascript_cuts(kind: str, text: str, data: st.DataObject) -> None:
    """Between any two code units of UTF-16, so within an emoji too: together the pieces are the text."""
    into, out_of = KINDS[kind]
    units = text.encode("utf-16-le")
    places = sorted(data.draw(st.lists(st.integers(0, len(units) // 2))))
    cuts = [2 * place for place in (0, *places, len(units) // 2)]
    pieces = [units[start:end].decode("utf-16-le", "surrogatepass") for start, end in itertools.pairwise(cuts)]
    joining = Joining()
    joined = [out_of(joining.piece(into(piece))) for piece in pieces]
    for piece in joined:
        piece.encode()
    assert "".join(joined) == text


def test_pieces_of_different_calls_are_not_mixed() -> None:
    """Two calls that grow in turns, both cut within a character."""
    joining = Joining()
    calls = {0: "", 1: ""}
    for index, arguments in ((0, "a\ud83d"), (1, "b\ud83c"), (0, "\ude00"), (1, "\udf0d")):
        call = joining.piece(Delta(tool_call=ToolCallDelta(index, arguments=arguments))).tool_call
        assert call is not None
        calls[index] += call.arguments
    assert calls == {0: "a\U0001f600", 1: "b\U0001f30d"}


def test_a_whole_answer_can_be_written() -> None:
    """Its words, its thoughts and its calls."""
    half = "a\ud83d"
    answer = mended_answer(Answer((Reasoning(half, "s"), Text(half), ToolCall("c", "f", half)), Finish.STOP))
    assert answer.parts == (Reasoning("a\ufffd", "s"), Text("a\ufffd"), ToolCall("c", "f", "a\ufffd"))


def test_arguments_within_arguments() -> None:
    """A model that writes an escape into its JSON writes half a pair at times; as an object it goes to dialects that want one."""
    assert arguments_of(json.dumps({"a\ud83d": ["\ude00", 5]})) == {"a\ufffd": ["\ufffd", 5]}


def test_a_part_that_only_its_own_dialect_knows() -> None:
    """Goes on whole and streamed; an answer that cannot be written would be lost."""
    part = Foreign("gemini", {"executableCode": {"code": ["print('\ud83d')", "\U0001f600"]}})
    mended_part = Foreign("gemini", {"executableCode": {"code": ["print('\ufffd')", "\U0001f600"]}})
    assert mended_answer(Answer((part,), Finish.STOP)).parts == (mended_part,)
    assert Joining().piece(Delta(part=part)).part == mended_part
