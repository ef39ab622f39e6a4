"""Replaying: how far a subscription has come, until it is where the log ended when it was moved."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from mesh.cli import replaying
from mesh.cli.console import Console


class Bar:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, float | None, str | None]] = []

    def set(self, done: float, total: float | None = None, label: str | None = None, unit: str | None = None) -> None:
        """So much is done."""
        assert unit == "events"
        self.told.append((done, total, label))


def subscription(floor: int, head: int, members: int = 1) -> Any:
    """A subscription as the bus shows it."""
    return SimpleNamespace(name="learning", ack_floor=floor, head_position=head, members=members)


def told(monkeypatch: pytest.MonkeyPatch, moved: Any, then: list[Any]) -> list[tuple[float, float | None, str | None]]:
    """What the bar is told while the subscription is seen so, one after another."""
    seen, bar = iter(then), Bar()

    @contextmanager
    def progress(_console: Console, _label: str, _total: float | None = None) -> Iterator[Bar]:
        yield bar

    monkeypatch.setattr(replaying, "_POLL", 0)
    monkeypatch.setattr(Console, "progress", progress)
    caller: Any = SimpleNamespace(call=lambda _rpc, name: SimpleNamespace(subscription=next(seen)))
    replaying.catch_up(Console(), caller, moved)
    assert next(seen, None) is None, "it asked on, or ended before it had caught up"
    return bar.told


def test_it_ends_where_the_log_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published meanwhile is not waited for, and who pulls nothing is named."""
    label = "replaying to learning"
    found = told(monkeypatch, subscription(10, 20), [subscription(10, 20, 0), subscription(16, 25), subscription(23, 30)])
    assert found == [(0, 10, "nobody pulls learning"), (6, 10, label), (10, 10, label)]


def test_there_may_be_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the head, or beyond it."""
    assert [done for done, *_ in told(monkeypatch, subscription(20, 20), [subscription(20, 20)])] == [0]


def test_one_that_is_moved_back_further_goes_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """By somebody else meanwhile: the bar does not go below its beginning."""
    found = told(monkeypatch, subscription(10, 20), [subscription(4, 20), subscription(20, 20)])
    assert [done for done, *_ in found] == [0, 10]
