"""The door lets every kind of caller in: REST, native gRPC, gRPC-Web, event streams, on its own port and each service's."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tooloo.bus.v1 import bus_service_pb2 as bus
from tooloo.bus.v1.bus_service_pb2_grpc import EventBusStub
from tooloo.system.v1 import process_pb2 as process
from tooloo.system.v1 import system_service_pb2 as system
from tooloo.system.v1.system_service_pb2_grpc import SystemServiceStub

from envoy.pages import assets_base
from tests.door_bench import ORIGIN, RUN, Bench, bench, event
from tests.support.waiting import PATIENCE

PAGES = Path(__file__).resolve().parents[2] / "gateway" / "pages"
pytestmark = pytest.mark.asyncio(loop_scope="module")


# of this project's site it is a megabyte
SEARCH_BYTES = 2 * 1024 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """One door for all tests of this file."""
    folder = tmp_path_factory.mktemp("door")
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text("the site")
    (folder / "site" / "search.json").write_text('"' + "x" * (SEARCH_BYTES - 2) + '"')
    async with bench(folder, pages=PAGES) as running:
        yield running


async def test_a_rest_call_becomes_an_rpc_and_its_answer_json(door: Bench) -> None:
    """Field names are camelCase, 64-bit numbers text, zero values there."""
    answer = await door.rest.post("/api/v1/events/publish", json={"events": [event()]})
    assert answer.status_code == 200
    assert answer.json() == {"positions": ["1"], "duplicates": 0, "durability": "DURABILITY_UNSPECIFIED"}


async def test_a_sign_in_comes_back_with_whatever_a_provider_adds(door: Bench) -> None:
    """RFC 6749 §4.1.2: what is not known there is passed over (GitHub's setup_action); typos elsewhere are not."""
    async with httpx.AsyncClient(base_url=door.url("integration")) as own:
        for caller in (door.rest, own):
            answer = await caller.get("/api/v1/oauth/callback?state=s&code=c&setup_action=install&installation_id=1&client_info=x")
            assert (answer.status_code, answer.text) == (200, "s")
            assert (await caller.get("/api/v1/oauth/connections?userId=ada&pagesize=5")).status_code == 400


async def test_both_spellings_of_a_field_are_taken(door: Bench) -> None:
    """proto3 JSON reads snake_case as well as camelCase."""
    body = {"events": [event()], "expected_versions": {"users/ada": "0"}}
    assert (await door.rest.post("/api/v1/events/publish", json=body)).status_code == 200


@pytest.mark.parametrize("service", ["bus", "system"])
async def test_a_service_has_a_port_of_its_own(door: Bench, service: str) -> None:
    """REST, health and native gRPC of one service are on its own port too."""
    async with httpx.AsyncClient(base_url=door.url(service), timeout=60) as own:
        assert (await own.get("/health")).status_code == 200
        elsewhere = "/api/v1/system/info" if service == "bus" else "/api/v1/events/stats"
        assert (await own.get(elsewhere)).status_code == 404
    async with grpc.aio.insecure_channel(door.url(service).removeprefix("http://")) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_native_grpc_has_unary_calls_streams_and_rich_errors(door: Bench) -> None:
    """The same port speaks gRPC; a refusal's details arrive."""
    stub = EventBusStub(door.channel)
    assert [message.head_position async for message in stub.Follow(bus.FollowRequest())] == [1, 2, 3]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Publish(bus.PublishRequest())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "grpc-status-details-bin" in dict(refused.value.trailing_metadata() or ())


async def test_grpc_web_is_spoken(door: Bench) -> None:
    """A browser's gRPC client gets its message and its trailers as frames."""
    headers = {"content-type": "application/grpc-web-text", "x-grpc-web": "1", "accept": "application/grpc-web-text"}
    frame = base64.b64encode(b"\0\0\0\0\0")
    answer = await door.rest.post("/tooloo.system.v1.SystemService/GetSystemInfo", content=frame, headers=headers)
    body = base64.b64decode(answer.content[:24])
    assert answer.headers["content-type"].startswith("application/grpc-web-text")
    assert system.GetSystemInfoResponse.FromString(body[5 : 5 + body[4]]).version == "1"


async def test_a_service_writes_its_own_event_stream(door: Bench) -> None:
    """HttpBody streams pass as they are, ids and all, and the resume header arrives."""
    answer = await door.rest.get("/api/v1/events/follow", headers={"last-event-id": "41"})
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.text.startswith("id: 1\ndata: {}\n\n")
    assert door.seen.metadata["FollowSse"]["last-event-id"] == "41"


@pytest.mark.parametrize(
    ("accept", "content_type", "first"),
    [
        ("text/event-stream", "text/event-stream", "data: "),
        ("application/x-ndjson", "application/x-ndjson", ""),
    ],
)
async def test_accept_chooses_how_a_stream_is_written(door: Bench, accept: str, content_type: str, first: str) -> None:
    """One streaming RPC is server-sent events or JSON lines."""
    answer = await door.rest.get(f"/api/v1/runs/{RUN}/watch", headers={"accept": accept})
    assert answer.headers["content-type"] == content_type
    lines = [json.loads(line.removeprefix(first)) for line in answer.text.splitlines() if line]
    assert [line["final"] for line in lines] == [False, True]


async def test_a_stream_is_a_json_list_for_everyone_else(door: Bench) -> None:
    """Without a wish, the answer is one JSON document."""
    answer = await door.rest.get(f"/api/v1/runs/{RUN}/watch")
    assert answer.headers["content-type"] == "application/json"
    assert [message["final"] for message in answer.json()] == [False, True]


async def test_every_unary_call_has_a_deadline_and_no_stream_has(door: Bench) -> None:
    """The service is told how long it has: the setting, or what the caller brought."""
    await door.rest.get("/api/v1/system/info")
    given = door.seen.remaining["GetSystemInfo"]
    assert given is not None
    assert 0 < given <= door.door.settings.call_timeout.total_seconds()
    await door.rest.get("/api/v1/system/info", headers={"grpc-timeout": "2S"})
    assert 0 < (door.seen.remaining["GetSystemInfo"] or 0) <= 2
    assert [message async for message in EventBusStub(door.channel).Follow(bus.FollowRequest())]
    assert door.seen.remaining["Follow"] is None


async def test_headers_of_callers_reach_the_service(door: Bench) -> None:
    """The idempotency key and the trace are the service's business; the request id is the door's."""
    key, trace = "018f0000-0000-7000-8000-000000000002", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"Idempotency-Key": key, "traceparent": trace, "x-request-id": "mine"}
    answer = await door.rest.post("/api/v1/events/publish", json={"events": [event()]}, headers=headers)
    brought = door.seen.metadata["Publish"]
    assert (brought["idempotency-key"], brought["traceparent"]) == (key, trace)
    assert brought["x-request-id"] == answer.headers["x-request-id"] != "mine"


@pytest.mark.parametrize("name", ["a~b", "x-b-bin", "grpc-encoding", "grpc-status", "grpc-previous-rpc-attempts", "x#"])
async def test_headers_that_grpc_does_not_know_are_left_outside(door: Bench, name: str) -> None:
    """HTTP allows more names than gRPC, which would answer them with an internal error."""
    answer = await door.rest.get("/api/v1/system/info", headers={name: "!", "x-kept": "yes"})
    assert answer.status_code == 200
    assert name not in door.seen.metadata["GetSystemInfo"]
    assert door.seen.metadata["GetSystemInfo"]["x-kept"] == "yes"


async def test_health_is_503_with_the_same_body_when_the_mesh_is_not_whole(door: Bench) -> None:
    """Status and body agree, and native callers get an answer, not an error."""
    well = await door.rest.get("/health")
    door.system.state = process.SERVING_STATE_NOT_SERVING
    try:
        ill = await door.rest.get("/health")
        native = await SystemServiceStub(door.channel).GetHealth(system.GetHealthRequest())
    finally:
        door.system.state = process.SERVING_STATE_SERVING
    assert (well.status_code, ill.status_code) == (200, 503)
    assert ill.json()["state"] == "SERVING_STATE_NOT_SERVING"
    assert well.json().keys() == ill.json().keys()
    assert native.state == process.SERVING_STATE_NOT_SERVING


async def test_health_of_a_service_is_503_when_it_does_not_serve(door: Bench) -> None:
    """A service's port tells of that service, in the words of grpc.health.v1."""
    await door.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    try:
        answer = await door.rest.get(f"{door.url('bus')}/health")
    finally:
        await door.health.set("", health_pb2.HealthCheckResponse.SERVING)
    assert (answer.status_code, answer.json()) == (503, {"status": "NOT_SERVING"})


async def test_browsers_may_ask_from_the_origins_of_the_settings(door: Bench) -> None:
    """A preflight is answered for them, and for nobody else."""
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "idempotency-key"}
    allowed = await door.rest.options("/api/v1/events/publish", headers={"origin": ORIGIN, **asked})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "idempotency-key" in allowed.headers["access-control-allow-headers"]
    other = await door.rest.options("/api/v1/events/publish", headers={"origin": "http://evil.example", **asked})
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("coding", ["br", "gzip"])
async def test_answers_are_compressed(door: Bench, coding: str) -> None:
    """JSON and pages are, event streams are not."""
    for path in ("/api/v1/system/routing", "/"):
        answer = await door.rest.get(path, headers={"accept-encoding": coding})
        assert answer.headers["content-encoding"] == coding
    stream = await door.rest.get("/api/v1/events/follow", headers={"accept-encoding": coding})
    assert "content-encoding" not in stream.headers


async def test_the_first_page_is_the_doors_own(door: Bench) -> None:
    """It comes with its type, is asked for anew each time, and is not on a service's port."""
    answer = await door.rest.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["cache-control"] == "no-cache"
    assert (await door.rest.head("/")).status_code == 200
    assert (await door.rest.post("/")).status_code == 404
    assert (await door.rest.get(door.url("bus") + "/")).status_code == 404


async def test_what_a_page_loads_is_kept_for_ever(door: Bench) -> None:
    """Scripts and styles come with their type under the hash of all pages, compressed, and need no second question."""
    base = assets_base(PAGES)
    kinds = {"app.js": "application/javascript; charset=utf-8", "style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}
    for path, kind in (kinds | {"vendor/preact.mjs": kinds["app.js"], "lib/stream.js": kinds["app.js"]}).items():
        answer = await door.rest.get(base + path, headers={"accept-encoding": "br"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind), path
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers.get("content-encoding") == "br" or int(answer.headers["content-length"]) < 1024
    assert (await door.rest.get(base + "vendor/VERSIONS")).status_code == 404
    assert (await door.rest.get(base + "../../envoy/pages.py")).status_code == 404


async def test_the_first_page_is_light(door: Bench) -> None:
    """All that it names early weighs less over the wire, compressed, than half of what is allowed for everything."""
    html = (await door.rest.get("/")).text
    named = re.findall(r'(?:href|src)="(/assets/[^"]+)"', html)
    assert len(named) > 10
    loaded = 0
    for path in named:
        async with door.rest.stream("GET", path, headers={"accept-encoding": "br"}) as answer:
            loaded += sum([len(piece) async for piece in answer.aiter_raw()])
    assert loaded < 75_000


async def test_the_address_of_the_old_reference_leads_to_the_calls(door: Bench) -> None:
    """The address is relative, so that the port stays."""
    answer = await door.rest.get("/docs")
    assert (answer.status_code, answer.headers["location"]) == (302, "/#/calls")


async def test_the_documentation_is_below_docs(door: Bench) -> None:
    """Its index of the search too, which is large; its policy is looser than that of other pages in styles alone."""
    index = await door.rest.get("/docs/")
    assert (index.status_code, index.headers["content-type"], index.text) == (200, "text/html; charset=utf-8", "the site")
    assert "script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'" in index.headers["content-security-policy"]
    assert "style-src 'self';" in (await door.rest.get("/")).headers["content-security-policy"]
    search = await door.rest.get("/docs/search.json")
    assert (search.headers["content-type"], len(search.content)) == ("application/json", SEARCH_BYTES)
    assert (await door.rest.get("/docs/nothing.html")).status_code == 404
    assert (await door.rest.post("/docs/")).status_code == 404


async def test_the_access_log_has_a_line_of_json_for_each_call(door: Bench) -> None:
    """It names path, RPC, status and request id, so that a caller's complaint can be found."""
    answer = await door.rest.get("/api/v1/events/stats")
    wanted = answer.headers["x-request-id"]
    line = None
    async with httpx.AsyncClient(timeout=60) as admin, asyncio.timeout(PATIENCE):
        while line is None:
            # the log is written in batches; this asks for it now
            await admin.post(f"http://127.0.0.1:{door.door.admin_port}/reopen_logs")
            # the end of a line may still be on its way
            lines = [json.loads(line) for line in door.door.access_log.read_text().splitlines(keepends=True) if line.endswith("\n")]
            line = next((line for line in lines if line["request_id"] == wanted), None)
    assert line["path"] == "/api/v1/events/stats"
    assert line["rpc"] == "/tooloo.bus.v1.EventBus/GetBusStats"
    assert (line["status"], line["service"], line["method"]) == (200, "bus", "GET")
