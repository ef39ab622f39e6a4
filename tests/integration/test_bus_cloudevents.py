"""CloudEvents over HTTP, through a real Envoy: structured and batch mode in, pages out, and named refusals."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event

from mesh.cloudevents import BATCH, JSON, STRUCTURED, from_cloudevent, to_cloudevent
from mesh.ids import new_id
from tests.integration.bus_asking import read_all, refused
from tests.integration.bus_bench import event, number_of
from tests.integration.bus_door import BusDoor, bus_door

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/api/v1/cloudevents"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BusDoor]:
    """One bus behind one Envoy for all tests of this file; each writes under a subject of its own."""
    async with bus_door(tmp_path_factory.mktemp("cloudevents")) as running:
        yield running


@pytest.fixture
def subject() -> str:
    """A subject that no other test writes to."""
    return f"tests/{new_id()}"


async def post(door: BusDoor, body: object, content_type: str) -> tuple[int, dict[str, Any]]:
    """Status and answer of a publish."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await door.rest.post(PATH, content=content, headers={"content-type": content_type})
    return answer.status_code, answer.json()


async def stored(door: BusDoor, subject: str) -> list[Event]:
    """What the log holds of a subject."""
    return await read_all(door.bus, filter={"subject_prefix": subject})


@pytest.mark.parametrize("content_type", [STRUCTURED, f"{STRUCTURED}; charset=utf-8", "Application/CloudEvents+JSON", JSON])
async def test_one_event_in_structured_mode_is_stored(door: BusDoor, subject: str, content_type: str) -> None:
    """Every field arrives, and the answer is that of Publish; the same id again gets its first position."""
    sent = event(7, subject=subject, user="ada")
    status, answer = await post(door, to_cloudevent(sent), content_type)
    (found,) = await stored(door, subject)
    assert (status, answer["positions"], answer["durability"]) == (200, [str(found.position)], "DURABILITY_FSYNC")
    assert await post(door, to_cloudevent(sent), content_type) == (200, answer | {"duplicates": 1})
    found.position = 0
    assert found == sent


@pytest.mark.parametrize("content_type", [BATCH, JSON])
async def test_a_batch_is_stored_whole_in_order(door: BusDoor, subject: str, content_type: str) -> None:
    """Contiguous positions."""
    status, answer = await post(door, [to_cloudevent(event(n, subject=subject)) for n in range(5)], content_type)
    assert status == 200
    assert [number_of(found) for found in await stored(door, subject)] == [0, 1, 2, 3, 4]
    first = int(answer["positions"][0])
    assert answer["positions"] == [str(first + n) for n in range(5)]


def cloud(subject: str = "tests/refused", **change: object) -> dict[str, Any]:
    """A good event with some attributes changed."""
    return to_cloudevent(event(1, subject=subject)) | change


@pytest.mark.parametrize(
    ("body", "content_type", "reason", "field"),
    [
        (cloud(), "text/plain", "INVALID_FIELD", "Content-Type"),
        (cloud(), "", "INVALID_FIELD", "Content-Type"),
        (cloud(), f"{STRUCTURED}; charset=latin-1", "INVALID_FIELD", "Content-Type"),
        (b"{", STRUCTURED, "MALFORMED_BODY", "body"),
        (b"", STRUCTURED, "MALFORMED_BODY", "body"),
        (b"\xff\xfe", STRUCTURED, "MALFORMED_BODY", "body"),
        (b"[" * 100_000, BATCH, "MALFORMED_BODY", "body"),
        ([cloud()], STRUCTURED, "MALFORMED_BODY", "body"),
        (cloud(), BATCH, "MALFORMED_BODY", "body"),
        ("text", JSON, "MALFORMED_BODY", "body"),
        ([cloud()] * 1001, BATCH, "INVALID_FIELD", "events"),
        ([1], BATCH, "INVALID_FIELD", "events[0]"),
        (cloud(specversion="0.3"), STRUCTURED, "INVALID_FIELD", "events[0].specversion"),
        ([cloud(), cloud(type="no.such")], BATCH, "UNKNOWN_EVENT_TYPE", "events[1].type"),
        ([cloud(), cloud(data={"no": 1})], BATCH, "EVENT_DATA_MISMATCH", "events[1].data"),
        (cloud(dataschema="https://type.googleapis.com/no.Such"), STRUCTURED, "EVENT_DATA_MISMATCH", "events[0].dataschema"),
        (cloud(time="soon"), STRUCTURED, "INVALID_FIELD", "events[0].time"),
        (cloud(time=None), STRUCTURED, "INVALID_FIELD", "events[0].time"),
        (cloud(id="42"), STRUCTURED, "INVALID_FIELD", "events[0].id"),
        (cloud(source="learning"), STRUCTURED, "UNKNOWN_EVENT_TYPE", "events[0].source"),
        (cloud(subject=""), STRUCTURED, "INVALID_FIELD", "events[0].subject"),
    ],
)
async def test_what_publish_would_refuse_is_refused_by_name(
    door: BusDoor, body: object, content_type: str, reason: str, field: str
) -> None:
    """With status 400, the reason, and the field at fault; nothing of the request is stored."""
    status, answer = await post(door, body, content_type)
    assert (status, answer["code"], answer["details"][0]["reason"]) == (400, 3, reason)
    assert field in [violation["field"] for violation in answer["details"][1]["fieldViolations"]]
    assert await stored(door, "tests/refused") == []


async def test_an_empty_batch_is_taken_and_publishes_nothing(door: BusDoor) -> None:
    """As the JSON format has it: a batch may hold no event, e.g. a page of ours that reached the head, given back."""
    status, answer = await post(door, [], BATCH)
    assert (status, answer["positions"], answer["durability"]) == (200, [], "DURABILITY_FSYNC")


async def test_an_attribute_that_cloudevents_cannot_carry_is_refused_at_every_door(door: BusDoor) -> None:
    """Else one event could keep a whole page of CloudEvents from being read."""
    publish = door.bus.stub.Publish(pb.PublishRequest(events=[event(1, position="x")]))
    assert (await refused(publish))[1:] == ("INVALID_FIELD", ["events[0].attributes['position']"])


async def test_pages_go_to_the_head_by_the_position_of_the_last_one(door: BusDoor, subject: str) -> None:
    """Filters in the query; an empty list means that the head was reached."""
    sent = [event(n, subject=f"{subject}/{n}", kind=("started", "stopped")[n % 2]) for n in range(7)]
    await door.bus.publish(*sent)
    found: list[Event] = []
    position = "0"
    while True:
        query = {"subjectPrefix": subject, "types": "service.started", "afterPosition": position, "pageSize": "2"}
        answer = await door.rest.get(PATH, params=query)
        assert (answer.status_code, answer.headers["content-type"]) == (200, BATCH)
        if not answer.json():
            break
        position = answer.json()[-1]["position"]
        found += [from_cloudevent(one) for one in answer.json()]
    assert [number_of(one) for one in found] == [0, 2, 4, 6]


async def test_a_start_beyond_the_log_is_out_of_range(door: BusDoor) -> None:
    """As in ReadEvents."""
    answer = await door.rest.get(PATH, params={"afterPosition": 10_000_000})
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (400, "OUT_OF_RANGE")


async def test_the_official_sdk_publishes_and_reads(door: BusDoor, subject: str) -> None:
    """Its structured mode in, and each event of our batch back out."""
    sent = event(9, subject=subject, user="ada")
    made = JSONFormat().read(None, json.dumps(to_cloudevent(sent)))
    assert isinstance(made, CloudEvent)
    message = http.to_structured_event(made)
    answer = await door.rest.post(PATH, content=message.body, headers=dict(message.headers))
    assert answer.status_code == 200
    page = (await door.rest.get(PATH, params={"subjectPrefix": subject})).json()
    (read,) = [JSONFormat().read(None, json.dumps(one)) for one in page]
    assert (read.get_id(), read.get_time(), read.get_data()) == (made.get_id(), made.get_time(), made.get_data())
    assert read.get_extension("user") == "ada"
