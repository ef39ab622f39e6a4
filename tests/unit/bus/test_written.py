"""Events written once for all streams that want them: the same bytes as written anew, and no more than there is room for."""

import pytest
from tooloo.bus.v1.bus_service_pb2 import PublishRequest
from tooloo.event.v1.event_pb2 import Event

from bus import sse
from bus.slices import Slice
from tests.support.events import sample


def slice_of(*numbers: int) -> Slice:
    """The events of these numbers, which stand in a row."""
    raw = PublishRequest(events=[sample(number) for number in numbers]).SerializeToString()
    return Slice(range(numbers[0], numbers[0] + len(numbers)), raw)


@pytest.mark.parametrize("room", [0, 1500, 1_000_000])
def test_what_is_held_is_what_would_be_written(room: int) -> None:
    """Whatever was asked for before, in whatever cuts, and however little room there is."""
    written = sse.Written(room)
    for _ in range(2):
        for piece in (slice_of(1), slice_of(2, 3), slice_of(2), slice_of(3), slice_of(1)):
            assert written.of(piece) == b"".join(map(sse.event, piece.decode()))


def test_an_event_is_written_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty followers of the same event cost one writing; one that was let go is written again."""
    seen: list[int] = []
    write = sse.event

    def noted(message: Event) -> bytes:
        seen.append(message.position)
        return write(message)

    monkeypatch.setattr(sse, "event", noted)
    written = sse.Written(1500)
    for _ in range(20):
        written.of(slice_of(1))
    assert seen == [1]
    for number in (2, 3, 4, 1):
        written.of(slice_of(number))
    assert seen == [1, 2, 3, 4, 1]
