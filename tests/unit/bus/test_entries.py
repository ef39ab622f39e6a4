"""The entries of a subscription against the plainest model: a list that is looked through anew for each question."""

from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bus import entries as entries_module
from bus.deliveries import SETTLED_DEADLINES, Entry
from bus.entries import Entries

SUBJECTS = ("a", "b")
TOKENS = (1, 2)
NOBODY = 99


@dataclass
class Known:
    """What the model knows of an event."""

    position: int
    subject: str
    due: float = 0.0
    attempts: int = 0
    holder: int | None = None
    deadline: float = 0.0
    late: bool = True


class EntriesMachine(RuleBasedStateMachine):
    """Entries come in any order of positions, are taken, given back, extended, settled; the model answers by looking at each."""

    @initialize(by_subject=st.booleans(), settled_deadlines=st.sampled_from((0, 1000)))
    def begin(self, by_subject: bool, settled_deadlines: int) -> None:
        """With and without an order by subject; deadlines of what is settled are thrown out early, or left lying about."""
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(entries_module, "SETTLED_DEADLINES", settled_deadlines)
        self.by_subject = by_subject
        self.entries = Entries(by_subject=by_subject)
        self.known: dict[int, Known] = {}
        self.now = 100.0
        self.redeliveries = 0

    def teardown(self) -> None:
        """In the end everything can be had, in order of subject, and nothing is left over."""
        if not hasattr(self, "entries"):
            return
        for position in [one.position for one in self.known.values() if one.holder is not None]:
            self.settle_one(position)
        self.now += 1000.0
        while self.known:
            taken = self.take_some(1, 100)
            assert taken
            for position in taken:
                self.settle_one(position)
        assert not self.entries.by_position
        assert (self.entries._held, self.entries._lanes) == ({}, {}), "there is no end of tokens and subjects"
        assert not self.entries.ready(self.now)
        assert self.entries.next_due() == inf
        self.patch.undo()

    def held(self) -> list[int]:
        """Positions that somebody holds."""
        return sorted(one.position for one in self.known.values() if one.holder is not None)

    def is_first(self, known: Known) -> bool:
        """Whether no earlier one of its subject stands before it."""
        same = [one.position for one in self.known.values() if one.subject == known.subject]
        return not self.by_subject or known.position == min(same)

    def available(self) -> list[int]:
        """What may be given out now, in the order of positions."""
        free = [one for one in self.known.values() if one.holder is None and one.due <= self.now]
        return sorted(one.position for one in free if self.is_first(one))

    @rule(position=st.integers(1, 60), subject=st.sampled_from(SUBJECTS), wait=st.sampled_from((None, 0.0, 3.0)))
    def add(self, position: int, subject: str, wait: float | None) -> None:
        """One that nobody holds, in any place of its subject: fresh, due by now, or to wait."""
        if position in self.known:
            return
        due = 0.0 if wait is None else self.now + wait
        self.known[position] = Known(position, subject, due)
        self.entries.add(Entry(position, subject, due=due))

    @rule(position=st.integers(1, 60), subject=st.sampled_from(SUBJECTS), token=st.sampled_from(TOKENS), late=st.booleans())
    def add_held(self, position: int, subject: str, token: int, late: bool) -> None:
        """One that came out of a run under its lease."""
        if position in self.known:
            return
        known = Known(position, subject, attempts=1, holder=token, deadline=self.now + 5.0, late=late)
        self.known[position] = known
        self.entries.add(Entry(position, subject, 1, holder=token, deadline=known.deadline, late=late))

    @rule(token=st.sampled_from(TOKENS), limit=st.integers(0, 5))
    def take(self, token: int, limit: int) -> None:
        """The first of what is free, as many as are wanted; some of it is sent in order."""
        expected = self.available()[:limit]
        assert self.take_some(token, limit) == expected

    def take_some(self, token: int, limit: int) -> list[int]:
        """Takes, and notes it in the model."""
        taken = self.entries.take(token, limit, self.now, self.now + 10.0)
        for entry in taken:
            known = self.known[entry.position]
            known.holder, known.deadline, known.late = token, self.now + 10.0, True
            known.attempts += 1
            self.redeliveries += known.attempts > 1
        return [entry.position for entry in taken]

    @precondition(lambda self: self.held())
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        """What is held goes out in order: from here on it is not late."""
        position = data.draw(st.sampled_from(self.held()))
        self.entries.by_position[position].late = self.known[position].late = False

    @precondition(lambda self: self.held())
    @rule(data=st.data(), wait=st.sampled_from((None, 0.0, 4.0)))
    def give_back(self, data: st.DataObject, wait: float | None) -> None:
        """It is free again at once, or after a wait; without one it keeps the time that it had."""
        self.give_back_one(data.draw(st.sampled_from(self.held())), wait)

    def give_back_one(self, position: int, wait: float | None) -> None:
        """Gives back, and notes it in the model."""
        entry, known = self.entries.by_position[position], self.known[position]
        if wait is not None:
            entry.due = known.due = self.now + wait
        known.holder = None
        self.entries.give_back(entry)

    @precondition(lambda self: self.held())
    @rule(data=st.data(), seconds=st.sampled_from((0.0, 1.0, 30.0)))
    def extend(self, data: st.DataObject, seconds: float) -> None:
        """Another deadline, also an earlier one, also the same again."""
        position = data.draw(st.sampled_from(self.held()))
        self.known[position].deadline = self.now + seconds
        self.entries.hold_until(self.entries.by_position[position], self.now + seconds)

    @rule(data=st.data(), token=st.sampled_from((*TOKENS, NOBODY)))
    def settle(self, data: st.DataObject, token: int) -> None:
        """Whoever holds it settles it; nobody else does, and a position that is none of them is no entry."""
        position = data.draw(st.sampled_from(self.held() or [1]) | st.integers(0, 61))
        known = self.known.get(position)
        if known and known.holder == token:
            self.settle_one(position)
        else:
            assert self.entries.settle(position, token) is None

    def settle_one(self, position: int) -> None:
        """Settles what is held, and notes it in the model."""
        entry = self.entries.settle(position, self.known.pop(position).holder)
        assert entry
        assert (entry.position, entry.holder) == (position, None)

    @rule(seconds=st.sampled_from((0.0, 1.0, 4.0, 11.0)))
    def time_passes(self, seconds: float) -> None:
        """Exactly what is held past its deadline comes, each once; it is given back as who deals does."""
        self.now += seconds
        overdue = {one.position for one in self.known.values() if one.holder is not None and one.deadline <= self.now}
        found = []
        while (entry := self.entries.pop_overdue(self.now)) is not None:
            found.append(entry.position)
            self.give_back_one(entry.position, 2.0)
        assert sorted(found) == sorted(overdue)
        self.entries.wake(self.now)
        assert self.entries.next_due() > self.now, "it would be looked at again and again"

    @rule(token=st.sampled_from((*TOKENS, NOBODY)), position=st.integers(0, 61))
    def look(self, token: int, position: int) -> None:
        """What a token holds, and what of it an acknowledgement up to a position means."""
        held = sorted((one for one in self.known.values() if one.holder == token), key=lambda one: one.position)
        assert [entry.position for entry in self.entries.held_by(token)] == [one.position for one in held]
        meant = [one.position for one in held if one.position <= position and not one.late]
        assert self.entries.sent_up_to(token, position) == meant

    @rule()
    def ask(self) -> None:
        """Whoever is told that nothing is ready misses nothing."""
        assert self.entries.ready(self.now) or not self.available()

    @invariant()
    def the_books_are_right(self) -> None:
        """Every entry as the model has it, and how many were given out again."""
        if not hasattr(self, "entries"):
            return
        assert self.entries.by_position.keys() == self.known.keys()
        for known in self.known.values():
            entry = self.entries.by_position[known.position]
            assert (entry.subject, entry.attempts, entry.holder, entry.late) == (
                *(known.subject, known.attempts, known.holder, known.late),
            )
        assert self.entries.redeliveries == self.redeliveries

    @invariant()
    def nothing_comes_before_it_is_due(self) -> None:
        """The next time is that of something that stands, and nothing that will happen by itself is earlier."""
        if not hasattr(self, "entries"):
            return
        due = self.entries.next_due()
        deadlines = [one.deadline for one in self.known.values() if one.holder is not None]
        waits = [one for one in self.known.values() if one.holder is None and one.due]
        assert due in {inf, *deadlines, *(one.due for one in waits)}
        ahead = [one.due for one in waits if one.due > self.now and self.is_first(one)]
        assert due <= min((*deadlines, *ahead), default=inf)


EntriesMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=50)
test_entries = EntriesMachine.TestCase


def test_a_subject_goes_on_with_the_earliest_that_is_left() -> None:
    """Also when an earlier one comes in later, as one that was redriven: the one that was next then waits for it."""
    entries = Entries(by_subject=True)
    entries.add(Entry(7, "a"))
    entries.add(Entry(3, "a"))
    assert [entry.position for entry in entries.take(1, 5, 0.0, 10.0)] == [3]
    assert not entries.ready(0.0)
    assert entries.settle(3, 1)
    assert [entry.position for entry in entries.take(1, 5, 0.0, 10.0)] == [7]


def test_what_nobody_holds_cannot_be_given_back() -> None:
    """That would be a fault of whoever deals: it would be given out twice at a time."""
    entries = Entries(by_subject=False)
    entry = Entry(1, "")
    entries.add(entry)
    with pytest.raises(RuntimeError, match="nobody holds"):
        entries.give_back(entry)


def test_nothing_is_due_when_everything_is_settled() -> None:
    """The deadline of what was acknowledged in time wakes nobody."""
    entries = Entries(by_subject=False)
    for position in (1, 2):
        entries.add(Entry(position, ""))
    entries.take(1, 1, 0.0, 10.0)
    entries.take(1, 1, 1.0, 11.0)
    entries.settle(1, 1)
    assert entries.next_due() == 11.0
    entries.settle(2, 1)
    assert entries.next_due() == inf


def test_an_extended_lease_is_due_at_its_new_deadline() -> None:
    """The old one has nothing to say any more."""
    entries = Entries(by_subject=False)
    entry = Entry(1, "")
    entries.add(entry)
    entries.take(1, 1, 0.0, 10.0)
    entries.hold_until(entry, 15.0)
    assert entries.next_due() == 15.0
    assert entries.pop_overdue(12.0) is None
    assert entries.pop_overdue(15.0) is entry


def test_deadlines_of_what_is_settled_do_not_pile_up() -> None:
    """A member that extends its one lease again and again costs no memory for it; the lease ends all the same."""
    entries = Entries(by_subject=False)
    entry = Entry(1, "")
    entries.add(entry)
    entries.take(1, 1, 0.0, 10.0)
    for second in range(10_000):
        entries.hold_until(entry, 10.0 + second)
    assert len(entries._deadlines) <= 2 + SETTLED_DEADLINES
    assert entries.pop_overdue(10_008.0) is None
    assert entries.pop_overdue(10_009.0) is entry
