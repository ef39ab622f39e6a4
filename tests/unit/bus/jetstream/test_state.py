"""What the bucket keeps: states and dead letters, written and read back, many changes in several batches."""

import json

from hypothesis import given
from hypothesis import strategies as st

from bus.deliveries import Dead
from bus.jetstream import retries
from bus.jetstream.bucket import Change, batches_of
from bus.jetstream.letter import Letter
from bus.jetstream.retries import Waiting
from bus.jetstream.state import State
from bus.ranges import AckState
from tests.integration.bus_bench import event

WAITING = st.builds(Waiting, st.text(max_size=20), st.integers(0, 1000), st.integers(0, 2**60), st.text(max_size=50), st.booleans())


@given(st.binary(max_size=50), st.booleans(), st.integers(0, 100))
def test_a_state_comes_back(definition: bytes, paused: bool, floor: int) -> None:
    """Every field, whatever it holds."""
    ranges = AckState(floor, [(floor + 5, floor + 9), (floor + 20, floor + 20)]).encode()
    state = State(definition, paused, floor, ranges, 7, 3)
    assert State.decode(state.encode(11)) == state


@given(st.dictionaries(st.integers(1, 2000), WAITING, max_size=20), st.dictionaries(st.integers(1, 2000), WAITING, max_size=20))
def test_the_values_that_changed_lead_from_one_set_of_retries_to_another(
    before: dict[int, Waiting], after: dict[int, Waiting]
) -> None:
    """Nothing else is written, and what holds nothing is deleted."""
    kept = dict(retries.changed({}, before))
    changes = dict(retries.changed(before, after))
    assert changes == {} or before != after
    found: dict[int, Waiting] = {}
    for value in {**kept, **changes}.values():
        found |= retries.decode(value) if value is not None else {}
    assert found == after


def test_the_longest_retries_fit_into_a_message() -> None:
    """Neighbours share a value; even the longest subjects and errors stay below NATS's 1 MiB."""
    longest = Waiting("\N{PILE OF POO}" * 512, 1000, 2**60, "\N{PILE OF POO}" * 512, kept=True)
    ((_, value), *others) = retries.changed({}, dict.fromkeys(range(128, 256), longest))
    assert not others
    assert value is not None
    assert len(value) < 1024 * 1024


def test_two_writes_of_one_state_differ() -> None:
    """The revision that it follows is in it, so that a lost answer can be told from another's write."""
    state = State(b"", False, 0, b"", 0, 1)
    assert state.encode(1) != state.encode(2)


def test_a_letter_comes_back_and_can_be_read() -> None:
    """Its subject is the event's own."""
    letter = Letter.of(Dead(4, "", "parked", 2, "no"), event(1, subject="a"), 9)
    assert Letter.decode(letter.encode()) == letter
    assert json.loads(letter.encode())["subject"] == "a"
    assert letter.stored().event == event(1, subject="a", event_id=event_id(letter)).SerializeToString()


def event_id(letter: Letter) -> str:
    """The id of the event in a letter."""
    made = event()
    made.ParseFromString(letter.event)
    return made.id


def test_many_changes_are_several_batches() -> None:
    """By their number and by their bytes, in their order; a batch has room for one more, and no change is too large."""
    assert batches_of([]) == [[]]
    few = [Change(f"k{number}", b"x") for number in range(2500)]
    assert [len(batch) for batch in batches_of(few)] == [999, 999, 502]
    large = [Change(f"k{number}", bytes(3 * 1024 * 1024)) for number in range(5)]
    assert [len(batch) for batch in batches_of([Change("first", bytes(9 * 1024 * 1024)), *large])] == [1, 2, 2, 1]
    assert [change for batch in batches_of(few) for change in batch] == few
