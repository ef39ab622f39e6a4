"""The dealer against a plain model: every event is delivered until it is acknowledged or dead, in the order of its subject."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bus.dealing import MAX_DELIVERIES, PARKED, Changes, Dealer, Policy, Retry
from bus.ranges import AckState

SUBJECTS = ("a", "b", "c")
TOKENS = (1, 2, 3)
POLICY = Policy(ack_deadline=10.0, backoff=(1.0, 5.0), max_deliveries=3, max_in_flight=4, order_by_subject=True)


class Disk:
    """What the store would hold: floor, ranges, retries and dead letters."""

    def __init__(self) -> None:
        self.floor = 0
        self.ranges = b""
        self.retries: dict[int, Retry] = {}
        self.dead: dict[int, int] = {}
        self.burials = 0

    def apply(self, acks: AckState, changes: Changes) -> None:
        """One transaction."""
        self.floor, self.ranges = acks.floor, acks.encode()
        for dead in changes.dead.values():
            assert dead.position not in self.dead, "a second dead letter for one event"
            self.dead[dead.position] = dead.attempts
            self.burials += 1
        for position in changes.forgotten:
            self.retries.pop(position, None)
        self.retries.update(changes.retries)


class DealerMachine(RuleBasedStateMachine):
    """Random members, acks, failures, clocks, restarts and redrives."""

    @initialize(ordered=st.booleans())
    def begin(self, ordered: bool) -> None:
        """A new subscription at the beginning of an empty log."""
        self.policy = Policy(**{**vars(POLICY), "order_by_subject": ordered})
        self.disk = Disk()
        self.dealer = Dealer(self.policy, AckState(0))
        self.now = 100.0
        self.log: list[tuple[int, str, bool]] = []
        self.out: dict[int, tuple[int, int]] = {}
        self.acked: set[int] = set()
        self.attempts: dict[int, int] = {}
        self.redriven: set[int] = set()

    def write(self) -> None:
        """The write that follows each change."""
        self.disk.apply(self.dealer.acks, self.dealer.flush())

    @rule(subjects=st.lists(st.tuples(st.sampled_from(SUBJECTS), st.booleans()), min_size=1, max_size=4))
    def publish_and_scan(self, subjects: list[tuple[str, bool]]) -> None:
        """The log grows, some of it wanted; the dealer looks at all of it."""
        for subject, wanted in subjects:
            self.log.append((len(self.log) + 1, subject, wanted))
        self.scan()

    def scan(self) -> None:
        """Looks at the log from the cursor on."""
        fresh = [(position, subject) for position, subject, wanted in self.log if wanted and position > self.dealer.cursor]
        self.dealer.scanned(len(self.log), fresh)

    @rule(token=st.sampled_from(TOKENS), limit=st.integers(1, 5))
    def take(self, token: int, limit: int) -> None:
        """A member takes; what it gets is nobody else's, and the earliest of its subject."""
        positions = []
        for entry in self.dealer.take(token, limit, self.now):
            assert entry.position not in self.out
            assert entry.position not in self.acked
            assert entry.position not in self.disk.dead
            self.expect_earliest(entry.position, entry.subject)
            self.attempts[entry.position] = self.attempts.get(entry.position, 0) + 1
            assert entry.attempts == self.attempts[entry.position]
            self.out[entry.position] = (token, entry.attempts)
            positions.append(entry.position)
        assert positions == sorted(positions)
        assert len(self.out) <= self.policy.max_in_flight

    def expect_earliest(self, position: int, subject: str) -> None:
        """With order by subject, every earlier one of the subject is acknowledged or dead; a redriven one is late by its nature."""
        if self.policy.order_by_subject:
            earlier = {p for p, other, wanted in self.log if wanted and other == subject and p < position}
            assert earlier <= self.acked | set(self.disk.dead) | self.redriven

    @precondition(lambda self: self.out)
    @rule(data=st.data(), late=st.booleans())
    def ack(self, data: st.DataObject, late: bool) -> None:
        """The holder's ack settles; anyone else's is refused."""
        position = data.draw(st.sampled_from(sorted(self.out)))
        token = self.out[position][0]
        refused = self.dealer.ack(token + 10 if late else token, [position])
        assert refused == ([position] if late else [])
        if not late:
            del self.out[position]
            self.acked.add(position)
        self.write()

    @precondition(lambda self: self.out)
    @rule(data=st.data(), park=st.booleans(), retry_after=st.sampled_from((None, 0.0, 3.0)))
    def nack(self, data: st.DataObject, park: bool, retry_after: float | None) -> None:
        """Giving back delays or buries; the count of deliveries decides."""
        position = data.draw(st.sampled_from(sorted(self.out)))
        token, attempts = self.out.pop(position)
        assert self.dealer.nack(token, position, self.now, retry_after=retry_after, park=park, error="no")
        self.expect_buried(position, attempts, PARKED if park else None)
        self.write()

    def expect_buried(self, position: int, attempts: int, reason: str | None) -> None:
        """Checks that an event that is through becomes a dead letter, and only then."""
        dead = self.dealer.changes.dead.get(position)
        reason = reason or (MAX_DELIVERIES if attempts >= self.policy.max_deliveries else None)
        assert (dead.reason if dead else None) == reason
        if dead:
            self.attempts.pop(position)

    @rule(token=st.sampled_from(TOKENS), counted=st.booleans())
    def stream_ends(self, token: int, counted: bool) -> None:
        """A member is gone: what it held is free at once; in good order it costs no attempt."""
        held = {position: attempts for position, (holder, attempts) in self.out.items() if holder == token}
        self.dealer.release(token, self.now, counted=counted)
        for position, attempts in held.items():
            del self.out[position]
            if counted:
                self.expect_buried(position, attempts, None)
            else:
                self.attempts[position] -= 1
        self.write()

    @rule(seconds=st.sampled_from((0.5, 2.0, 11.0)))
    def time_passes(self, seconds: float) -> None:
        """Deadlines pass; what was held is taken back."""
        self.now += seconds
        held = dict(self.out)
        self.dealer.expire(self.now)
        for position, (token, attempts) in held.items():
            if position not in self.dealer.held_up_to(token, len(self.log)):
                del self.out[position]
                self.expect_buried(position, attempts, None)
        self.write()

    @precondition(lambda self: self.out)
    @rule()
    def extend(self) -> None:
        """An extended lease outlives its first deadline."""
        self.now += 6.0
        self.time_passes(0.0)
        for position, (token, _) in self.out.items():
            assert self.dealer.extend(token, [position], self.now) == []
        held = dict(self.out)
        self.now += 6.0
        assert self.dealer.expire(self.now) == 0
        assert self.out == held

    @precondition(lambda self: self.disk.dead)
    @rule(data=st.data())
    def redrive(self, data: st.DataObject) -> None:
        """A dead letter is given out once more, with fresh attempts."""
        position = data.draw(st.sampled_from(sorted(self.disk.dead)))
        del self.disk.dead[position]
        self.redriven.add(position)
        retry = Retry(position, self.log[position - 1][1], 0, 0.0, "")
        self.disk.retries[position] = retry
        self.dealer.carry([retry])

    @rule()
    def restart(self) -> None:
        """The process dies: what is on disk is all there is; deliveries that were out do not count."""
        for position, (_, attempts) in self.out.items():
            self.attempts[position] = attempts - 1
        self.out.clear()
        self.dealer = Dealer(self.policy, AckState.decode(self.disk.floor, self.disk.ranges))
        self.dealer.carry(self.disk.retries.values())
        self.scan()

    @invariant()
    def floor_never_passes_what_is_unsettled(self) -> None:
        """Everything at or below the floor is acknowledged, dead, unwanted or redriven."""
        if not hasattr(self, "dealer"):
            return
        unwanted = {position for position, _, wanted in self.log if not wanted}
        settled = self.acked | set(self.disk.dead) | unwanted | set(self.disk.retries) | set(self.out)
        assert set(range(1, self.dealer.acks.floor + 1)) <= settled

    def teardown(self) -> None:
        """In the end a patient member gets everything that is not acknowledged or dead: nothing is ever lost."""
        if not hasattr(self, "dealer"):
            return
        self.restart()
        wanted = {position for position, _, want in self.log if want}
        for _ in range(len(wanted) * 3 + 5):
            self.now += 6.0
            for entry in self.dealer.take(1, 10, self.now):
                self.dealer.ack(1, [entry.position])
                self.acked.add(entry.position)
        assert wanted == {position for position in self.acked if position in wanted} | set(self.disk.dead)
        assert self.dealer.acks.floor == len(self.log)


DealerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_dealer = DealerMachine.TestCase


def dealt(dealer: Dealer, now: float = 0.0) -> list[int]:
    """Positions that member 1 gets now."""
    return [entry.position for entry in dealer.take(1, 100, now)]


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
