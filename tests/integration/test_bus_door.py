"""The bus over REST, through a real Envoy: publish, read, and event streams that outlive the bus."""

import asyncio
import json
from pathlib import Path

import pytest
from google.protobuf import json_format

from tests.integration.bus_asking import read_all
from tests.integration.bus_bench import event, number_of
from tests.integration.bus_door import BusDoor, EventSource, bus_door

PUBLISH, READ, FOLLOW = "/api/v1/events/publish", "/api/v1/events", "/api/v1/events/follow"


async def publish(door: BusDoor, *numbers: int, **parts: str) -> None:
    """Publishes by REST."""
    body = {"events": [json_format.MessageToDict(event(number, **parts)) for number in numbers]}
    (await door.rest.post(PUBLISH, json=body)).raise_for_status()


def numbers_of(source: EventSource) -> list[int]:
    """The numbers of the events that a stream brought."""
    return [json.loads(one["data"])["data"]["pid"] for one in source.events]


async def test_what_is_published_by_rest_is_read_by_rest_and_by_grpc(tmp_path: Path) -> None:
    """The same events with their positions, in pages; a filter with CEL in the query."""
    async with bus_door(tmp_path) as door:
        await publish(door, 1, 2, 3)
        page = (await door.rest.get(READ, params={"pageSize": 2})).json()
        rest = (await door.rest.get(READ, params={"pageSize": 2, "pageToken": page["nextPageToken"]})).json()
        assert [one["position"] for one in page["events"] + rest["events"]] == ["1", "2", "3"]
        chosen = (await door.rest.get(READ, params={"filter.cel": "data.pid > 1 && position < 3"})).json()
        assert [one["data"]["pid"] for one in chosen["events"]] == [2]
        assert [number_of(one) for one in await read_all(door.bus)] == [1, 2, 3]


async def test_a_stream_resumes_over_a_restart_of_the_bus(tmp_path: Path) -> None:
    """The client comes back with the last id it saw: no gap and no repeat, whatever was published meanwhile."""
    async with bus_door(tmp_path) as door:
        await publish(door, 1, 2)
        source = EventSource(door.rest, {"fromBeginning": "true"})
        reading = asyncio.create_task(source.read(events=6))
        await source.has(2)
        await door.bus.bench.restart()
        await publish(door, 3, 4)
        await source.has(4)
        await door.bus.bench.restart()
        await publish(door, 5, 6)
        await reading
        assert numbers_of(source) == [1, 2, 3, 4, 5, 6]
        assert [one["id"] for one in source.events] == ["1", "2", "3", "4", "5", "6"]
        assert source.connects == 3


async def test_the_last_event_id_wins_over_the_query(tmp_path: Path) -> None:
    """A browser repeats the URL it was given, and adds where it stands."""
    async with bus_door(tmp_path) as door:
        await publish(door, 1, 2, 3)
        source = EventSource(door.rest, {"fromBeginning": "true"}, last_id="2")
        await source.read(events=1)
        assert numbers_of(source) == [3]


async def test_a_stream_takes_every_filter_in_the_query(tmp_path: Path) -> None:
    """Types, sources, subject and CEL together; the bookmark passes what is left out."""
    async with bus_door(tmp_path) as door:
        await publish(door, 1, 2, 3, 4, subject="a/1")
        await publish(door, 5, subject="b/1")
        query = {
            "fromBeginning": "true",
            "types": ["service.started", "budget.*"],
            "sources": "system",
            "subjectPrefix": "a/",
            "cel": 'data.pid % 2 == 0 && type == "service.started"',
        }
        source = EventSource(door.rest, query)
        await source.read(events=2, comments=2)
        assert numbers_of(source) == [2, 4]
        assert source.last_id == "5"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"cel": "nope"}, "cel"),
        ({"cel": "data"}, ""),
        ({"types": "NO"}, "types[0]"),
        ({"afterPosition": "-1"}, "after_position"),
    ],
)
async def test_a_stream_that_cannot_begin_is_refused_with_a_status(tmp_path: Path, query: dict[str, str], field: str) -> None:
    """Before its first byte; an expression whose kind shows only on an event is let in."""
    async with bus_door(tmp_path) as door:
        async with door.rest.stream("GET", FOLLOW, params=query) as answer:
            if not field:
                assert answer.status_code == 200
                return
            body = json.loads(await answer.aread())
        assert (answer.status_code, body["details"][0]["reason"]) == (400, "INVALID_FIELD")
        assert [violation["field"] for violation in body["details"][1]["fieldViolations"]] == [field]


async def test_a_silent_stream_beats_and_its_bookmark_moves(tmp_path: Path) -> None:
    """Comments with the head come through the door as they are written; they dispatch nothing and save the position."""
    async with bus_door(tmp_path) as door:
        await publish(door, 1, 2)
        source = EventSource(door.rest, {"fromBeginning": "true", "types": "budget.*"})
        await source.read(comments=3)
        assert set(source.comments[1:]) == {": heartbeat head=2"}
        assert (source.events, source.last_id) == ([], "2")
