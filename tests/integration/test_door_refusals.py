"""Every refusal over REST has one shape, whoever made it: the service, the transcoder or Envoy; and nothing of gRPC's shows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import grpc
import httpx
import pytest
import pytest_asyncio
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from tooloo.analytics.v1 import analytics_service_pb2 as analytics
from tooloo.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from tooloo.error.v1.error_reason_pb2 import ErrorReason
from tooloo.system.v1 import system_service_pb2 as system
from tooloo.system.v1.system_service_pb2_grpc import SystemServiceStub

from envoy.filters import SECURITY_HEADERS
from mesh import errors
from tests.door_bench import ORIGIN, SETTINGS, Bench, bench, event

pytestmark = pytest.mark.asyncio(loop_scope="module")
Call = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]
PUBLISH = "/api/v1/events/publish"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """One door for all tests of this file."""
    async with bench(tmp_path_factory.mktemp("door")) as running:
        yield running


def posting(body: object) -> Call:
    """Publishes this JSON."""
    return lambda rest: rest.post(PUBLISH, json=body)


def getting(path: str, **headers: str) -> Call:
    """Gets this path."""
    return lambda rest: rest.get(path, headers={name.replace("__", "_"): value for name, value in headers.items()})


REFUSALS: dict[str, tuple[Call, int, int, str]] = {
    "unknown path": (getting("/nothing/here"), 404, 5, "UNKNOWN_CALL"),
    "unknown path below a known one": (getting("/api/v1/events/nothing"), 404, 5, "UNKNOWN_CALL"),
    "wrong method": (lambda rest: rest.put("/health"), 404, 5, "UNKNOWN_CALL"),
    "json to a grpc path": (lambda rest: rest.post("/tooloo.bus.v1.EventBus/Publish", json={}), 404, 5, "UNKNOWN_CALL"),
    "broken json": (lambda rest: rest.post(PUBLISH, content=b'{"events":['), 400, 3, "MALFORMED_BODY"),
    "list for an object": (posting([1, 2]), 400, 3, "MALFORMED_BODY"),
    "text for a list": (posting({"events": "none"}), 400, 3, "MALFORMED_BODY"),
    "text for a number in a map": (posting({"events": [event()], "expectedVersions": {"a": "x"}}), 400, 3, "MALFORMED_BODY"),
    # Envoy writes a wrong wire type here, which only the service can see
    "object for a number in a map": (
        posting({"events": [event()], "expectedVersions": {"a": {"b": 1}}}),
        *(400, 3, "MALFORMED_BODY"),
    ),
    "unknown type in Any": (
        posting({"events": [event() | {"data": {"@type": "type.googleapis.com/no.Such"}}]}),
        *(400, 3, "MALFORMED_BODY"),
    ),
    "broken rule of the contract": (posting({"events": []}), 400, 3, "INVALID_FIELD"),
    "unknown query parameter": (getting("/health?nonsense=1"), 400, 3, "MALFORMED_BODY"),
    "text for a number in the query": (getting("/api/v1/events/follow?afterPosition=x"), 400, 3, "MALFORMED_BODY"),
    "body too large": (posting({"events": [event("x" * 70_000)]}), 413, 8, "TOO_LARGE"),
    "headers too large": (getting("/health", large="x" * 40_000), 431, 3, "TOO_LARGE"),
    "header with an underscore": (getting("/health", a__b="x"), 400, 3, "MALFORMED_BODY"),
    "foreign host": (getting("/health", host="evil.example"), 421, 7, "FORBIDDEN"),
    "write from a foreign page": (
        lambda rest: rest.post(PUBLISH, content=b"{}", headers={"origin": "http://evil.example", "content-type": "text/plain"}),
        *(403, 7, "FORBIDDEN"),
    ),
    "service down": (getting("/api/v1/analytics/overview"), 503, 14, "DEPENDENCY_UNAVAILABLE"),
    "deadline of the caller": (
        lambda rest: rest.get("/api/v1/system/processes", headers={"grpc-timeout": "300m"}),
        *(504, 4, "DEADLINE_EXCEEDED"),
    ),
    "refusal of the service": (posting({"events": [event("refuse")]}), 429, 8, "LIMIT_REACHED"),
    "fault of the service": (posting({"events": [event("fail")]}), 500, 13, "INTERNAL"),
}


def reasons(status: status_pb2.Status) -> list[error_details_pb2.ErrorInfo]:
    """The ErrorInfo details of a Status."""
    found = []
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            found.append(info)
    return found


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refusal_is_a_status_with_a_reason(door: Bench, case: str) -> None:
    """HTTP status, code and reason belong together, and the body is a google.rpc.Status that any protobuf reader takes."""
    call, http_status, code, reason = REFUSALS[case]
    # the door's clock ends a tenth of a second before the service's; on a machine that stalls for longer the service's may win
    for _ in range(3 if case == "deadline of the caller" else 1):
        answer = await call(door.rest)
        assert (answer.status_code, answer.headers["content-type"]) == (http_status, "application/json"), answer.text
        status = json_format.Parse(answer.text, status_pb2.Status())
        if reasons(status):
            break
    assert status.code == code
    assert status.message
    assert [(info.reason, info.domain) for info in reasons(status)] == [(reason, "tooloo")]
    assert f"ERROR_REASON_{reason}" in ErrorReason.keys()  # noqa: SIM118 - a wrapper, no dictionary


@pytest.mark.parametrize("case", REFUSALS)
async def test_nothing_of_grpc_or_envoy_shows(door: Bench, case: str) -> None:
    """A REST caller sees no header of the machinery behind the door, but those that protect it."""
    answer = await REFUSALS[case][0](door.rest)
    leaked = [name for name in answer.headers if name.startswith(("grpc-", "x-envoy-", "trailer"))]
    assert not leaked
    assert answer.headers["server"] == "tooloo"


async def test_an_answer_shows_nothing_of_grpc_either(door: Bench) -> None:
    """Success is as plain as refusal, and nobody may keep it."""
    for path in ("/health", "/api/v1/system/info", "/api/v1/events/follow"):
        answer = await door.rest.get(path)
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith(("grpc-", "x-envoy-", "trailer"))]
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/health", "/nothing", "/api/v1/analytics/overview"])
async def test_every_answer_has_the_security_headers(door: Bench, path: str) -> None:
    """Answers of services, of the transcoder and of Envoy alike."""
    answer = await door.rest.get(path)
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert answer.headers["x-request-id"]


async def test_an_unexpected_fault_keeps_its_secrets(door: Bench) -> None:
    """The caller gets an id, never the text of the exception."""
    answer = await posting({"events": [event("fail")]})(door.rest)
    assert "secret" not in answer.text
    assert answer.json()["details"][0]["metadata"]["id"]


async def test_who_may_come_again_is_told_when(door: Bench) -> None:
    """A service that is down comes with RetryInfo and its name."""
    status = json_format.Parse((await door.rest.get("/api/v1/analytics/overview")).text, status_pb2.Status())
    assert reasons(status)[0].metadata["dependency"] == "analytics"
    retry = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.seconds == 1


async def test_what_a_service_that_stops_never_took_goes_to_the_next_one(door: Bench) -> None:
    """Calls that wait to be taken when their service stops are CANCELLED by gRPC itself; to their callers that was 499."""
    answer = await posting({"events": [event("stops")]})(door.rest)
    assert answer.status_code == 200


async def test_pages_of_the_settings_may_write(door: Bench) -> None:
    """What keeps foreign pages out lets the known ones in."""
    for origin in (ORIGIN, f"http://localhost:{door.door.port}"):
        answer = await door.rest.post(PUBLISH, json={"events": [event()]}, headers={"origin": origin})
        assert answer.status_code == 200


async def test_health_of_a_service_that_is_down_is_a_refusal(door: Bench) -> None:
    """Its own port answers for it."""
    answer = await door.rest.get(f"{door.url('analytics')}/health")
    assert answer.status_code == 503
    assert reasons(json_format.Parse(answer.text, status_pb2.Status()))[0].reason == "DEPENDENCY_UNAVAILABLE"


async def test_native_callers_get_plain_text_and_details(door: Bench) -> None:
    """JSON in a grpc-message would help nobody; the Status comes as gRPC callers expect it, with the same code and text."""
    with pytest.raises(grpc.aio.AioRpcError) as down:
        await AnalyticsServiceStub(door.channel).GetAnalyticsOverview(analytics.GetAnalyticsOverviewRequest())
    assert down.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "{" not in (down.value.details() or "")
    nobody = door.channel.unary_unary("/tooloo.none.v1.None/None", request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await nobody(b"")
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
    never = SystemServiceStub(door.channel).ListProcesses(system.ListProcessesRequest(), metadata=(("grpc-timeout", "9m"),))
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await never
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{door.door.port}", options=[("grpc.default_authority", "evil.example")]
    ) as elsewhere:
        with pytest.raises(grpc.aio.AioRpcError) as foreign:
            await SystemServiceStub(elsewhere).ListProcesses(system.ListProcessesRequest())
    told = {"DEPENDENCY_UNAVAILABLE": down, "UNKNOWN_CALL": unknown, "DEADLINE_EXCEEDED": late, "FORBIDDEN": foreign}
    for reason, refused in told.items():
        status = errors.from_rpc_error(refused.value)
        assert [info.reason for info in reasons(status)] == [reason]
        assert (status.code, status.message) == (refused.value.code().value[0], refused.value.details())


async def test_who_calls_too_often_at_a_time_learns_the_reason(tmp_path: Path) -> None:
    """By REST and natively alike, and that it may come again."""
    async with bench(tmp_path, replace(SETTINGS, max_calls=1, retries=0)) as crowded:
        stub = SystemServiceStub(crowded.channel)
        calls = {asyncio.ensure_future(stub.ListProcesses(system.ListProcessesRequest())) for _ in range(2)}
        (refused,), (waiting,) = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        error = refused.exception()
        assert isinstance(error, grpc.aio.AioRpcError)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        by_rest = await crowded.rest.get("/api/v1/system/info")
        assert by_rest.status_code == 503
        for status in (errors.from_rpc_error(error), json_format.Parse(by_rest.text, status_pb2.Status())):
            assert [info.reason for info in reasons(status)] == ["LIMIT_REACHED"]
            assert status.details[1].Is(error_details_pb2.RetryInfo.DESCRIPTOR)
        waiting.cancel()
