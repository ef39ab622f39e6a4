"""Each validator sees the run that breaks its promise, and only that: a judge who cannot say guilty proves nothing."""

from collections.abc import Callable

import pytest

from tests.robustness.record import Handled, Message, Record, Stored, Wanted
from tests.robustness.validate import PROMISES, broken_promises

Break = Callable[[Record], object]


def good_run() -> Record:
    """Six events of two subjects and two types; a publisher, two followers and a subscription that saw what they should."""
    record = Record(longest_silence=5.0)
    publisher = record.publisher()
    for first in (1, 3, 5):
        publisher.send([f"id-{first}", f"id-{first + 1}"])
        publisher.acknowledge([first, first + 1])
    record.log = [Stored(n, f"id-{n}", subject=f"s/{n % 2}", type="a.even" if n % 2 == 0 else "a.odd") for n in range(1, 7)]
    everything = record.watch()
    everything.messages = [Message(0, [], 0, 2), Message(1, [1, 2, 3], 3, 4), Message(2, [4, 5, 6], 6, 6), Message(6, [], 6, 6)]
    nothing = record.watch(Wanted(["b.*"]))
    nothing.messages = [Message(0, [], 0, 0), Message(3, [], 6, 6)]
    membership = record.membership()
    membership.handled = [Handled(1, 1), Handled(2, 1), Handled(4, 1), Handled(3, 1), Handled(3, 2), Handled(5, 1)]
    membership.dead = [6]
    membership.floors = [0, 3]
    membership.again = [(0, 1), (3, 4)]
    return record


def swap_messages(record: Record) -> None:
    """A follower gets the later half first; its bookmark is left out of it."""
    first, second = record.watches[0].messages[1:3]
    record.watches[0].messages[1:3] = [Message(1, second.positions, 0, 6), Message(2, first.positions, 6, 6)]


def hear_a_wrong_type(record: Record) -> None:
    """A follower of odd events is given an even one between them."""
    watch = record.watch(Wanted(["a.odd"]))
    watch.messages = [Message(0, [1, 3, 4, 5], 6, 6)]


def replace(record: Record, index: int, message: Message) -> None:
    """Puts another message into the stream of the follower of everything."""
    record.watches[0].messages[index] = message


BROKEN: list[tuple[str, Break]] = [
    # an acknowledged event stands elsewhere than told; a floor that was told falls back
    ("durable", lambda run: run.publishers[0].acknowledge([7, 8])),
    ("durable", lambda run: run.memberships[0].again.append((3, 3))),
    # a hole in the positions; a reader that goes back; a subject that goes back
    ("ordered", lambda run: run.log.append(Stored(8, "id-8", type="b.x"))),
    ("ordered", swap_messages),
    ("ordered", lambda run: run.memberships[0].handled.__setitem__(slice(0, 4), [Handled(n, 1) for n in (3, 1, 2, 4)])),
    # the same id at two positions
    ("unique", lambda run: run.log.append(Stored(7, "id-1", type="b.x"))),
    # half of a publish that nobody acknowledged
    ("atomic", lambda run: run.publishers[0].send(["id-7", "id-1"])),
    ("filtered", hear_a_wrong_type),
    ("filtered", lambda run: run.watch(Wanted(["a.odd"])).messages.append(Message(0, [1, 5], 6, 6))),
    ("filtered", lambda run: run.memberships[0].handled.append(Handled(99, 1))),
    # an event that nobody handled; a dead letter kept twice
    ("reliable", lambda run: run.memberships[0].handled.remove(Handled(2, 1))),
    ("reliable", lambda run: run.memberships[0].dead.append(6)),
    # a gap and a repeat
    ("resumable", lambda run: replace(run, 2, Message(2, [4, 6], 6, 6))),
    ("resumable", lambda run: replace(run, 2, Message(2, [4, 4, 5, 6], 6, 6))),
    # an event behind the bookmark; a bookmark that never arrives; one beyond the end
    ("bookmarkable", lambda run: replace(run, 1, Message(1, [1, 2, 3], 4, 4))),
    ("bookmarkable", lambda run: run.watches[1].messages.pop()),
    ("bookmarkable", lambda run: run.watches[1].messages.append(Message(4, [], 9, 9))),
    # silence; nothing at all; a head that falls; a progress beyond the head
    ("live", lambda run: replace(run, 3, Message(7.5, [], 6, 6))),
    ("live", lambda run: run.watches[1].messages.clear()),
    ("live", lambda run: replace(run, 3, Message(6, [], 6, 5))),
]


def test_a_good_run_breaks_no_promise() -> None:
    """Redelivery, dead letters, filters that match nothing and heartbeats are in order."""
    assert broken_promises(good_run()) == {}


@pytest.mark.parametrize(("promise", "break_it"), BROKEN)
def test_each_broken_run_is_seen_by_the_validator_of_its_name(promise: str, break_it: Break) -> None:
    """The promise that was broken is named."""
    run = good_run()
    break_it(run)
    assert promise in broken_promises(run)


def test_every_promise_has_a_run_that_breaks_it() -> None:
    """No validator goes untested."""
    assert {promise for promise, _ in BROKEN} == {promise.__name__ for promise in PROMISES}


def test_a_repeated_publish_that_is_told_its_first_position_is_in_order() -> None:
    """The order of a publisher is that of first sending."""
    run = good_run()
    run.publishers[0].send(["id-1", "id-2"])
    run.publishers[0].acknowledge([1, 2])
    assert broken_promises(run) == {}
