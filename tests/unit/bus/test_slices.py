"""Events cut out of their records, against lists of events."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tooloo.bus.v1.bus_service_pb2 import PublishRequest
from tooloo.event.v1.event_pb2 import Event

from bus import slices as slices_
from bus.batches import GONE, Batch
from bus.removal import without
from bus.slices import Slice, cut, packed, together

EVENTS = st.lists(st.text(max_size=60).map(lambda text: Event(id="x", subject=text)), min_size=1, max_size=10)


def batch_of(events: list[Event], gone: set[int], first: int = 5) -> Batch:
    """A record of events of types 1 and 2 in turn, some of them gone."""
    types = array("H", [1 + index % 2 for index in range(len(events))])
    whole = Batch(first, first + len(events) - 1, 0, types.tobytes(), PublishRequest(events=events).SerializeToString())
    return without(whole, gone) if gone else whole


def read(piece: Slice | None) -> list[tuple[int, str]]:
    """Positions and subjects."""
    return [(event.position, event.subject) for event in piece.decode()] if piece else []


@st.composite
def slices(draw: st.DrawFn) -> tuple[Slice, list[tuple[int, str]]]:
    """A slice with or without gaps, and what it holds."""
    events = draw(EVENTS)
    gone = draw(st.sets(st.integers(0, len(events) - 1), max_size=len(events) - 1))
    piece = cut(batch_of(events, gone), 0, None)
    assert piece
    return piece, [(5 + index, event.subject) for index, event in enumerate(events) if index not in gone]


@given(EVENTS, st.data(), st.integers(0, 20), st.sampled_from((None, b"\x00\x01\x00", b"\x00\x00\x00", b"\x00\x01\x01")))
def test_cutting_a_record(events: list[Event], data: st.DataObject, after: int, wanted: bytes | None) -> None:
    """What stands beyond a position, is wanted and is not gone, wherever the gone ones stand; None when nothing does."""
    gone = data.draw(st.sets(st.integers(0, len(events) - 1)))
    batch = batch_of(events, gone)
    expected = [
        (5 + index, event.subject)
        for index, event in enumerate(events)
        if 5 + index > after and index not in gone and (wanted is None or wanted[1 + index % 2])
    ]
    piece = cut(batch, after, wanted)
    assert read(piece) == expected
    assert (piece is None) is (not expected)
    if piece:
        contiguous = expected[-1][0] - expected[0][0] + 1 == len(expected)
        assert isinstance(piece.positions, range) is contiguous


@given(slices(), st.data())
def test_splitting_and_choosing(given_: tuple[Slice, list[tuple[int, str]]], data: st.DataObject) -> None:
    """Both halves together are the whole; chosen ones are those of the indexes."""
    piece, expected = given_
    count = data.draw(st.integers(1, len(expected)))
    head, rest = piece.split(count)
    assert (read(head), read(rest) if rest.positions else []) == (expected[:count], expected[count:])
    indexes = sorted(data.draw(st.sets(st.integers(0, len(expected) - 1))))
    assert read(piece.chosen(indexes)) == [expected[index] for index in indexes]


@given(slices(), st.integers(1, 200), st.integers(1, 12))
def test_parts_are_small_and_whole(given_: tuple[Slice, list[tuple[int, str]]], max_bytes: int, max_events: int) -> None:
    """Together they are the slice; each keeps the limits unless one event alone does not."""
    piece, expected = given_
    parts = list(piece.parts(max_bytes, max_events))
    assert [each for part in parts for each in read(part)] == expected
    for part in parts:
        assert 0 < len(part.positions) <= max_events
        assert len(part.events) <= max_bytes or len(part.positions) == 1


@given(st.lists(slices(), max_size=4), st.integers(1, 400), st.integers(1, 12))
def test_messages_are_filled_up_to_their_limits(
    given_: list[tuple[Slice, list[tuple[int, str]]]], max_bytes: int, max_events: int
) -> None:
    """Nothing is lost or moved, no message is empty, and none is larger than allowed unless one event alone is."""
    groups = list(packed([piece for piece, _ in given_], max_bytes, max_events))
    assert [each for group in groups for part in group for each in read(part)] == [each for _, held in given_ for each in held]
    for group in groups:
        count, size = sum(len(part.positions) for part in group), sum(len(part.events) for part in group)
        assert 0 < count <= max_events
        assert size <= max_bytes or count == 1


@given(EVENTS, st.data())
def test_taking_events_out_of_a_record(events: list[Event], data: st.DataObject) -> None:
    """The others stay where they are, with their types; what is gone leaves nothing but its place."""
    gone = data.draw(st.sets(st.integers(0, len(events) - 1), min_size=1))
    batch = batch_of(events, gone)
    assert (batch.position, batch.last, batch.count) == (5, 4 + len(events), len(events))
    assert [index for index, kind in enumerate(batch.type_ids()) if kind == GONE] == sorted(gone)
    assert list(batch.decode()) == [Event() if index in gone else event for index, event in enumerate(events)]
    assert [position for position, _ in batch.after(0)] == [5 + index for index in range(len(events)) if index not in gone]
    assert without(batch, gone) == batch


@given(st.lists(EVENTS, max_size=8), st.data(), st.sampled_from((1, 100, 100_000)), st.sampled_from((1, 7, 500)))
def test_small_neighbours_are_put_together(records: list[list[Event]], data: st.DataObject, most: int, events: int) -> None:
    """The same events at the same positions; none is larger than allowed that was not so before, and a gap is seen as one."""
    pieces: list[Slice] = []
    first = 5
    for record in records:
        gone = data.draw(st.sets(st.integers(0, len(record) - 1)))
        pieces += [piece] if (piece := cut(batch_of(record, gone, first), 0, None)) else []
        first += len(record)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices_, "_SMALL_BYTES", most)
        patch.setattr(slices_, "_SMALL_EVENTS", events)
        found = list(together(pieces))
    assert [each for piece in found for each in read(piece)] == [each for piece in pieces for each in read(piece)]
    for piece in found:
        assert piece in pieces or (len(piece.events) <= most and len(piece.positions) <= events)
        contiguous = piece.positions[-1] - piece.positions[0] + 1 == len(piece.positions)
        assert isinstance(piece.positions, range) is contiguous
