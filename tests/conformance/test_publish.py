"""Publish, on every way: positions, uniqueness, versions, all or none, refusals by field, the publish stream."""

import asyncio
from typing import Any

import grpc
import pytest
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event

from mesh.ids import new_id
from tests.conformance.asking import next_answer, read_all, refused
from tests.integration.bus_bench import PATIENCE, BusBench, event, number_of


async def test_positions_grow_by_one_from_one(bus: BusBench) -> None:
    """Each event gets the next place in one order, over requests."""
    assert await bus.publish(event(1), event(2)) == [1, 2]
    assert await bus.publish(event(3)) == [3]


async def test_the_answer_says_how_durable_it_is(bus: BusBench) -> None:
    """Publish and stats tell the same level, and it is one of those on disk."""
    answer = await bus.stub.Publish(pb.PublishRequest(events=[event(1)]))
    stats = await bus.stub.GetBusStats(pb.GetBusStatsRequest())
    assert answer.durability == stats.durability
    assert answer.durability in (pb.PublishResponse.DURABILITY_FSYNC, pb.PublishResponse.DURABILITY_QUORUM_FSYNC)


async def test_concurrent_publishes_make_one_order_and_stay_together(bus: BusBench) -> None:
    """Many publishers at once get every position exactly once, and a batch is never torn apart."""
    answers = await asyncio.gather(*(bus.publish(event(2 * n), event(2 * n + 1)) for n in range(30)))
    assert sorted(position for answer in answers for position in answer) == list(range(1, 61))
    assert all(second == first + 1 for first, second in answers)
    assert [number_of(one) % 2 for one in await read_all(bus)] == [0, 1] * 30


async def test_an_id_twice_in_one_request_is_stored_once(bus: BusBench) -> None:
    """The second one answers with the first one's position; another spelling of a uuid is the same id."""
    same = new_id()
    answer = await bus.stub.Publish(pb.PublishRequest(events=[event(1, event_id=same), event(2), event(3, event_id=same.upper())]))
    assert (list(answer.positions), answer.duplicates) == ([1, 2, 1], 1)
    assert [number_of(one) for one in await read_all(bus)] == [1, 2]


async def test_an_id_again_answers_with_its_first_position(bus: BusBench) -> None:
    """A repeat stores nothing, alone or among new ones."""
    first = event(1)
    await bus.publish(first)
    answer = await bus.stub.Publish(pb.PublishRequest(events=[event(2), first]))
    assert (list(answer.positions), answer.duplicates) == ([2, 1], 1)
    assert await bus.publish(first) == [1]
    assert len(await read_all(bus)) == 2


async def test_ids_are_known_after_a_restart(bus: BusBench) -> None:
    """What was stored before a restart is refused as a repeat after it, and positions go on."""
    first, second = event(1), event(2)
    await bus.publish(first, second)
    await bus.bench.restart()
    answer = await bus.stub.Publish(pb.PublishRequest(events=[second, event(3), first]))
    assert (list(answer.positions), answer.duplicates) == ([2, 3, 1], 2)


async def test_an_expected_version_that_differs_stores_nothing(bus: BusBench) -> None:
    """ABORTED tells what stands of each subject that differs."""
    await bus.publish(event(1, subject="runs/1"))
    stale = pb.PublishRequest(events=[event(2, subject="runs/1")], expected_versions={"runs/1": 0, "runs/2": 0})
    told = await refused(bus.stub.Publish(stale))
    assert (told.code, told.reason, told.metadata) == ("ABORTED", "VERSION_CONFLICT", {"runs/1": "1"})
    assert len(await read_all(bus)) == 1


async def test_an_expected_version_that_stands_lets_the_publish_through(bus: BusBench) -> None:
    """Zero means that there is none yet; a version counts over types and restarts."""
    opening = pb.PublishRequest(events=[event(1, subject="a.b/*> %")], expected_versions={"a.b/*> %": 0})
    assert list((await bus.stub.Publish(opening)).positions) == [1]
    await bus.bench.restart()
    following = pb.PublishRequest(events=[event(2, subject="a.b/*> %", kind="stopped")], expected_versions={"a.b/*> %": 1})
    assert list((await bus.stub.Publish(following)).positions) == [2]


async def test_a_repeat_of_a_versioned_publish_gets_its_first_answer(bus: BusBench) -> None:
    """The version is looked at only when something is new: a retry after a lost answer must not fail."""
    request = pb.PublishRequest(events=[event(1, subject="runs/1")], expected_versions={"runs/1": 0})
    assert list((await bus.stub.Publish(request)).positions) == [1]
    assert list((await bus.stub.Publish(request)).positions) == [1]


def wrong_events() -> list[tuple[str, Event, str]]:
    """(what is wrong, the event, the field that must be named)."""
    unknown, stolen, mismatched, garbage, huge = (event(number) for number in range(5))
    unknown.type = "no.such.type"
    stolen.source = "learning"
    mismatched.data.CopyFrom(event(kind="stopped").data)
    garbage.data.value = b"\xff\xff\xff"
    huge.data.value = huge.data.value + b"\x0a\xff\xff\x0f" + b"x" * 262_143
    no_subject, bad_id, no_data = (event(number) for number in range(3))
    no_subject.subject = ""
    bad_id.id = "42"
    no_data.ClearField("data")
    return [
        ("unknown type", unknown, "events[1].type"),
        ("source does not own it", stolen, "events[1].source"),
        ("data of another type", mismatched, "events[1].data"),
        ("data does not decode", garbage, "events[1].data"),
        ("too large", huge, "events[1]"),
        ("no subject", no_subject, "events[1].subject"),
        ("no uuid", bad_id, "events[1].id"),
        ("no data", no_data, "events[1].data"),
    ]


@pytest.mark.parametrize(("wrong", "field"), [(e, f) for _, e, f in wrong_events()], ids=[w for w, _, _ in wrong_events()])
async def test_one_bad_event_refuses_all_by_field(bus: BusBench, wrong: Event, field: str) -> None:
    """INVALID_ARGUMENT names the field by its index, and nothing of the request is stored."""
    told = await refused(bus.stub.Publish(pb.PublishRequest(events=[event(0), wrong])))
    assert told.code == "INVALID_ARGUMENT"
    assert field in told.fields
    assert await read_all(bus) == []


async def test_an_empty_publish_is_refused(bus: BusBench) -> None:
    """There is nothing to acknowledge."""
    told = await refused(bus.stub.Publish(pb.PublishRequest()))
    assert (told.code, told.fields) == ("INVALID_ARGUMENT", ["events"])


async def test_the_publish_stream_acknowledges_in_sequence(bus: BusBench) -> None:
    """Acknowledgements are cumulative, and count repeats."""
    call = bus.stub.PublishStream()
    again = event(1)
    for sequence in (1, 2, 3):
        await call.write(pb.PublishStreamRequest(sequence=sequence, events=[again, event(sequence)]))
    answer = await next_answer(call, lambda each: each.sequence == 3)
    assert (answer.last_position, answer.duplicates) == (4, 2)
    await call.done_writing()


async def test_a_number_out_of_order_ends_the_publish_stream(bus: BusBench) -> None:
    """What was acknowledged before stays."""
    call = bus.stub.PublishStream()
    await call.write(pb.PublishStreamRequest(sequence=1, events=[event(1)]))
    await next_answer(call, lambda each: each.sequence == 1)
    await call.write(pb.PublishStreamRequest(sequence=3, events=[event(3)]))
    told = await refused(call.read())
    assert (told.code, told.fields) == ("INVALID_ARGUMENT", ["sequence"])
    assert len(await read_all(bus)) == 1


@pytest.mark.parametrize("answered", [0, 2])
async def test_a_drain_ends_an_idle_stream_and_says_why(bus: BusBench, answered: int) -> None:
    """UNAVAILABLE, at once; what was answered stays."""
    call: Any = bus.stub.PublishStream()
    for sequence in range(1, answered + 1):
        await call.write(pb.PublishStreamRequest(events=[event(sequence)], sequence=sequence))
        await next_answer(call, lambda each, sequence=sequence: each.sequence == sequence)  # type: ignore[misc]  # bound here
    # whatever stands behind it on the connection is answered, so the stream is known
    await bus.stub.ListEventTypes(pb.ListEventTypesRequest())
    await bus.bench.drain()
    async with asyncio.timeout(PATIENCE):
        assert (await refused(call.read())).code == "UNAVAILABLE"
    assert len(await read_all(bus)) == answered


async def test_of_those_that_expect_the_same_version_one_wins(bus: BusBench) -> None:
    """All others are told ABORTED, and only the one event stands."""

    async def publish(number: int) -> str:
        request = pb.PublishRequest(events=[event(number, subject="a")], expected_versions={"a": 0})
        try:
            await bus.stub.Publish(request)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return "OK"

    told = await asyncio.gather(*map(publish, range(8)))
    assert sorted(told) == ["ABORTED"] * 7 + ["OK"]
    assert len(await read_all(bus)) == 1


async def test_an_id_that_many_publish_at_once_is_stored_once(bus: BusBench) -> None:
    """Each is told the one position, beside what is its own."""
    shared = event(0)
    told = await asyncio.gather(*(bus.publish(shared, event(number)) for number in range(1, 9)))
    assert len({positions[0] for positions in told}) == 1
    assert len({positions[1] for positions in told}) == 8
    assert len(await read_all(bus)) == 9


async def test_the_largest_publish_is_all_or_none(bus: BusBench) -> None:
    """A thousand events side by side, or nothing of them; also after a restart."""
    thousand = [event(number) for number in range(1, 1001)]
    other = pb.PublishRequest(events=thousand, expected_versions={"services/bus": 9})
    assert (await refused(bus.stub.Publish(other))).code == "ABORTED"
    assert await read_all(bus) == []
    assert await bus.publish(*thousand) == list(range(1, 1001))
    await bus.bench.restart()
    assert [one.id for one in await read_all(bus, page_size=1000)] == [one.id for one in thousand]


async def test_a_refusal_of_long_texts_fits_into_the_headers_of_its_answer(bus: BusBench) -> None:
    """The code is the bus's own, and every field at fault is named."""
    wrong = [event(number) for number in range(3)]
    for one in wrong:
        one.data.type_url = "x/" + "\N{PILE OF POO}" * 3000
    told = await refused(bus.stub.Publish(pb.PublishRequest(events=wrong)))
    assert (told.code, told.reason) == ("INVALID_ARGUMENT", "EVENT_DATA_MISMATCH")
    assert told.fields == [f"events[{number}].data" for number in range(3)]


async def test_versions_that_differ_are_told_whatever_the_subjects_are(bus: BusBench) -> None:
    """Also those named as a part of the refusal, and the longest; of many as many as its headers have room for."""
    for subject in ("code", "detail", "message", "reason", "\N{PILE OF POO}" * 512):
        other = pb.PublishRequest(events=[event(1, subject=subject)], expected_versions={subject: 5})
        told = await refused(bus.stub.Publish(other))
        assert (told.code, told.reason, told.metadata) == ("ABORTED", "VERSION_CONFLICT", {subject: "0"})
    subjects = [f"{number:0>100}" for number in range(500)]
    events = [event(number, subject=subject) for number, subject in enumerate(subjects)]
    told = await refused(bus.stub.Publish(pb.PublishRequest(events=events, expected_versions=dict.fromkeys(subjects, 5))))
    assert (told.code, told.reason) == ("ABORTED", "VERSION_CONFLICT")
    assert 10 <= len(told.metadata) <= 30
    assert set(told.metadata.values()) == {"0"}
