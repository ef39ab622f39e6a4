"""The runs of a subscription against the plainest model: a row for each event, and the set of settled positions."""

from array import array
from dataclasses import dataclass
from itertools import pairwise
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bus import runs as runs_module
from bus.deliveries import SETTLED_DEADLINES
from bus.ranges import AckState
from bus.runs import Run, Runs
from bus.slices import Slice

TOKENS = (1, 2)
NOBODY = 99


def event_at(position: int) -> bytes:
    """An event that tells where it stands, as `repeated Event events = 1` has it; their lengths differ."""
    body = b"x" * (position % 4) + position.to_bytes(3, "big")
    return b"\x0a" + bytes((len(body),)) + body


def slice_at(positions: list[int]) -> Slice:
    """Such events at ascending positions, as a scan gives them."""
    whole = positions[-1] - positions[0] + 1 == len(positions)
    numbers = range(positions[0], positions[-1] + 1) if whole else array("q", positions)
    return Slice(numbers, b"".join(map(event_at, positions)))


@dataclass
class Known:
    """What the model knows of an event that is not settled: fresh while nobody holds it; who hold it hold all of one lease."""

    position: int
    lease: int = 0
    holder: int | None = None
    deadline: float = 0.0
    late: bool = False


class RunsMachine(RuleBasedStateMachine):
    """Slices come, with gaps; they are leased in parts, settled in any order, extended, taken apart."""

    @initialize(settled_deadlines=st.sampled_from((0, 1000)))
    def begin(self, settled_deadlines: int) -> None:
        """Deadlines of what is settled are thrown out early, or left lying about."""
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(runs_module, "SETTLED_DEADLINES", settled_deadlines)
        self.acks = AckState(0)
        self.runs = Runs(self.acks)
        self.known: dict[int, Known] = {}
        # slices of which nobody has had anything, or not all; and each event's neighbours when it came
        self.fresh: list[list[int]] = []
        self.events: list[int] = []
        self.settled: set[int] = set()
        # what was taken apart is somebody else's
        self.apart: set[int] = set()
        self.newest = dict.fromkeys(TOKENS, 0)
        self.now = 100.0
        self.leases = 0
        self.head = 0

    def teardown(self) -> None:
        """In the end everything is settled, gaps and all, and nothing is left over."""
        if not hasattr(self, "runs"):
            return
        while self.fresh:
            self.lease(1, 3, None)
        for known in list(self.known.values()):
            assert self.runs.settle(known.holder or 0, known.position)
            self.forget([known.position])
        for position in self.apart:
            self.acks.settle(position, position)
        assert self.acks.floor == self.head
        assert (self.runs.unsettled, self.runs.next_due()) == (0, inf)
        assert not self.runs.fresh
        assert not self.runs._leased, "there is no end of tokens"
        self.patch.undo()

    def held_by(self, token: int) -> list[Known]:
        """What a token holds, in order."""
        return sorted((one for one in self.known.values() if one.holder == token), key=lambda one: one.position)

    def forget(self, positions: list[int]) -> None:
        """The model's side of settling."""
        for position in positions:
            del self.known[position]
            self.settled.add(position)

    @rule(gaps=st.lists(st.sampled_from((1, 1, 1, 2, 4)), min_size=1, max_size=8))
    def add(self, gaps: list[int]) -> None:
        """Fresh events; what stands before them and is none is settled by who offers them."""
        positions = [self.head + sum(gaps[: index + 1]) for index in range(len(gaps))]
        self.acks.settle(self.head + 1, positions[0] - 1)
        self.runs.add(slice_at(positions))
        self.fresh.append(positions)
        self.events += positions
        self.known |= {position: Known(position) for position in positions}
        self.head = positions[-1]

    @precondition(lambda self: self.fresh)
    @rule(token=st.sampled_from(TOKENS), limit=st.integers(1, 9), max_bytes=st.none() | st.integers(0, 40))
    def lease(self, token: int, limit: int, max_bytes: int | None) -> None:
        """The first fresh ones, within both limits, one at least; all of them late, or none; with their bytes."""
        first, newest = self.fresh[0], self.newest[token]
        expected = first[:limit]
        while max_bytes is not None and len(expected) > 1 and sum(len(event_at(one)) for one in expected) > max_bytes:
            expected.pop()
        late = first[0] <= newest
        expected = [position for position in expected if (position <= newest) is late]
        run = self.runs.lease(token, limit, max_bytes, newest, self.now + 10.0)
        assert (list(run.positions), run.late, run.outstanding()) == (expected, late, expected)
        sent = run.take_events()
        assert (list(sent.positions), sent.events) == (expected, b"".join(map(event_at, expected)))
        self.leases += 1
        for position in expected:
            self.known[position] = Known(position, self.leases, token, self.now + 10.0, late)
        self.newest[token] = max(newest, expected[-1])
        self.fresh[0] = first[len(expected) :]
        self.fresh = [positions for positions in self.fresh if positions]

    @precondition(lambda self: self.head)
    @rule(token=st.sampled_from(TOKENS), data=st.data())
    def send_higher(self, token: int, data: st.DataObject) -> None:
        """The token was sent something else, at a higher position than what is fresh."""
        self.newest[token] = max(self.newest[token], data.draw(st.integers(1, self.head)))

    @precondition(lambda self: self.head)
    @rule(token=st.sampled_from((*TOKENS, NOBODY)), data=st.data())
    def settle(self, token: int, data: st.DataObject) -> None:
        """An event that the token holds; no other, and no position of none."""
        position = data.draw(st.sampled_from([one.position for one in self.held_by(token)] or [1]) | st.integers(1, self.head))
        known = self.known.get(position)
        holds = known is not None and known.holder == token
        run = self.runs.of(token, position)
        assert (run is not None and run.holds(position)) is holds
        assert self.runs.settle(token, position) is holds
        if holds:
            self.forget([position])

    @precondition(lambda self: self.head)
    @rule(token=st.sampled_from((*TOKENS, NOBODY)), data=st.data())
    def settle_up_to(self, token: int, data: st.DataObject) -> None:
        """All that the token holds up to there and was sent in order; it is counted."""
        position = data.draw(st.integers(1, self.head))
        meant = [one.position for one in self.held_by(token) if one.position <= position and not one.late]
        assert self.runs.settle_up_to(token, position) == len(meant)
        self.forget(meant)

    @precondition(lambda self: self.head)
    @rule(token=st.sampled_from((*TOKENS, NOBODY)), data=st.data(), seconds=st.sampled_from((10.0, 12.0)))
    def extend(self, token: int, data: st.DataObject, seconds: float) -> None:
        """Only leases that are named wholly, however often; the others come back as they were named, and keep their deadline."""
        held = [one.position for one in self.held_by(token)]
        named = data.draw(st.sampled_from(([], held, held[::-1], held[:2])))
        named = [*named, *data.draw(st.lists(st.integers(1, self.head), max_size=4))]
        leases = {self.known[one].lease for one in held}
        whole = {lease for lease in leases if {one for one in held if self.known[one].lease == lease} <= set(named)}
        wholly = [one for one in held if self.known[one].lease in whole]
        # deadlines come in order: whoever deals adds the same to a time that only grows
        self.now += seconds - 10.0
        assert self.runs.extend(token, named, self.now + 10.0) == [one for one in named if one not in wholly]
        for position in wholly:
            self.known[position].deadline = self.now + 10.0

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def take_apart(self, data: st.DataObject) -> None:
        """A run is found by any of its events, leased or not; what is not settled of it comes out."""
        position = data.draw(st.sampled_from(sorted(self.known)))
        run = self.runs.with_event(position)
        assert run is not None
        self.take_out(run, position)

    def take_out(self, run: Run, position: int) -> None:
        """Takes a run apart, and notes it in the model."""
        known = self.known[position]
        if known.holder is None:
            expected = next(positions for positions in self.fresh if position in positions)
            self.fresh.remove(expected)
        else:
            expected = sorted(one.position for one in self.known.values() if one.lease == known.lease)
        assert self.runs.take_apart(run) == expected
        for one in expected:
            del self.known[one]
        self.apart.update(expected)

    @rule(seconds=st.sampled_from((0.0, 1.0, 5.0, 11.0)))
    def time_passes(self, seconds: float) -> None:
        """Exactly what is held past its deadline comes, whole leases, each once."""
        self.now += seconds
        overdue = {one.lease for one in self.known.values() if one.holder is not None and one.deadline <= self.now}
        while (run := self.runs.pop_overdue(self.now)) is not None:
            lease = self.known[run.outstanding()[0]].lease
            overdue.remove(lease)
            self.take_out(run, run.outstanding()[0])
        assert not overdue

    @invariant()
    def the_books_are_right(self) -> None:
        """What each holds, how much that is together, and when the next deadline passes."""
        if not hasattr(self, "runs"):
            return
        for token in (*TOKENS, NOBODY):
            held = [position for run in self.runs.held_by(token) for position in run.outstanding()]
            assert held == [one.position for one in self.held_by(token)]
        assert self.runs.unsettled == len(self.known)
        deadlines = [one.deadline for one in self.known.values() if one.holder is not None]
        assert self.runs.next_due() == min(deadlines, default=inf)

    @invariant()
    def no_event_is_settled_but_those_that_were(self) -> None:
        """And with each that is, the positions on both sides of it that are no event's: only an event holds up the floor."""
        if not hasattr(self, "runs"):
            return
        assert {position for position in self.events if position in self.acks} == self.settled
        for before, behind in pairwise(self.events):
            if {before, behind} & self.settled:
                assert all(position in self.acks for position in range(before + 1, behind))
        assert self.acks.floor == min({*self.known, *self.apart}, default=self.head + 1) - 1


RunsMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
test_runs = RunsMachine.TestCase


def test_an_acknowledgement_in_a_gap_means_what_stands_before_it() -> None:
    """No event stands at the position itself; the gap is settled with the event before it, but not the event behind."""
    acks = AckState(0)
    runs = Runs(acks)
    runs.add(slice_at([1, 2, 6, 7]))
    runs.lease(1, 10, None, 0, 10.0)
    assert runs.settle_up_to(1, 4) == 2
    assert (acks.floor, acks.ranges) == (5, [])
    assert runs.held_by(1)[0].outstanding() == [6, 7]


def test_a_run_that_reaches_beyond_what_was_sent_is_cut_there() -> None:
    """What stands at or below the newest position sent came late, and is acknowledged by name alone; the rest is not."""
    runs = Runs(AckState(0))
    runs.add(slice_at([1, 2, 3, 4]))
    late = runs.lease(1, 10, None, 2, 10.0)
    in_order = runs.lease(1, 10, None, 2, 10.0)
    assert (list(late.positions), late.late) == ([1, 2], True)
    assert (list(in_order.positions), in_order.late) == ([3, 4], False)
    assert runs.settle_up_to(1, 4) == 2
    assert runs.held_by(1) == [late]


def test_an_event_that_is_larger_than_all_there_is_room_for_goes_out_alone() -> None:
    """Else it would never go."""
    runs = Runs(AckState(0))
    runs.add(slice_at([1, 2]))
    assert list(runs.lease(1, 10, 0, 0, 10.0).positions) == [1]


def test_deadlines_that_were_extended_do_not_pile_up() -> None:
    """A member that extends its one lease again and again costs no memory for it; the lease ends all the same."""
    runs = Runs(AckState(0))
    runs.add(slice_at([1, 2]))
    run = runs.lease(1, 10, None, 0, 10.0)
    for second in range(10_000):
        assert runs.extend(1, [1, 2], 10.0 + second) == []
    assert len(runs._deadlines) <= 2 * 2 + SETTLED_DEADLINES + 1
    assert runs.next_due() == 10_009.0
    assert runs.pop_overdue(10_008.0) is None
    assert runs.pop_overdue(10_009.0) is run


def test_an_event_that_is_named_twice_is_no_second_one() -> None:
    """Only a run that is named as a whole is extended as one; the others come back as they were named."""
    runs = Runs(AckState(0))
    runs.add(slice_at([1, 2]))
    runs.lease(1, 10, None, 0, 10.0)
    assert runs.extend(1, [1, 1], 20.0) == [1, 1]
    assert runs.next_due() == 10.0
    assert runs.extend(1, [2, 1, 2, 3], 20.0) == [3]
    assert runs.next_due() == 20.0
