"""Events as messages and back, and messages as the batches that readers get."""

import pytest

from bus.intake import Intake
from bus.jetstream.connection import Incoming
from bus.jetstream.messages import Item, batches_of, item_of, items_of, key_of, message_id, message_of
from bus.jetstream.types import Types
from mesh import contracts
from tests.integration.bus_bench import event

TYPES = Types([(entry.type, entry.owner) for entry in contracts.catalogue().values()])


def test_an_event_comes_back_from_its_message() -> None:
    """Key, type, subject and bytes; the payload is the event itself."""
    sent = [event(1, subject="a.b c"), event(2, kind="stopped", user="x" * 200)]
    append = Intake(TYPES.rows, 10_000).events(sent)
    items = items_of(append, TYPES)
    assert b"".join(item.encoded for item in items) == append.events
    for number, (item, one) in enumerate(zip(items, sent, strict=True), 1):
        message = message_of(item, TYPES, "p")
        assert message.payload == one.SerializeToString()
        stored = Incoming(message.subject, number, message.payload, 0, message.headers)
        assert item_of(stored, TYPES, "p") == item


@pytest.mark.parametrize(
    ("subject", "headers"),
    [("p.service.started.a", {}), ("p.no.such.a", {"Nats-Msg-Id": "x"}), ("p.service.started.a", {"Nats-Msg-Id": "x" * 40})],
)
def test_a_message_that_no_bus_wrote_is_no_event(subject: str, headers: dict[str, str]) -> None:
    """Without an id of ours, or of a type that nobody knows."""
    assert item_of(Incoming(subject, 1, b"", 0, headers), TYPES, "p") is None


def test_ids_are_readable_and_come_back() -> None:
    """Uuid, then source."""
    key = bytes(range(16)) + b"learning"
    assert message_id(key) == "00010203-0405-0607-0809-0a0b0c0d0e0f.learning"
    assert key_of(message_id(key)) == key


def test_gaps_and_sizes_begin_another_batch() -> None:
    """A batch holds neighbours alone, and no more than its bytes unless one event is larger."""
    item = Item(b"", 1, "s", b"\x0a\x02xx")
    batches = list(batches_of([(1, item), (2, item), (5, item), (6, item), (7, item)], 9, 8))
    assert [(batch.position, batch.last, batch.time_us) for batch in batches] == [(1, 2, 9), (5, 6, 9), (7, 7, 9)]
    assert batches[0].events == b"\x0a\x02xx" * 2
    assert list(batches[1].type_ids()) == [1, 1]
