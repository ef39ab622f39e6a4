"""The ack state against the plainest model: a set of positions."""

from hypothesis import given
from hypothesis import strategies as st

from bus.ranges import AckState

RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=30)


def model_of(ranges: list[tuple[int, int]]) -> set[int]:
    """Every settled position."""
    return {position for first, last in ranges for position in range(first, last + 1)}


@given(RANGES)
def test_floor_and_ranges_hold_exactly_what_was_settled(ranges: list[tuple[int, int]]) -> None:
    """Whatever is settled in whatever order, membership, floor and what is above it are those of the set."""
    state = AckState(0, ranges)
    model = model_of(ranges)
    assert {position for position in range(1, 80) if position in state} == model
    floor = next(position for position in range(80) if position + 1 not in model)
    assert state.floor == floor
    assert state.above_floor == len([position for position in model if position > floor])


@given(RANGES)
def test_ranges_are_apart_and_ascending(ranges: list[tuple[int, int]]) -> None:
    """The ranges never touch each other or the floor: memory grows with the holes alone."""
    state = AckState(0, ranges)
    ends = state.floor
    for first, last in state.ranges:
        assert ends + 1 < first <= last
        ends = last


@given(RANGES)
def test_encoding_comes_back(ranges: list[tuple[int, int]]) -> None:
    """What is written to the disk is read back as the same state."""
    state = AckState(0, ranges)
    again = AckState.decode(state.floor, state.encode())
    assert (again.floor, again.ranges) == (state.floor, state.ranges)


def test_empty_and_settled_ranges_change_nothing() -> None:
    """Settling nothing, or what is settled, is allowed and does nothing."""
    state = AckState(5)
    state.settle(7, 6)
    state.settle(1, 5)
    assert (state.floor, state.ranges) == (5, [])
