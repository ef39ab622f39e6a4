"""The dealer against a plain model: every event is delivered until it is acknowledged or dead, in the order of its subject."""

from array import array
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bus.dealing import Dealer
from bus.deliveries import MAX_DELIVERIES, PARKED, Changes, Policy, Retry
from bus.ranges import AckState
from bus.slices import Slice

SUBJECTS = ("a", "b", "c")
TOKENS = (1, 2, 3)
NOBODY = 99
POLICY = Policy(ack_deadline=10.0, backoff=(1.0, 5.0), max_deliveries=3, max_in_flight=6, order_by_subject=True)
# what any event is in these tests: the dealer never looks into one
EVENT = b"\x0a\x00"


def slice_of(positions: Iterable[int]) -> Slice:
    """Events at ascending positions, as a scan gives them."""
    found = list(positions)
    whole = found[-1] - found[0] + 1 == len(found)
    return Slice(range(found[0], found[-1] + 1) if whole else array("q", found), EVENT * len(found))


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


def dealt(dealer: Dealer, now: float = 0.0, token: int = 1) -> list[int]:
    """Positions that a member gets now."""
    entries = dealer.take(token, 100, now)
    dealer.sent(token, entries)
    return [entry.position for entry in entries]


def test_backoff_repeats_its_last_wait() -> None:
    """The list gives the wait after each delivery; beyond its end the last one stands."""
    policy = Policy(backoff=(1.0, 5.0))
    assert [policy.wait_after(attempts) for attempts in (1, 2, 3, 9)] == [1.0, 5.0, 5.0, 5.0]


def test_a_given_back_event_waits_for_its_time_and_its_subject_waits_with_it() -> None:
    """While an event waits for its retry, the next one of its subject does not overtake it; another subject does."""
    dealer = Dealer(Policy(backoff=(5.0,)), AckState(0))
    dealer.scanned(3, [(1, "a"), (2, "a"), (3, "b")])
    assert dealt(dealer) == [1, 3]
    dealer.nack(1, 1, 0.0, retry_after=None, park=False, error="")
    assert dealt(dealer, 4.9) == []
    assert dealer.next_due() == 5.0
    assert dealt(dealer, 5.0) == [1]
    dealer.ack(1, [1])
    assert dealt(dealer, 5.0) == [2]


def test_carried_retries_keep_their_place_in_the_order() -> None:
    """After a restart a retry is not given out before the scan has seen what stands before it in its subject."""
    dealer = Dealer(Policy(), AckState(0))
    dealer.carry([Retry(2, "a", 1, 0.0, "failed")])
    assert dealt(dealer) == []
    dealer.scanned(2, [(1, "a"), (2, "a")])
    assert dealt(dealer) == [1]
    dealer.ack(1, [1])
    (entry,) = dealer.take(1, 1, 0.0)
    assert (entry.position, entry.attempts) == (2, 2)


def test_no_dead_letter_is_kept_when_none_is_wanted() -> None:
    """Discarded events are settled without a trace."""
    dealer = Dealer(Policy(max_deliveries=1, keep_dead_letters=False), AckState(0))
    dealer.scanned(1, [(1, "a")])
    dealt(dealer)
    dealer.nack(1, 1, 0.0, retry_after=None, park=False, error="")
    assert not dealer.changes.dead
    assert dealer.acks.floor == 1


def unordered(*pieces: Iterable[int], policy: Policy | None = None) -> Dealer:
    """A dealer that was offered these events as runs."""
    dealer = Dealer(policy or Policy(order_by_subject=False), AckState(0))
    for piece in pieces:
        assert dealer.offer_run(slice_of(piece))
    return dealer


def test_an_ack_in_a_gap_of_a_run_is_refused() -> None:
    """The member never got what stands there, and nothing is settled by it."""
    dealer = unordered([2, 5, 9])
    assert dealer.take_run(1, 10, 0.0)
    assert dealer.ack(1, [3, 5]) == [3]
    assert dealer.acks.ranges == [(3, 8)]
    assert (dealer.acks.floor, dealer.in_flight, dealer.unsettled) == (1, 2, 2)


def test_a_cumulative_ack_in_a_gap_settles_what_stands_before() -> None:
    """Up to a position that is no event's."""
    dealer = unordered([2, 5, 9], [10, 11])
    for _ in range(2):
        assert dealer.take_run(1, 10, 0.0)
    dealer.ack_up_to(1, 7)
    assert (dealer.acks.floor, dealer.in_flight) == (8, 3)
    dealer.ack_up_to(1, 9)
    assert (dealer.acks.floor, dealer.in_flight) == (9, 2)
    # exactly at the first event of a run
    dealer.ack_up_to(1, 10)
    assert (dealer.acks.floor, dealer.in_flight) == (10, 1)


def test_a_run_that_is_extended_as_a_whole_outlives_its_first_deadline() -> None:
    """Once; a part of a run is extended alone."""
    dealer = unordered([1, 2, 3], policy=Policy(ack_deadline=10.0, order_by_subject=False))
    assert dealer.take_run(1, 10, 0.0)
    assert dealer.extend(1, [1, 2, 3], 6.0) == []
    assert (dealer.expire(12.0), dealer.in_flight) == (0, 3)
    assert dealer.extend(1, [2], 14.0) == []
    assert (dealer.expire(16.0), dealer.in_flight) == (2, 1)
    assert (dealer.expire(24.0), dealer.in_flight) == (1, 0)


def test_what_is_carried_keeps_the_events_around_it_out_of_runs() -> None:
    """Its attempts are known, so it is looked at by itself."""
    dealer = Dealer(Policy(order_by_subject=False), AckState(0))
    dealer.carry([Retry(2, "a", 4, 0.0, "failed")])
    assert not dealer.offer_run(slice_of([1, 2, 3]))
    dealer.scanned(3, [(1, "a"), (2, "a"), (3, "a")])
    assert [(entry.position, entry.attempts) for entry in dealer.take(1, 9, 0.0)] == [(1, 1), (2, 5), (3, 1)]


def test_a_run_is_cut_to_the_credit_in_bytes() -> None:
    """One event is given out however little room there is, or nothing would ever go on."""
    dealer = unordered([1, 2, 3, 4, 5])
    assert [len(run) for run in iter(lambda: dealer.take_run(1, 10, 0.0, 2 * len(EVENT)), None)] == [2, 2, 1]
    small = unordered([1, 2])
    assert [len(run) for run in iter(lambda: small.take_run(1, 10, 0.0, 1), None)] == [1, 1]


@pytest.mark.parametrize("cumulative", [False, True])
def test_the_floor_passes_the_gap_in_which_a_run_was_cut(cumulative: bool) -> None:
    """Positions of no event between two parts of a run belong to neither of them."""
    dealer = unordered([1, 5, 9])
    assert [list(run.positions) for run in iter(lambda: dealer.take_run(1, 1, 0.0), None)] == [[1], [5], [9]]
    if cumulative:
        dealer.ack_up_to(1, 9)
    else:
        assert dealer.ack(1, [9, 1, 5]) == []
    assert (dealer.acks.floor, dealer.acks.ranges) == (9, [])


@pytest.mark.parametrize("leased", [False, True])
def test_redriving_what_is_dealt_out_again_after_a_seek_gives_it_out_once(leased: bool) -> None:
    """It stands in a run already: it is taken out of there, and its answer also settles what the disk keeps of it."""
    dealer = unordered([1, 2, 3])
    if leased:
        assert dealer.take_run(1, 10, 0.0)
    dealer.carry([Retry(2, "a", 0, 0.0, "")])
    assert dealer.unsettled == 3
    if not leased:
        assert dealt(dealer) == [1, 2, 3]
    assert dealer.ack(1, [1, 2, 3]) == []
    assert dealer.flush().forgotten == {2}
    assert (dealer.acks.floor, dealer.unsettled, dealer.in_flight) == (3, 0, 0)
    assert dealt(dealer) == []


@pytest.mark.parametrize("position", [2, 3])
def test_a_cumulative_ack_does_not_settle_a_redelivery(position: int) -> None:
    """It may still be on its way to who says this, also when it is the newest that its member got; by name it is settled."""
    dealer = unordered([1, 2, 3])
    assert dealer.take_run(1, 10, 0.0)
    assert dealer.nack(1, position, 0.0, retry_after=0.0, park=False, error="")
    assert dealt(dealer) == [position]
    dealer.ack_up_to(1, 3)
    assert (dealer.in_flight, dealer.acks.floor) == (1, position - 1)
    assert dealer.ack(1, [position]) == []
    assert (dealer.in_flight, dealer.acks.floor) == (0, 3)


def test_a_cumulative_ack_does_not_settle_what_waited_for_its_subject() -> None:
    """It comes behind a higher one; what comes in order after it is settled again."""
    dealer = Dealer(Policy(), AckState(0))
    dealer.scanned(4, [(1, "a"), (2, "a"), (3, "b"), (4, "a")])
    assert dealt(dealer) == [1, 3]
    dealer.ack(1, [1])
    assert dealt(dealer) == [2]
    dealer.ack_up_to(1, 3)
    assert (dealer.in_flight, dealer.acks.floor) == (1, 1)
    dealer.ack(1, [2])
    assert dealt(dealer) == [4]
    dealer.ack_up_to(1, 4)
    assert (dealer.in_flight, dealer.acks.floor) == (0, 4)


def test_a_redelivery_to_a_member_that_got_nothing_higher_is_in_order() -> None:
    """To another member, or to one that came anew."""
    dealer = unordered([1, 2])
    assert dealer.take_run(1, 10, 0.0)
    dealer.release(1, 0.0, counted=True)
    assert dealt(dealer, token=2) == [1, 2]
    dealer.ack_up_to(2, 2)
    assert (dealer.in_flight, dealer.acks.floor) == (0, 2)


def test_what_was_taken_and_not_sent_is_no_measure_of_order() -> None:
    """One of two was erased before it went out: what comes between them later is in order for the member."""
    dealer = Dealer(Policy(), AckState(0))
    dealer.scanned(3, [(1, "a"), (2, "a"), (3, "b")])
    first, gone = dealer.take(1, 10, 0.0)
    dealer.ack_up_to(1, 3)
    assert dealer.in_flight == 2, "nothing was sent yet"
    dealer.ack(1, [gone.position])
    dealer.sent(1, [first])
    dealer.ack(1, [1])
    assert dealt(dealer) == [2]
    dealer.ack_up_to(1, 2)
    assert dealer.acks.floor == 3


def test_a_run_is_late_as_a_whole_or_not_at_all() -> None:
    """A member that got an event from the middle of a run's range gets the run in two: the second part is in order."""
    dealer = unordered([1, 5, 9])
    dealer.carry([Retry(4, "a", 0, 0.0, "")])
    assert dealt(dealer) == [4]
    assert [list(run.positions) for run in iter(lambda: dealer.take_run(1, 10, 0.0), None)] == [[1], [5, 9]]
    dealer.ack_up_to(1, 9)
    assert dealer.in_flight == 1
    assert dealer.ack(1, [1]) == []
    assert (dealer.in_flight, dealer.acks.floor) == (0, 9)


@pytest.mark.parametrize("ordered", [False, True])
def test_deadlines_of_what_is_settled_do_not_stay(ordered: bool) -> None:
    """Behind one event that is held for hours, any number come and go; its own deadline still counts."""
    dealer = Dealer(Policy(ack_deadline=36_000.0, order_by_subject=ordered), AckState(0))
    for position in range(1, 5001):
        if not dealer.offer_run(slice_of([position])):
            dealer.scanned(position, [(position, str(position))])
        taken = dealt(dealer) or dealer.take_run(1, 10, 0.0)
        assert taken
        if position > 1:
            assert dealer.ack(1, [position]) == []
    assert len(dealer._deadlines) + len(dealer._run_deadlines) < 1100
    assert dealer.next_due() == 36_000.0
    dealer.expire(36_000.0)
    assert dealer.in_flight == 0
