"""The log through its server: publish, uniqueness, versions, reading, following, and what is refused."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf import timestamp_pb2
from google.rpc import error_details_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2
from tooloo.event.v1.event_pb2 import Event

from bus.log import Log
from mesh.ids import new_id
from mesh.reconnect import refusal_of
from tests.integration.bus_asking import next_with_events, read_all, refused
from tests.integration.bus_bench import PATIENCE, event, number_of, running_bus


async def test_publish_gives_growing_positions_and_reads_back_the_same_bytes(tmp_path: Path) -> None:
    """What was published is read back unchanged, with its position, in order."""
    async with running_bus(tmp_path) as bus:
        sent = [event(number, subject=f"s/{number}", user="ada") for number in range(5)]
        assert await bus.publish(*sent[:3]) == [1, 2, 3]
        assert await bus.publish(*sent[3:]) == [4, 5]
        found = await read_all(bus, page_size=2)
        assert [one.position for one in found] == [1, 2, 3, 4, 5]
        for one in found:
            one.position = 0
        assert found == sent


async def test_restart_keeps_events_and_their_uniqueness(tmp_path: Path) -> None:
    """After a hard stop the log is whole, and an id that was stored before is still known."""
    async with running_bus(tmp_path) as bus:
        first, second = event(1), event(2)
        await bus.publish(first, second)
        await bus.bench.restart()
        answer = await bus.stub.Publish(pb.PublishRequest(events=[second, event(3), first]))
        assert (list(answer.positions), answer.duplicates) == ([2, 3, 1], 2)
        assert [number_of(one) for one in await read_all(bus)] == [1, 2, 3]


async def test_an_id_twice_in_one_publish_is_stored_once(tmp_path: Path) -> None:
    """Uniqueness holds within a request, too; another spelling of the same uuid is the same id."""
    async with running_bus(tmp_path) as bus:
        same = new_id()
        assert await bus.publish(event(1, event_id=same), event(2), event(3, event_id=same.upper())) == [1, 2, 1]
        assert len(await read_all(bus)) == 2


async def test_concurrent_publishes_make_one_total_order(tmp_path: Path) -> None:
    """Many publishers at once get every position exactly once, and a batch stays together."""
    async with running_bus(tmp_path) as bus:
        answers = await asyncio.gather(*(bus.publish(event(10 * n), event(10 * n + 1)) for n in range(40)))
        assert sorted(position for answer in answers for position in answer) == list(range(1, 81))
        assert all(second == first + 1 for first, second in answers)


async def test_expected_version_guards_a_subject(tmp_path: Path) -> None:
    """A publish that knows an older version is ABORTED with what stands and stores nothing; a repeat gets its first answer."""
    async with running_bus(tmp_path) as bus:
        opening = event(1, subject="runs/1")
        request = pb.PublishRequest(events=[opening], expected_versions={"runs/1": 0})
        assert list((await bus.stub.Publish(request)).positions) == [1]
        assert list((await bus.stub.Publish(request)).positions) == [1]
        stale = pb.PublishRequest(events=[event(2, subject="runs/1")], expected_versions={"runs/1": 0})
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bus.stub.Publish(stale)
        refusal = refusal_of(caught.value)
        assert refusal.code is grpc.StatusCode.ABORTED
        info = refusal.details[0]
        assert isinstance(info, error_details_pb2.ErrorInfo)
        assert info.metadata["runs/1"] == "1"
        stale.expected_versions["runs/1"] = 1
        assert list((await bus.stub.Publish(stale)).positions) == [2]


def wrong_events() -> list[tuple[str, Event, str]]:
    """(what is wrong, the event, the field that must be named)."""
    unknown, stolen, mismatched, garbage, timeless, huge = (event(number) for number in range(6))
    unknown.type = "no.such.type"
    stolen.source = "learning"
    mismatched.data.CopyFrom(event(kind="stopped").data)
    garbage.data.value = b"\xff\xff\xff"
    timeless.time.seconds = -62_135_596_801
    huge.data.value = huge.data.value + b"\x0a\xff\xff\x0f" + b"x" * 262_143
    no_subject, bad_id, control, no_data = (event(number) for number in range(4))
    no_subject.subject = ""
    bad_id.id = "42"
    control.subject = "a\x00b"
    no_data.ClearField("data")
    return [
        ("unknown type", unknown, "events[1].type"),
        ("source does not own it", stolen, "events[1].source"),
        ("data of another type", mismatched, "events[1].data"),
        ("data does not decode", garbage, "events[1].data"),
        ("time JSON cannot write", timeless, "events[1].time"),
        ("too large", huge, "events[1]"),
        ("no subject", no_subject, "events[1].subject"),
        ("no uuid", bad_id, "events[1].id"),
        ("control character", control, "events[1].subject"),
        ("no data", no_data, "events[1].data"),
    ]


@pytest.mark.parametrize(("wrong", "field"), [(e, f) for _, e, f in wrong_events()], ids=[w for w, _, _ in wrong_events()])
async def test_publish_refuses_by_field_and_stores_nothing(tmp_path: Path, wrong: Event, field: str) -> None:
    """One bad event refuses the whole publish and names the field by its index."""
    async with running_bus(tmp_path) as bus:
        code, _, fields = await refused(bus.stub.Publish(pb.PublishRequest(events=[event(0), wrong])))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert field in fields
        assert await read_all(bus) == []


async def test_publish_stream_acknowledges_in_sequence(tmp_path: Path) -> None:
    """Each answer covers every request up to its number; a number out of order is refused."""
    async with running_bus(tmp_path) as bus:
        call = bus.stub.PublishStream()
        for sequence in (1, 2):
            await call.write(pb.PublishStreamRequest(sequence=sequence, events=[event(sequence), event(sequence)]))
            answer = await call.read()
            assert isinstance(answer, pb.PublishStreamResponse)
            assert (answer.sequence, answer.last_position) == (sequence, 2 * sequence)
        await call.write(pb.PublishStreamRequest(sequence=4, events=[event(4)]))
        code, _, fields = await refused(call.read())
        assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["sequence"])


async def test_filters_give_exactly_what_they_name(tmp_path: Path) -> None:
    """Types with a star, sources, subject prefix and attributes each restrict; together they all must match."""
    async with running_bus(tmp_path) as bus:
        await bus.publish(event(1, subject="a/1", user="ada"), event(2, subject="b/1"), event(3, subject="a/2", kind="stopped"))
        cases: list[tuple[dict[str, object], list[int]]] = [
            ({"types": ["service.*"]}, [1, 2, 3]),
            ({"types": ["service.stopped"]}, [3]),
            ({"types": ["budget.*"]}, []),
            ({"sources": ["learning"]}, []),
            ({"subject_prefix": "a/"}, [1, 3]),
            ({"attributes": {"user": "ada"}}, [1]),
            ({"types": ["service.started"], "subject_prefix": "a/"}, [1]),
        ]
        for parts, expected in cases:
            wanted = subscription_pb2.EventFilter(**parts)  # type: ignore[arg-type]  # the cases name its fields
            assert [number_of(one) for one in await read_all(bus, filter=wanted)] == expected, parts


async def test_read_by_time_starts_at_the_first_event_stored_then(tmp_path: Path) -> None:
    """from_time finds its place by the time of storing; the future finds nothing."""
    async with running_bus(tmp_path) as bus:
        await bus.publish(event(1))
        between = timestamp_pb2.Timestamp()
        between.FromDatetime(datetime.now(UTC))
        await bus.publish(event(2))
        future = timestamp_pb2.Timestamp()
        future.FromDatetime(datetime.now(UTC) + timedelta(days=1))
        assert [number_of(one) for one in await read_all(bus, from_time=between)] == [2]
        assert await read_all(bus, from_time=future) == []


async def test_reads_outside_the_log_are_out_of_range(tmp_path: Path) -> None:
    """Past the end is OUT_OF_RANGE for every way to read; another query's page token is INVALID_ARGUMENT."""
    async with running_bus(tmp_path) as bus:
        await bus.publish(event(1), event(2))
        for call in (
            bus.stub.ReadEvents(pb.ReadEventsRequest(after_position=3)),
            bus.stub.Follow(pb.FollowRequest(start=subscription_pb2.StartAt(after_position=3))).read(),
            bus.stub.FollowSse(pb.FollowSseRequest(after_position=3)).read(),
        ):
            code, reason, _ = await refused(call)
            assert (code, reason) == (grpc.StatusCode.OUT_OF_RANGE, "OUT_OF_RANGE")
        token = (await bus.stub.ReadEvents(pb.ReadEventsRequest(page_size=1))).next_page_token
        wrong = pb.ReadEventsRequest(page_token=token, filter=subscription_pb2.EventFilter(types=["service.*"]))
        code, reason, fields = await refused(bus.stub.ReadEvents(wrong))
        assert (code, reason, fields) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", ["page_token"])


async def test_retention_deletes_what_is_settled_and_names_the_range_that_stands(tmp_path: Path) -> None:
    """Old batches go, a start before them is OUT_OF_RANGE with the range; what a subscription has not settled stays."""
    settings = {"TOOLOO_BUS_RETENTION_BYTES": "1", "TOOLOO_BUS_UPKEEP_INTERVAL": "20ms"}
    async with running_bus(tmp_path, settings) as bus:
        await bus.subscribe("holder")
        await bus.publish(event(1))
        await bus.publish(event(2))
        await bus.publish(event(3))
        stats = await bus.stub.GetBusStats(pb.GetBusStatsRequest())
        assert (stats.first_position, stats.head_position) == (1, 3)
        await bus.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name="holder"))
        async with asyncio.timeout(PATIENCE):
            while True:
                if (await bus.stub.GetBusStats(pb.GetBusStatsRequest())).first_position not in (1, 2):
                    break
                await asyncio.sleep(0.01)
        code, reason, _ = await refused(bus.stub.ReadEvents(pb.ReadEventsRequest(after_position=1)))
        assert (code, reason) == (grpc.StatusCode.OUT_OF_RANGE, "OUT_OF_RANGE")
        assert await bus.publish(event(4)) == [4]
        await bus.bench.restart()
        assert await bus.publish(event(5)) == [5]


async def test_catalogue_and_stats_tell_what_is_so(tmp_path: Path) -> None:
    """The catalogue lists types with their owners; the figures count what happened."""
    async with running_bus(tmp_path) as bus:
        types = {entry.type: entry for entry in (await bus.stub.ListEventTypes(pb.ListEventTypesRequest())).event_types}
        assert types["service.started"].owner == "system"
        assert types["service.started"].description
        again = event(1)
        await bus.publish(again)
        await bus.publish(again)
        await bus.subscribe("watcher")
        stats = await bus.stub.GetBusStats(pb.GetBusStatsRequest())
        assert (stats.first_position, stats.head_position, stats.published_events, stats.duplicates) == (1, 1, 1, 1)
        assert [one.name for one in stats.subscriptions] == ["watcher"]
        assert stats.size_bytes > 0
        assert stats.durability == pb.PublishResponse.DURABILITY_FSYNC


async def test_unknown_fields_of_a_publish_never_reach_a_reader(tmp_path: Path) -> None:
    """Fields that the contract does not know cannot slip from a publish into the headers of a delivery."""
    async with running_bus(tmp_path) as bus:
        # a PullResponse with only a header, read as a request: its fields are unknown there
        smuggled = pb.PublishRequest.FromString(pb.FollowResponse(head_position=77, progress_position=77).SerializeToString())
        smuggled.events.append(event(1))
        await bus.stub.Publish(smuggled)
        call = bus.stub.Follow(pb.FollowRequest(start=subscription_pb2.StartAt(beginning=True)))
        assert (await next_with_events(call)).progress_position == 1
        call.cancel()


async def test_backup_is_a_whole_log(tmp_path: Path) -> None:
    """An online backup opens as a log of its own with every event."""
    log = await Log.open(tmp_path / "log.db")
    await log.publish([event(number) for number in range(10)])
    await log.backup(tmp_path / "copy.db")
    await log.close()
    copy = await Log.open(tmp_path / "copy.db")
    assert copy.head == 10
    assert [number_of(one) for one in (await copy.events(range(1, 11))).values()] == list(range(10))
    await copy.close()
