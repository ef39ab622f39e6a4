"""Bodies of CloudEvents: read as their content type says, refused by name for anything else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tooloo.event.v1.event_pb2 import Event

from bus.cloudevents_service import batch_of, events_of
from mesh import contracts
from mesh.cloudevents import BATCH, JSON, STRUCTURED, to_cloudevent
from mesh.errors import Refusal
from tests.contracts.samples import event_of

EVENTS = [event_of(entry) for entry in contracts.catalogue().values()]
WRITTEN = [to_cloudevent(event) for event in EVENTS]


def test_a_batch_that_is_written_is_read_again() -> None:
    """All types at once, under both content types that may hold a list."""
    assert events_of(BATCH, batch_of(EVENTS)) == EVENTS
    assert events_of(JSON, batch_of(EVENTS)) == EVENTS
    assert events_of(STRUCTURED, json.dumps(WRITTEN[0]).encode()) == EVENTS[:1]


def test_every_event_at_fault_is_named_up_to_a_limit() -> None:
    """Not only the first; a body full of faults does not become an answer full of them."""
    with pytest.raises(Refusal) as refused:
        events_of(BATCH, json.dumps([WRITTEN[0], {}, WRITTEN[1], {"specversion": "1.0"}]).encode())
    assert "events[1].specversion: " in refused.value.message
    assert "events[3].type: " in refused.value.message
    with pytest.raises(Refusal) as refused:
        events_of(BATCH, json.dumps([{}] * 1000).encode())
    assert refused.value.message.count("specversion") == 16


def test_an_event_that_is_none_is_told_of_when_it_is_read() -> None:
    """An attribute with a name that CloudEvents keeps can only have come from an older log."""
    odd = Event()
    odd.CopyFrom(EVENTS[0])
    odd.attributes["id"] = "x"
    with pytest.raises(Refusal, match="CloudEvents keeps this name for itself"):
        batch_of([odd])


@pytest.mark.parametrize(
    ("given_as", "field"),
    [('"\\ud800":"x"', "events[0]"), ('"ext":"\\ud800"', "events[0].ext"), ('"position":1e999', "events[0].position")],
    ids=["name", "value", "position"],
)
def test_half_a_surrogate_pair_and_an_infinite_position_are_refused_by_name(given_as: str, field: str) -> None:
    """JSON can write them, an event cannot hold them."""
    plain = {name: value for name, value in WRITTEN[0].items() if name != "position"}
    body = json.dumps(plain).replace("{", f"{{{given_as},", 1)
    with pytest.raises(Refusal) as refused:
        events_of(STRUCTURED, body.encode())
    assert refused.value.message.startswith(f"{field}: ")


def test_a_time_may_be_written_in_small_letters_and_with_an_offset() -> None:
    """As RFC 3339 has it, to the nanosecond."""
    (event,) = events_of(STRUCTURED, json.dumps({**WRITTEN[0], "time": "2026-01-02t03:04:05.123456789+05:30"}).encode())
    assert event.time.ToJsonString() == "2026-01-01T21:34:05.123456789Z"
    (event,) = events_of(STRUCTURED, json.dumps({**WRITTEN[0], "time": "2026-01-02t03:04:05z"}).encode())
    assert event.time.ToJsonString() == "2026-01-02T03:04:05Z"


@given(
    st.sampled_from([STRUCTURED, BATCH, JSON]) | st.text(max_size=30),
    st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | st.lists(st.sampled_from(WRITTEN) | st.dictionaries(st.text(max_size=5), st.integers()), max_size=3).map(
        lambda body: json.dumps(body).encode()
    ),
)
def test_any_body_is_read_or_refused(content_type: str, body: bytes) -> None:
    """Nothing else comes out, whatever comes in."""
    try:
        found = events_of(content_type, body)
    except Refusal as refusal:
        found = []
        fault = refusal.reason
    else:
        fault = ""
    assert fault in {"", "INVALID_FIELD", "MALFORMED_BODY", "UNKNOWN_EVENT_TYPE", "EVENT_DATA_MISMATCH"}
    assert all(event in EVENTS for event in found)
