"""Streams that are watched: a silent one is cancelled, one that speaks is not, and Ctrl-C ends it where nothing breaks."""

import signal
import threading
from collections.abc import Iterator

import pytest
from google.protobuf.message import Message

from mesh.cli import schema, watching

PATIENCE = 30.0


class Stream:
    """Answers, then silence until it is cancelled; `presses` Ctrl-C in the middle of what gRPC does under a lock."""

    def __init__(self, answers: list[Message], *, ends: bool = False, presses: int = 0) -> None:
        self._answers = iter(answers)
        self._ends = ends
        self._presses = presses
        self.locked = False
        self.cancelled = threading.Event()

    def __iter__(self) -> Iterator[Message]:
        return self

    def __next__(self) -> Message:
        answer = next(self._answers, None)
        if answer is None:
            self._press()
            assert self._ends or self.cancelled.wait(PATIENCE)
            raise StopIteration
        return answer

    def _press(self) -> None:
        self.locked = True
        for _ in range(self._presses):
            signal.raise_signal(signal.SIGINT)
        self.locked = False

    def cancel(self) -> None:
        """What the watch does."""
        self.cancelled.set()


def _said(stream: Stream, silence: float | None = None) -> list[Message]:
    with watching.noted() as interrupts:
        return list(watching.watched(stream, interrupts, silence))


def test_a_silent_stream_is_cancelled() -> None:
    """After what it said was given on."""
    said = schema.load().new("tooloo.system.v1.Process")
    stream = Stream([said])
    assert _said(stream, 0.05) == [said]
    assert stream.cancelled.is_set()


def test_a_stream_that_ends_is_left_alone() -> None:
    """Nothing is cancelled when it ends by itself."""
    stream = Stream([], ends=True)
    assert _said(stream, PATIENCE) == []
    assert not stream.cancelled.is_set()


def test_an_interrupt_takes_nothing_from_under_a_lock() -> None:
    """What was going on goes on to its end; then the call is cancelled, and that is Ctrl-C and no failure of the call."""
    stream = Stream([], presses=1)
    with pytest.raises(KeyboardInterrupt):
        _said(stream)
    assert stream.cancelled.is_set()
    assert not stream.locked
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_interrupts_twice_waits_for_nothing() -> None:
    """Whatever stands still then, e.g. because nobody reads what is printed."""
    stream = Stream([], presses=2)
    with pytest.raises(KeyboardInterrupt):
        _said(stream)
    assert stream.locked


def test_an_interrupt_that_is_ignored_stays_so() -> None:
    """As with what a shell without job control has put into the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert _said(Stream([], ends=True, presses=1)) == []
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
