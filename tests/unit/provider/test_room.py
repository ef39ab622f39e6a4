"""Room for large requests: what is held is bounded and given back, small requests need none, and one alone always finds some."""

from contextlib import ExitStack, suppress

import pytest

from mesh.errors import Refusal
from services.provider.flows.room import LARGE, Room

MIB = 1024 * 1024


def test_large_requests_share_the_room() -> None:
    """Two of three fit; the third finds room when one is done, however that ended."""
    room = Room(10 * MIB)
    with ExitStack() as held, room.taken(5 * MIB):
        other = held.enter_context(ExitStack())
        other.enter_context(room.taken(5 * MIB))
        with pytest.raises(Refusal, match="large_requests_bytes") as refused:
            other.enter_context(room.taken(2 * MIB))
        assert refused.value.code.name == "RESOURCE_EXHAUSTED"
        other.enter_context(room.taken(LARGE))
        with suppress(ValueError), other:
            raise ValueError
        held.enter_context(room.taken(5 * MIB))


def test_one_alone_finds_room() -> None:
    """A limit below the largest request does not refuse it for ever."""
    room = Room(MIB)
    for _ in range(2):
        with room.taken(30 * MIB):
            pass
