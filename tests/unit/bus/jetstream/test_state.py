"""What the bucket keeps: states and dead letters, written and read back."""

import json

from hypothesis import given
from hypothesis import strategies as st

from bus.dealing import Dead
from bus.jetstream.letter import Letter
from bus.jetstream.state import State, Waiting
from bus.ranges import AckState
from tests.integration.bus_bench import event

POSITIONS = st.integers(1, 2**62)
WAITING = st.builds(Waiting, st.text(max_size=20), st.integers(0, 1000), st.integers(0, 2**60), st.text(max_size=50), st.booleans())


@given(st.binary(max_size=50), st.booleans(), st.integers(0, 100), st.dictionaries(POSITIONS, WAITING, max_size=20))
def test_a_state_comes_back(definition: bytes, paused: bool, floor: int, retries: dict[int, Waiting]) -> None:
    """Every field, whatever it holds."""
    ranges = AckState(floor, [(floor + 5, floor + 9), (floor + 20, floor + 20)]).encode()
    state = State(definition, paused, floor, ranges, 7, 3, retries)
    assert State.decode(state.encode(11)) == state


def test_a_long_state_is_compressed() -> None:
    """A message has a limit; twenty thousand retries stay below it."""
    retries = {
        position: Waiting(f"users/{position % 50}", 3, 1_800_000_000_000_000 + position, "boom") for position in range(20_000)
    }
    state = State(b"", False, 0, b"", 0, 1, retries)
    value = state.encode(1)
    assert len(value) < 1024 * 1024
    assert State.decode(value) == state


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
