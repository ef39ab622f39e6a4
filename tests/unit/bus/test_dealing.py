"""The dealer step by step: waits, gaps, runs, credit in bytes, redrives, and acknowledgements up to a position."""

from collections.abc import Iterable

import pytest

from bus.dealing import Dealer
from bus.deliveries import Policy, Retry
from bus.ranges import AckState
from tests.support.dealing import EVENT, slice_of


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


def test_a_retry_that_is_due_is_nothing_to_wait_for() -> None:
    """It waits for a member: whoever sleeps until something happens by itself must not be woken by it again and again."""
    dealer = Dealer(Policy(ack_deadline=30.0, backoff=(5.0,)), AckState(0))
    dealer.scanned(1, [(1, "a")])
    assert dealt(dealer) == [1]
    dealer.nack(1, 1, 0.0, retry_after=None, park=False, error="")
    assert dealer.next_due() == 5.0
    dealer.expire(5.0)
    assert dealer.next_due() is None, "its lease has ended, and so has the lease's deadline"
    assert dealt(dealer, 5.0) == [1]


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


def test_a_cumulative_ack_counts_the_last_event_of_a_run_of_which_others_were_acknowledged_by_name() -> None:
    """The member is told how many of its acknowledgements are on disk: all of them."""
    dealer = unordered([1, 2, 3])
    assert dealer.take_run(1, 10, 0.0)
    assert dealer.ack(1, [3]) == []
    dealer.ack_up_to(1, 2)
    assert dealer.in_flight == 0
    assert dealer.flush().acked == {1: 3}


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
    assert len(dealer._entries._deadlines) + len(dealer._runs._deadlines) < 1100
    assert dealer.next_due() == 36_000.0
    dealer.expire(36_000.0)
    assert dealer.in_flight == 0
