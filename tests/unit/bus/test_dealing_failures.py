"""Events that a subscription's filter failed on: parked at the scan without a delivery, with the floor that passes them."""

from bus.dealing import Dealer
from bus.deliveries import FILTER_FAILED, Dead, Policy, Retry
from bus.ranges import AckState


def test_a_failed_event_is_parked_and_the_floor_passes_it() -> None:
    """Exactly one dead letter with the error; the others are dealt out."""
    dealer = Dealer(Policy(), AckState(0))
    dealer.scanned(4, [(1, "a"), (2, "a"), (4, "a")], {2: "no_such_field"})
    changes = dealer.flush()
    assert changes
    assert changes.dead == {2: Dead(2, "a", FILTER_FAILED, 0, "no_such_field")}
    first = dealer.take(1, 10, now=0.0)
    assert [entry.position for entry in first] == [1]
    assert dealer.ack(1, [1]) == []
    assert dealer.acks.floor == 3
    assert [entry.position for entry in dealer.take(1, 10, now=0.0)] == [4]
    assert 2 not in dealer.flush().dead


def test_a_subscription_that_discards_keeps_no_letter() -> None:
    """The event is settled all the same, and that is a change to write down."""
    dealer = Dealer(Policy(keep_dead_letters=False), AckState(0))
    dealer.scanned(1, [(1, "a")], {1: "no_such_field"})
    changes = dealer.flush()
    assert (changes.dead, changes.settled, dealer.acks.floor) == ({}, 1, 1)


def test_a_parked_event_does_not_hold_up_its_subject() -> None:
    """Order within the subject goes on with the next one."""
    dealer = Dealer(Policy(order_by_subject=True), AckState(0))
    dealer.scanned(2, [(1, "a"), (2, "a")], {1: "no_such_field"})
    assert [entry.position for entry in dealer.take(1, 10, now=0.0)] == [2]


def test_what_was_redriven_is_delivered_whatever_the_filter_says() -> None:
    """Also when the scan meets it again, as after a seek."""
    dealer = Dealer(Policy(), AckState(0))
    dealer.carry([Retry(1, "a", attempts=0, due=0.0, error="")])
    dealer.scanned(1, [(1, "a")], {1: "no_such_field"})
    assert not dealer.flush().dead
    assert [entry.position for entry in dealer.take(1, 10, now=0.0)] == [1]
