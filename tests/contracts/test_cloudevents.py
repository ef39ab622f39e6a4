"""Every event is a CloudEvent 1.0 and comes back from its JSON as it was."""

import base64
import json
import re
from contextlib import suppress

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st
from tooloo.event.v1.event_pb2 import Event

from mesh import contracts
from mesh.cloudevents import RESERVED, NotACloudEventError, from_cloudevent, to_cloudevent
from mesh.contracts import EventType
from mesh.errors import reason_name
from tests.contracts.samples import event_of

CATALOGUE = contracts.catalogue()


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.type)
def test_an_event_survives_the_way_through_json(entry: EventType) -> None:
    """Envelope, extensions and data."""
    event = event_of(entry)
    assert from_cloudevent(json.loads(json.dumps(to_cloudevent(event)))) == event


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.type)
def test_attributes_follow_the_specification(entry: EventType) -> None:
    """Required ones are there, and every name is lower-case letters and digits."""
    cloudevent = to_cloudevent(event_of(entry))
    assert {"specversion", "id", "source", "type"} <= set(cloudevent)
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in cloudevent)
    assert all(isinstance(value, str) for name, value in cloudevent.items() if name != "data")


NAMES = st.sampled_from(sorted(RESERVED - {"data_base64"})) | st.from_regex(r"\A[a-z][a-z0-9]{0,19}\Z")


@given(st.dictionaries(NAMES, st.text(max_size=256), max_size=16))
def test_any_allowed_attribute_is_kept_or_refused(attributes: dict[str, str]) -> None:
    """Only names of CloudEvents itself are refused, and nothing gets lost."""
    event = event_of(CATALOGUE["service.started"])
    event.attributes.clear()
    event.attributes.update(attributes)
    if RESERVED & set(attributes):
        with pytest.raises(NotACloudEventError):
            to_cloudevent(event)
    else:
        assert from_cloudevent(to_cloudevent(event)) == event


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"specversion": "0.3"}, "specversion", "INVALID_FIELD"),
        ({"type": "no.such"}, "type", "UNKNOWN_EVENT_TYPE"),
        ({"type": None}, "type", "UNKNOWN_EVENT_TYPE"),
        ({"id": {}}, "id", "INVALID_FIELD"),
        ({"subject": "\ud800"}, "subject", "INVALID_FIELD"),
        ({"time": "yesterday"}, "time", "INVALID_FIELD"),
        ({"time": 5}, "time", "INVALID_FIELD"),
        ({"position": "first"}, "position", "INVALID_FIELD"),
        ({"position": 2**63}, "position", "INVALID_FIELD"),
        ({"user": ["ada"]}, "user", "INVALID_FIELD"),
        ({"user": 0.5}, "user", "INVALID_FIELD"),
        ({"dataschema": "https://type.googleapis.com/tooloo.system.v1.ServiceStopped"}, "dataschema", "EVENT_DATA_MISMATCH"),
        ({"datacontenttype": "text/xml"}, "datacontenttype", "EVENT_DATA_MISMATCH"),
        ({"datacontenttype": "application/protobuf"}, "datacontenttype", "EVENT_DATA_MISMATCH"),
        ({"data": {"noSuchField": 1}}, "data", "EVENT_DATA_MISMATCH"),
        ({"data": {"pid": "many"}}, "data", "EVENT_DATA_MISMATCH"),
        ({"data": [1]}, "data", "EVENT_DATA_MISMATCH"),
        ({"data": None}, "data", "EVENT_DATA_MISMATCH"),
        ({"data_base64": ""}, "data", "EVENT_DATA_MISMATCH"),
        ({"data": None, "data_base64": "!"}, "data_base64", "EVENT_DATA_MISMATCH"),
        ({"data": None, "data_base64": "e30"}, "data_base64", "EVENT_DATA_MISMATCH"),
        (
            {"data": None, "data_base64": "/w==", "datacontenttype": "application/protobuf"},
            *("data_base64", "EVENT_DATA_MISMATCH"),
        ),
    ],
)
def test_what_is_no_event_of_ours_is_refused(change: dict[str, object], field: str, reason: str) -> None:
    """With the attribute at fault and the reason in words."""
    cloudevent = to_cloudevent(event_of(CATALOGUE["service.started"]))
    with pytest.raises(NotACloudEventError) as refused:
        from_cloudevent(cloudevent | change)
    assert (refused.value.field, reason_name(refused.value.reason)) == (field, reason)
    assert str(refused.value).startswith(f"{field}: ")


@pytest.mark.parametrize("given", [None, [], "text", 1, {}])
def test_what_is_no_object_is_refused(given: object) -> None:
    """A list of events is not an event."""
    with pytest.raises(NotACloudEventError):
        from_cloudevent(given)


def test_data_may_come_as_bytes() -> None:
    """The message's own, as application/protobuf, or its JSON in base64."""
    event = event_of(CATALOGUE["service.started"])
    written = to_cloudevent(event)
    as_json = base64.b64encode(json.dumps(written.pop("data")).encode()).decode()
    as_bytes = base64.b64encode(event.data.value).decode()
    assert from_cloudevent(written | {"data_base64": as_json}) == event
    assert from_cloudevent(written | {"data_base64": as_bytes, "datacontenttype": "application/protobuf"}) == event


def test_data_that_the_contracts_do_not_know_is_written_as_bytes() -> None:
    """An old event may outlive its message, and must not keep others from being read."""
    event = event_of(CATALOGUE["service.started"])
    event.data.type_url = "type.googleapis.com/tooloo.system.v1.Gone"
    written = to_cloudevent(event)
    assert "data" not in written
    assert written["datacontenttype"] == "application/protobuf"
    assert base64.b64decode(written["data_base64"]) == event.data.value


def test_attributes_take_every_simple_kind_and_null_is_none() -> None:
    """In CloudEvents' own spelling."""
    written = to_cloudevent(event_of(CATALOGUE["service.started"]))
    found = from_cloudevent(written | {"user": None, "count": 7, "urgent": True, "note": "x", "causationid": None})
    assert dict(found.attributes) == {"count": "7", "urgent": "true", "note": "x"}
    assert found.causation_id == ""


@pytest.mark.parametrize("schema", ["https://type.googleapis.com/", "type.googleapis.com/", ""])
def test_the_schema_may_be_written_with_and_without_its_prefix(schema: str) -> None:
    """As a URI, as the type URL that it is in protobuf, or as the bare name; absent is fine too."""
    event = event_of(CATALOGUE["service.started"])
    written = to_cloudevent(event)
    assert from_cloudevent(written | {"dataschema": f"{schema}tooloo.system.v1.ServiceStarted"}) == event
    assert from_cloudevent(written | {"dataschema": None}) == event


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(RESERVED)) | st.text(max_size=8), JSON_VALUES, max_size=6))
def test_any_json_becomes_an_event_or_is_refused(change: dict[str, object]) -> None:
    """Nothing else comes out, whatever stands in the attributes."""
    with suppress(NotACloudEventError):
        assert isinstance(from_cloudevent(to_cloudevent(event_of(CATALOGUE["service.started"])) | change), Event)


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda entry: entry.type)
def test_the_official_sdk_reads_what_we_write_and_we_read_what_it_writes(entry: EventType) -> None:
    """Every attribute and the data, through the CloudEvents project's own JSON format."""
    event = event_of(entry)
    written = to_cloudevent(event)
    read = JSONFormat().read(None, json.dumps(written))
    assert (read.get_id(), read.get_type(), read.get_source(), read.get_subject()) == (event.id, *_names(event))
    assert read.get_dataschema() == written["dataschema"]
    assert (read.get_extension("correlationid"), read.get_extension("user")) == (event.correlation_id, "ada")
    assert read.get_data() == written["data"]
    # its times have microseconds
    event.time.nanos -= event.time.nanos % 1000
    assert from_cloudevent(json.loads(JSONFormat().write(read))) == event


def test_the_official_sdk_gives_bytes_that_we_read() -> None:
    """Its binary data is `data_base64`."""
    event = event_of(CATALOGUE["service.started"])
    attributes = {name: value for name, value in to_cloudevent(event).items() if name not in {"data", "time", "datacontenttype"}}
    made = CloudEvent({**attributes, "datacontenttype": "application/protobuf"}, event.data.value)
    found = from_cloudevent(json.loads(JSONFormat().write(made)))
    assert found.data == event.data


def _names(event: Event) -> tuple[str, str, str]:
    return event.type, event.source, event.subject
