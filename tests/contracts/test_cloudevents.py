"""Every event is a CloudEvent 1.0 and comes back from its JSON as it was."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import contracts
from mesh.cloudevents import NotACloudEventError, from_cloudevent, to_cloudevent
from mesh.contracts import EventType
from tests.contracts.samples import event_of

# names of the specification, and of the extensions that carry our own fields
RESERVED = {
    *("specversion", "id", "type", "source", "subject", "time", "datacontenttype", "dataschema", "data"),
    *("correlationid", "causationid", "traceparent", "position"),
}
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


@given(
    st.dictionaries(
        st.sampled_from(sorted(RESERVED)) | st.from_regex(r"\A[a-z][a-z0-9]{0,19}\Z"), st.text(max_size=256), max_size=16
    )
)
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


@pytest.mark.parametrize("change", [{"specversion": "0.3"}, {"type": "no.such"}, {"type": None}])
def test_what_is_no_event_of_ours_is_refused(change: dict[str, str]) -> None:
    """With the reason in words."""
    cloudevent = to_cloudevent(event_of(CATALOGUE["service.started"]))
    with pytest.raises(NotACloudEventError):
        from_cloudevent(cloudevent | change)


def test_data_of_an_unknown_type_is_refused() -> None:
    """It could not be written as JSON."""
    event = event_of(CATALOGUE["service.started"])
    event.data.type_url = "type.googleapis.com/tooloo.system.v1.Nothing"
    with pytest.raises(NotACloudEventError):
        to_cloudevent(event)
