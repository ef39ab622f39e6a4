"""Streams that are watched: a silent one is cancelled, one that speaks is not."""

import threading
from collections.abc import Iterator

from google.protobuf.message import Message

from mesh.cli import calling, schema

PATIENCE = 30.0


class Stream:
    """Answers, then silence until it is cancelled."""

    def __init__(self, answers: list[Message], *, ends: bool) -> None:
        self._answers = iter(answers)
        self._ends = ends
        self.cancelled = threading.Event()

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        answer = next(self._answers, None)
        if answer is None:
            assert self._ends or self.cancelled.wait(PATIENCE)
            raise StopIteration
        return answer

    def cancel(self) -> None:
        """What the watch does."""
        self.cancelled.set()


def test_a_silent_stream_is_cancelled() -> None:
    """After what it said was given on."""
    said = schema.load().new("tooloo.system.v1.Process")
    stream = Stream([said], ends=False)
    assert list(calling.watched(stream, 0.05)) == [said]
    assert stream.cancelled.is_set()


def test_a_stream_that_ends_is_left_alone() -> None:
    """Nothing is cancelled when it ends by itself."""
    stream = Stream([], ends=True)
    assert list(calling.watched(stream, PATIENCE)) == []
    assert not stream.cancelled.is_set()
