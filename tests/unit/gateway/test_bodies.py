"""The bodies that are plain bytes in the contracts: each is described, and rightly."""

import json

import pytest
from openapi_schema_validator import OAS31Validator

from gateway import bodies
from gateway.openapi import HTTP_BODY
from mesh import contracts
from mesh.cloudevents import BATCH, JSON, STRUCTURED, to_cloudevent
from mesh.contracts import EventType
from tests.contracts.samples import event_of

ROUTED = [method for method in contracts.methods().values() if method.http]
TAKING = [method.name for method in ROUTED if method.request.DESCRIPTOR.full_name == HTTP_BODY]
GIVING = [method.name for method in ROUTED if method.response.DESCRIPTOR.full_name == HTTP_BODY]


@pytest.mark.parametrize("name", TAKING)
def test_what_is_sent_is_described(name: str) -> None:
    """Every call that takes bytes has its media types."""
    assert bodies.sent(name)


@pytest.mark.parametrize("name", GIVING)
def test_what_is_answered_is_described(name: str) -> None:
    """Every call that gives bytes has its media types."""
    assert bodies.answered(name)


def test_cloudevents_come_one_by_one_and_in_batches() -> None:
    """In the media types of their specification, and as plain JSON."""
    assert set(bodies.sent("tooloo.bus.v1.EventBus/PublishCloudEvents")) == {STRUCTURED, BATCH, JSON}
    assert set(bodies.answered("tooloo.bus.v1.EventBus/ReadCloudEvents")) == {BATCH}


@pytest.mark.parametrize("entry", contracts.catalogue().values(), ids=lambda entry: entry.type)
def test_every_event_fits_the_schema(entry: EventType) -> None:
    """What is written is what is described, alone and in a batch."""
    components = {"components": {"schemas": {bodies.CLOUD_EVENT_NAME: bodies.CLOUD_EVENT}}}
    written = json.loads(json.dumps(to_cloudevent(event_of(entry))))
    content = bodies.sent("tooloo.bus.v1.EventBus/PublishCloudEvents")
    for media_type, body in ((STRUCTURED, written), (BATCH, [written]), (JSON, written), (JSON, [written])):
        OAS31Validator(content[media_type]["schema"] | components).validate(body)
