"""What a running mesh shows of itself: the traffic by service, and the log lines of all its processes."""

import json
import uuid
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import grpc
import httpx
import pytest
from tooloo.learning.v1 import learning_service_pb2 as learning
from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceStub

from tests.support.mesh import Mesh, eventually

TRAFFIC, LOGS = "/api/v1/system/traffic", "/api/v1/system/logs"


def of(answer: dict[str, Any], service: str) -> dict[str, Any]:
    """The traffic of one service."""
    found: dict[str, Any] = next(each for each in answer["services"] if each["service"] == service)
    return found


async def messages(client: httpx.AsyncClient, path: str, params: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """The messages of a stream over SSE."""
    async with client.stream("GET", path, params=params, headers={"accept": "text/event-stream"}, timeout=120) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data:"):
                yield json.loads(line.removeprefix("data:"))


async def test_calls_are_counted_by_service_and_outcome(mesh: Mesh) -> None:
    """REST and native gRPC alike; what was refused for the caller's fault is no failure."""
    async with mesh.rest() as client, mesh.channel() as door:
        watched = messages(client, f"{TRAFFIC}/watch", {"interval": "0.5s", "window": "300s"})
        for _ in range(4):
            before = of((await anext(watched))["traffic"], "learning")
            await _nine_calls(client, door)
            if message := await _counts_of_nine(watched, before):
                break
        else:
            raise AssertionError("nine calls, two of them refused, are not counted")
        now = of(message["traffic"], "learning")
        assert int(now["failed"]) <= int(before["failed"])
        assert now["callsPerSecond"] > 0
        assert 0 < float(now["p50"].removesuffix("s")) <= float(now["p99"].removesuffix("s"))
        # this very stream is one of the calls in flight
        assert int(of(message["traffic"], "system")["active"]) >= 1
        asked = (await client.get(TRAFFIC, params={"window": "300s"})).raise_for_status().json()
        assert int(of(asked, "learning")["calls"]) >= 9


async def _counts_of_nine(watched: AsyncIterator[dict[str, Any]], before: dict[str, Any]) -> dict[str, Any] | None:
    """The message that counts nine calls more; None when calls of five minutes ago may have left the window meanwhile."""
    for _ in range(50):
        message = await anext(watched)
        now = of(message["traffic"], "learning")
        more = {name: int(now[name]) - int(before[name]) for name in ("calls", "refused")}
        # lengths are gathered from Envoy's threads, and may be a sample behind the counts
        if more["calls"] >= 9 and more["refused"] >= 2 and "p50" in now:
            return message
    return None


async def _nine_calls(client: httpx.AsyncClient, door: grpc.aio.Channel) -> None:
    """Seven that are answered and two that are refused."""
    for _ in range(7):
        (await client.get("/api/v1/training/overview", params={"userId": "nobody-else"})).raise_for_status()
    assert (await client.get("/api/v1/training/overview")).status_code == 400
    with pytest.raises(grpc.aio.AioRpcError):
        await LearningServiceStub(door).GetTrainingOverview(learning.GetTrainingOverviewRequest())


async def test_a_call_that_was_refused_is_found_in_the_logs(mesh: Mesh) -> None:
    """By its trace, as a warning of the access log; a page goes on where the one before ended."""
    trace = uuid.uuid4().hex
    async with mesh.rest() as client:
        for _ in range(3):
            await client.get("/api/v1/training/overview", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
        wanted: dict[str, Any] = {"contains": trace, "min_level": "LOG_LEVEL_WARNING", "service": "learning", "page_size": 2}

        async def pages() -> list[dict[str, Any]]:
            found, params = [], dict(wanted)
            while True:
                page = (await client.get(LOGS, params=params)).raise_for_status().json()
                assert len(page["records"]) <= 2
                found += page["records"]
                if not page["nextPageToken"]:
                    return found
                params["page_token"] = page["nextPageToken"]

        # Envoy writes its access log once a second
        found = await eventually(pages, lambda records: len(records) == 3)
    assert {(each["process"], each["level"], each["fields"]["trace_id"]) for each in found} == {
        ("access", "LOG_LEVEL_WARNING", trace)
    }
    times = [datetime.fromisoformat(each["time"]) for each in found]
    assert times == sorted(times, reverse=True)


async def test_lines_of_all_processes_are_followed_as_they_are_written(mesh: Mesh) -> None:
    """Old ones first when asked for, then what a call brings; a made-up page token is refused."""
    trace = uuid.uuid4().hex
    async with mesh.rest() as client:
        followed = messages(client, f"{LOGS}/follow", {"tail": 3})
        assert len((await anext(followed))["records"]) == 3
        await client.get("/api/v1/training/overview", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
        async for message in followed:
            if any(record["fields"].get("trace_id") == trace for record in message["records"]):
                break
        assert (await client.get(LOGS, params={"page_token": "bm9uZQ"})).status_code == 400
