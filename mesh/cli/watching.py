"""Waits for the answers of a stream: a silent one is cancelled, and so is one whose reader presses Ctrl-C.

The exception that Python raises on Ctrl-C comes between any two steps of the main thread, also while gRPC takes or gives back a
lock: then the stream never ends, or ends with a traceback about that lock. So while a stream runs, Ctrl-C is only noted, and a
thread of its own cancels the call; what waits for the next answer then ends as it does whenever a call is cancelled.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from google.protobuf.message import Message


class _News(Enum):
    """What the watching thread is told."""

    WAITING = auto()
    ANSWERED = auto()
    PRESSED = auto()
    ENDED = auto()


class Interrupts:
    """Ctrl-C as a note instead of an exception."""

    def __init__(self) -> None:
        self.pressed = False
        # this kind of queue may be put into from a signal handler, whatever the thread was doing
        self.news: SimpleQueue[_News] = SimpleQueue()

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler; whoever presses again waits no longer, e.g. because nobody reads what is printed."""
        if self.pressed:
            signal.default_int_handler(number, frame)
        self.pressed = True
        self.news.put(_News.PRESSED)


@contextmanager
def noted() -> Iterator[Interrupts]:
    """Notes Ctrl-C while the block runs; elsewhere than in the main thread, and where it is ignored, that stays as it is."""
    interrupts = Interrupts()
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupts
        return
    signal.signal(signal.SIGINT, interrupts.note)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def watched(answers: Any, interrupts: Interrupts, silence: float | None) -> Iterator[Message]:
    """The answers of a call, which is cancelled on Ctrl-C, or when none comes for so many seconds.

    Its server may be frozen then, or the connection half open. KeyboardInterrupt after Ctrl-C, whatever the call ended with.
    """
    threading.Thread(target=_watch, args=(answers, interrupts.news, silence), daemon=True).start()
    try:
        yield from _announced(answers, interrupts.news)
    except Exception:
        if not interrupts.pressed:
            raise
    finally:
        interrupts.news.put(_News.ENDED)
    if interrupts.pressed:
        raise KeyboardInterrupt


def _announced(answers: Any, news: SimpleQueue[_News]) -> Iterator[Message]:
    """The answers; tells when one is waited for, and when one came."""
    while True:
        news.put(_News.WAITING)
        answer = next(answers, None)
        news.put(_News.ANSWERED)
        if answer is None:
            return
        yield answer


def _watch(answers: Any, news: SimpleQueue[_News], silence: float | None) -> None:
    """Cancels what should end, until it has."""
    told = _News.ANSWERED
    while told is not _News.ENDED:
        try:
            told = news.get(timeout=silence if told is _News.WAITING else None)
        except Empty:
            told = _News.PRESSED
        if told is _News.PRESSED:
            answers.cancel()
