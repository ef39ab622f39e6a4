"""What the bus lets into the log: data that every reader can decode and write as JSON, Structs among it."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.message import Message
from tooloo.event.v1.event_pb2 import Event
from tooloo.orchestration.v1.orchestration_events_pb2 import IntentClassified
from tooloo.system.v1.system_events_pb2 import ServiceStarted

from bus.check import check_publish, is_sound
from mesh.errors import Refusal
from mesh.ids import new_id

_LARGEST = 256 * 1024


def _event(kind: str, source: str, data: Message) -> Event:
    event = Event(id=new_id(), type=kind, source=source, subject="users/ada")
    event.time.FromDatetime(datetime(2026, 11, 22, tzinfo=UTC))
    event.data.Pack(data)
    return event


def _classified(slots: dict[str, Any]) -> Event:
    data = IntentClassified(intent_id=new_id(), user_id="ada", text="train python", name="start_training")
    data.slots.update(slots)
    return _event("intent.classified", "orchestration", data)


def test_a_struct_in_the_data_is_checked_as_a_struct() -> None:
    """A Struct counts as a Mapping in Python too, but is one message: its numbers, texts, lists and folders are looked at."""
    check_publish([_classified({"count": 3, "focusArea": "python", "deep": {"list": [1, None, "x", True]}})], _LARGEST)


@pytest.mark.parametrize("slots", [{"count": math.inf}, {"deep": {"list": [1, math.nan]}}])
def test_a_number_that_json_cannot_write_is_refused(slots: dict[str, Any]) -> None:
    """One unprintable number would cut the stream of every reader, however deep it stands."""
    with pytest.raises(Refusal, match=r"events\[0\]\.data"):
        check_publish([_classified(slots)], _LARGEST)


def test_a_value_without_a_kind_is_refused() -> None:
    """An empty Value has no form in JSON."""
    assert not is_sound(struct_pb2.Struct(fields={"nothing": struct_pb2.Value()}))


@pytest.mark.parametrize(
    ("kind", "source", "field"),
    [("no.such", "system", "type"), ("training.started", "learning", "data"), ("service.started", "bus", "source")],
)
def test_every_field_at_fault_is_named(kind: str, source: str, field: str) -> None:
    """An unknown type, another owner's type and data of another type are refused by name, in whichever event they stand."""
    sound = _event("service.started", "system", ServiceStarted(service="bus"))
    with pytest.raises(Refusal, match=rf"events\[1\]\.{field}"):
        check_publish([sound, _event(kind, source, ServiceStarted(service="bus"))], _LARGEST)
