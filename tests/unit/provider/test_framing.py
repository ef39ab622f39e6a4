"""Server-sent events are read as the specification says, wherever the bytes were cut."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider.dialects.framing import Event, Events, Lines, write_event
from services.provider.failure import CallFailedError, FailureKind

LINES = st.sampled_from(
    ["data: a", "data:b", "data:  c", "data", "event: x", ": comment", ":", "id: 1", "retry: 9", "unknown: z", ""]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    """The bytes in pieces."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return (data[start:end] for start, end in pairwise(edges))


def plain_reading(text: str) -> list[Event]:
    """The specification's algorithm, on a whole text with one kind of line end: the oracle."""
    events: list[Event] = []
    data: list[str] = []
    name = ""
    for line in text.split("\n")[:-1]:
        if line == "":
            if data:
                events.append(Event(name or "message", "\n".join(data)))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "data":
            data.append(value)
        if field == "event":
            name = value
    return events


@given(lines=st.lists(st.tuples(LINES, ENDS), max_size=30), places=st.lists(st.integers(0, 10_000), max_size=20), bom=st.booleans())
def test_any_cut_and_any_line_end_give_the_same_events(lines: list[tuple[str, str]], places: list[int], bom: bool) -> None:
    """CR, LF and CRLF mixed, with and without a byte order mark, cut between any two bytes."""
    # a CR before an LF would be one line end: put what follows a CR so that it is none
    text, plain = "", ""
    for line, end in lines:
        text += line + ("\r" if text.endswith("\r") and not line and end == "\n" else end)
        plain += line + "\n"
    data = (b"\xef\xbb\xbf" if bom else b"") + text.encode()
    reader = Events()
    found = [event for piece in cut(data, places) for event in reader.feed(piece)]
    assert found == plain_reading(plain)


@given(
    lines=st.lists(st.binary(max_size=20).filter(lambda line: not {10, 13} & set(line)), max_size=10),
    places=st.lists(st.integers(0, 500)),
)
def test_lines_of_any_bytes(lines: list[bytes], places: list[int]) -> None:
    """What is no line end is content, and the rest is kept."""
    data = b"\xef\xbb\xbf" + b"\n".join(lines)
    reader = Lines()
    found = [line for piece in cut(data, places) for line in reader.feed(piece)]
    assert [*found, reader.rest()] == (lines or [b""])


def test_an_event_that_no_empty_line_ends_is_none() -> None:
    """A connection that is cut within an event gives nothing of it."""
    assert list(Events().feed(b"data: whole\n\ndata: half\n")) == [Event("message", "whole")]


@pytest.mark.parametrize("data", [b"data: " + b"x" * 200, b"data: xxxxxxxxxxxxxxxx\n" * 20])
def test_what_never_ends_is_refused(data: bytes) -> None:
    """Neither a line nor an event may fill the memory."""
    reader = Events(longest=100)
    with pytest.raises(CallFailedError) as caught:
        [list(reader.feed(piece)) for piece in cut(data, list(range(0, len(data), 7)))]
    assert caught.value.failure.kind is FailureKind.MALFORMED


def test_what_is_written_is_read() -> None:
    """Our own writer's events."""
    assert list(Events().feed(write_event("{}", "ping") + write_event("[DONE]"))) == [
        Event("ping", "{}"),
        Event("message", "[DONE]"),
    ]
