"""The dealer against a plain model: every event is delivered until it is acknowledged or dead, in the order of its subject."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bus.dealing import Dealer
from bus.deliveries import MAX_DELIVERIES, PARKED, Changes, Policy, Retry
from bus.ranges import AckState
from tests.support.dealing import EVENT, POLICY, slice_of

SUBJECTS = ("a", "b", "c")
TOKENS = (1, 2, 3)
NOBODY = 99


class Disk:
    """What the store would hold: floor, ranges, retries and dead letters."""

    def __init__(self) -> None:
        self.floor = 0
        self.ranges = b""
        self.retries: dict[int, Retry] = {}
        self.dead: dict[int, int] = {}
        # buried before a seek, and dealt out once more since
        self.buried_before: set[int] = set()

    def apply(self, acks: AckState, changes: Changes) -> None:
        """One transaction."""
        self.floor, self.ranges = acks.floor, acks.encode()
        for dead in changes.dead.values():
            assert dead.position not in self.dead or dead.position in self.buried_before, "a second dead letter for one event"
            self.buried_before.discard(dead.position)
            self.dead[dead.position] = dead.attempts
        for position in changes.forgotten:
            self.retries.pop(position, None)
        self.retries.update(changes.retries)


class DealerMachine(RuleBasedStateMachine):
    """Random members, acks, failures, clocks, restarts, seeks and redrives; events one by one in order, or in runs without."""

    @initialize(ordered=st.booleans())
    def begin(self, ordered: bool) -> None:
        """A new subscription at the beginning of an empty log."""
        self.policy = Policy(**{**vars(POLICY), "order_by_subject": ordered})
        self.disk = Disk()
        self.dealer = Dealer(self.policy, AckState(0))
        self.now = 100.0
        # subject of each event, or None when it is not wanted
        self.log: list[str | None] = []
        self.records: list[int] = []
        self.out: dict[int, int] = {}
        self.deadlines: dict[int, float] = {}
        # the highest position that each member was sent, and what it was sent at or below that
        self.newest: Counter[int] = Counter()
        self.late: set[int] = set()
        self.attempts: Counter[int] = Counter()
        self.settled: set[int] = set()
        self.redriven: set[int] = set()
        self.acked_by: Counter[int] = Counter()
        self.counted_by: Counter[int] = Counter()

    def wanted(self) -> set[int]:
        """Positions that the subscription wants."""
        return {position for position, subject in enumerate(self.log, 1) if subject}

    def write(self) -> None:
        """The write that follows each change."""
        changes = self.dealer.flush()
        self.counted_by.update(changes.acked)
        self.disk.apply(self.dealer.acks, changes)

    @rule(subjects=st.lists(st.sampled_from((*SUBJECTS, None)), min_size=1, max_size=6))
    def publish(self, subjects: list[str | None]) -> None:
        """A record stands at the end of the log, some of it wanted."""
        self.log.extend(subjects)
        self.records.append(len(self.log))

    @rule(records=st.integers(1, 4))
    def scan(self, records: int) -> None:
        """The dealer looks at the next records: slices of what is wanted, then the end of what was looked at."""
        ahead = [last for last in self.records if last > self.dealer.cursor][:records]
        for last in ahead:
            fresh = [position for position in range(self.dealer.cursor + 1, last + 1) if self.log[position - 1]]
            if fresh and not self.dealer.offer_run(slice_of(fresh)):
                self.dealer.scanned(fresh[-1], [(position, self.log[position - 1] or "") for position in fresh])
        if ahead:
            self.dealer.scanned(ahead[-1])

    @rule(token=st.sampled_from(TOKENS), limit=st.integers(1, 8), max_bytes=st.none() | st.integers(0, 9))
    def take(self, token: int, limit: int, max_bytes: int | None) -> None:
        """A member takes entries, else a run; what it gets is nobody else's, and the earliest of its subject."""
        entries = self.dealer.take(token, limit, self.now)
        for entry in entries:
            self.expect_next(entry.position)
            assert entry.attempts == self.attempts[entry.position] + 1
            self.lease(entry.position, token)
        self.dealer.sent(token, entries)
        if not entries and (run := self.dealer.take_run(token, limit, self.now, max_bytes)):
            sent = run.take_events()
            assert len(sent.events) == len(EVENT) * len(sent.positions)
            assert len(sent.positions) <= limit
            assert max_bytes is None or len(sent.positions) == 1 or len(sent.events) <= max_bytes
            for position in sent.positions:
                self.expect_next(position)
                assert not self.attempts[position], "a run holds what was never out"
                self.lease(position, token)

    def lease(self, position: int, token: int) -> None:
        """The model's side of a delivery."""
        self.attempts[position] += 1
        self.out[position] = token
        self.late.discard(position)
        if position <= self.newest[token]:
            self.late.add(position)
        self.newest[token] = max(self.newest[token], position)
        self.deadlines[position] = self.now + self.policy.ack_deadline

    def expect_next(self, position: int) -> None:
        """It is wanted, nobody's, not settled; in order, every earlier one of its subject is, but one that was redriven later."""
        assert position in self.wanted()
        assert position not in self.out
        assert position not in self.settled
        if self.policy.order_by_subject:
            earlier = {other for other in self.wanted() if other < position and self.log[other - 1] == self.log[position - 1]}
            assert earlier <= self.settled | self.redriven

    @precondition(lambda self: self.log)
    @rule(data=st.data(), token=st.sampled_from((*TOKENS, NOBODY)))
    def ack(self, data: st.DataObject, token: int) -> None:
        """Any positions: those that the token holds are settled, the others refused; positions of no event too."""
        positions = data.draw(st.lists(st.integers(1, len(self.log)), min_size=1, max_size=6, unique=True))
        held = [position for position in positions if self.out.get(position) == token]
        assert self.dealer.ack(token, positions) == [position for position in positions if position not in held]
        self.settle(held, token)

    @precondition(lambda self: self.log)
    @rule(data=st.data(), token=st.sampled_from((*TOKENS, NOBODY)))
    def ack_up_to(self, data: st.DataObject, token: int) -> None:
        """All that the token holds up to there and was sent in order, nothing else, also when no event stands at the position."""
        position = data.draw(st.integers(1, len(self.log)))
        self.dealer.ack_up_to(token, position)
        in_order = [held for held, holder in self.out.items() if holder == token and held not in self.late]
        self.settle([held for held in in_order if held <= position], token)

    def settle(self, positions: list[int], token: int) -> None:
        """The model's side of acks."""
        self.acked_by[token] += len(positions)
        for position in positions:
            del self.out[position]
            self.settled.add(position)
        self.write()

    @precondition(lambda self: self.log)
    @rule(
        data=st.data(), token=st.sampled_from((*TOKENS, NOBODY)), park=st.booleans(), retry_after=st.sampled_from((None, 0.0, 3.0))
    )
    def nack(self, data: st.DataObject, token: int, park: bool, retry_after: float | None) -> None:
        """Giving back delays or buries, the count of deliveries decides; what the token does not hold is refused."""
        position = data.draw(st.sampled_from(sorted(self.out) or [1]) | st.integers(1, len(self.log)))
        held = self.out.get(position) == token
        assert self.dealer.nack(token, position, self.now, retry_after=retry_after, park=park, error="no") is held
        if held:
            self.fail(position, PARKED if park else None)
        self.write()

    def fail(self, position: int, reason: str | None = None) -> None:
        """The model's side of a failure: an event that is through becomes a dead letter, and only then."""
        del self.out[position]
        reason = reason or (MAX_DELIVERIES if self.attempts[position] >= self.policy.max_deliveries else None)
        dead = self.dealer.changes.dead.get(position)
        assert (dead.reason if dead else None) == reason
        if dead:
            assert dead.attempts == self.attempts.pop(position)
            self.settled.add(position)

    @rule(token=st.sampled_from(TOKENS), counted=st.booleans())
    def stream_ends(self, token: int, counted: bool) -> None:
        """A member is gone: what it held is free at once; in good order it costs no attempt."""
        self.dealer.release(token, self.now, counted=counted)
        self.newest[token] = 0
        for position in [position for position, holder in self.out.items() if holder == token]:
            if counted:
                self.fail(position)
            else:
                del self.out[position]
                self.attempts[position] -= 1
        self.write()

    @rule(seconds=st.sampled_from((0.5, 2.0, 6.0, 11.0)))
    def time_passes(self, seconds: float) -> None:
        """Deadlines pass: exactly what was held past its own is taken back, and the dealer knew when to look."""
        due = self.dealer.next_due()
        self.now += seconds
        late = [position for position in self.out if self.deadlines[position] <= self.now]
        assert not late or (due is not None and due <= min(self.deadlines[position] for position in late))
        assert self.dealer.expire(self.now) == len(late)
        for position in late:
            self.fail(position)
        self.write()

    @precondition(lambda self: self.log)
    @rule(data=st.data(), token=st.sampled_from((*TOKENS, NOBODY)), whole=st.booleans())
    def extend(self, data: st.DataObject, token: int, whole: bool) -> None:
        """What the token holds gets its deadline anew, all of it or a part; the rest keeps its own."""
        held = [position for position, holder in self.out.items() if holder == token]
        some = data.draw(st.lists(st.integers(1, len(self.log)), max_size=5, unique=True))
        positions = sorted(held) if whole else some
        assert self.dealer.extend(token, positions, self.now) == [position for position in positions if position not in held]
        for position in set(positions) & set(held):
            self.deadlines[position] = self.now + self.policy.ack_deadline

    @precondition(lambda self: self.disk.dead)
    @rule(data=st.data())
    def redrive(self, data: st.DataObject) -> None:
        """A dead letter is given out once more, with fresh attempts unless it is out or waits again already."""
        position = data.draw(st.sampled_from(sorted(self.disk.dead)))
        self.write()
        del self.disk.dead[position]
        self.disk.buried_before.discard(position)
        self.redriven.add(position)
        retry = Retry(position, self.log[position - 1] or "", 0, 0.0, "")
        self.disk.retries.setdefault(position, retry)
        self.dealer.carry([retry])
        self.settled.discard(position)

    @rule()
    def read_again(self) -> None:
        """What waits in memory is read anew: nobody sees a difference."""
        self.dealer.unbundle()

    @rule()
    def restart(self) -> None:
        """The process dies: what is on disk is all there is; deliveries that were out do not count."""
        for position in self.out:
            self.attempts[position] -= 1
        self.out.clear()
        self.newest.clear()
        for position in self.wanted():
            self.attempts[position] = self.disk.retries[position].attempts if position in self.disk.retries else 0
        self.dealer = Dealer(self.policy, AckState.decode(self.disk.floor, self.disk.ranges))
        self.dealer.carry(self.disk.retries.values())

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def seek(self, data: st.DataObject) -> None:
        """Everything up to a position counts as settled, nothing beyond; dead letters stay."""
        floor = data.draw(st.integers(0, len(self.log)))
        self.dealer = Dealer(self.policy, AckState(floor))
        self.disk.floor, self.disk.ranges = floor, b""
        self.disk.retries.clear()
        self.disk.buried_before = {position for position in self.disk.dead if position > floor}
        self.out.clear()
        self.newest.clear()
        self.attempts.clear()
        self.settled = {position for position in self.wanted() if position <= floor}
        self.redriven.clear()

    @invariant()
    def the_books_are_right(self) -> None:
        """What is out, what is unsettled, and who acknowledged how much."""
        if not hasattr(self, "dealer"):
            return
        assert self.dealer.in_flight == len(self.out) <= self.policy.max_in_flight
        known = {position for position in self.wanted() if position <= self.dealer.cursor}
        assert self.dealer.unsettled == len(known - self.settled)
        assert +self.counted_by == +self.acked_by

    @invariant()
    def nothing_is_settled_that_was_not_answered(self) -> None:
        """Floor and ranges hold what is acknowledged, dead or not wanted, and what was redriven since."""
        if not hasattr(self, "dealer"):
            return
        answered = {position for position in self.wanted() if position in self.dealer.acks}
        assert answered <= self.settled | self.redriven
        assert self.settled <= answered
        if not known_unsettled(self):
            assert self.dealer.acks.floor >= self.dealer.cursor

    def teardown(self) -> None:
        """In the end a patient member gets everything that is not acknowledged or dead: nothing is ever lost."""
        if not hasattr(self, "dealer"):
            return
        self.restart()
        self.scan(len(self.records))
        for _ in range(len(self.log) * 3 + 5):
            self.now += 6.0
            got = [entry.position for entry in self.dealer.take(1, 10, self.now)]
            if not got and (run := self.dealer.take_run(1, 10, self.now)):
                got = list(run.positions)
            self.dealer.ack(1, got)
            assert not self.settled & set(got)
            self.settled.update(got)
        assert self.wanted() == self.settled
        assert self.dealer.acks.floor == len(self.log)
        assert (self.dealer.unsettled, self.dealer.in_flight) == (0, 0)


def known_unsettled(machine: DealerMachine) -> set[int]:
    """What was looked at and still waits for an answer."""
    return {position for position in machine.wanted() if position <= machine.dealer.cursor} - machine.settled


DealerMachine.TestCase.settings = settings(max_examples=300, stateful_step_count=50)
test_dealer = DealerMachine.TestCase
