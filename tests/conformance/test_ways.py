"""What a way cannot do it refuses by name; everything else it answers; the docs have the table."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api import httpbody_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb

from bus import ways
from mesh import contracts
from mesh.reconnect import refusal_of
from tests.conformance.conftest import WAYS
from tests.integration.bus_bench import BusBench

ROOT = Path(__file__).resolve().parents[2]
SERVICE = "tooloo.bus.v1.EventBus"
CALLS = sorted(name.removeprefix(f"{SERVICE}/") for name in contracts.methods() if name.startswith(f"{SERVICE}/"))


def test_the_suite_runs_on_every_way() -> None:
    """The table and the suite name the same ways."""
    assert [way.name for way in ways.WAYS] == list(WAYS)


def test_the_docs_have_the_table() -> None:
    """docs/ways.md holds what the code says; after a change: python -m bus.ways."""
    assert ways.table() in (ROOT / "docs" / "ways.md").read_text()


@pytest.mark.parametrize("name", CALLS)
async def test_every_call_is_answered_or_refused_by_name(bus: BusBench, way: str, name: str) -> None:
    """A call that the table says a way cannot do is UNIMPLEMENTED with the reason; no other is."""
    told = await _code_and_reason(bus, name)
    cannot = next(each for each in ways.WAYS if each.name == way).cannot
    if name in cannot:
        assert told == ("UNIMPLEMENTED", "NOT_SUPPORTED_BY_LOG")
    else:
        assert told[0] != "UNIMPLEMENTED"


async def _code_and_reason(bus: BusBench, name: str) -> tuple[str, str]:
    """How the call ends when it is asked for nothing in particular."""
    method = contracts.methods()[f"{SERVICE}/{name}"]
    request = method.request()
    invoke: Any = getattr(bus.stub, name)
    try:
        if method.client_streaming:
            call = invoke()
            await call.write(request)
            await call.done_writing()
            await call.read()
        elif method.server_streaming:
            call = invoke(request)
            await call.read()
            call.cancel()
        else:
            await invoke(request)
    except grpc.aio.AioRpcError as error:
        refusal = refusal_of(error)
        return refusal.code.name, refusal.reason
    return "OK", ""


async def test_cloudevents_and_metrics_are_answered_alike(bus: BusBench) -> None:
    """The doors stand on the same log, whatever that is."""
    read = await bus.stub.ReadCloudEvents(pb.ReadCloudEventsRequest())
    assert isinstance(read, httpbody_pb2.HttpBody)
    assert read.data == b"[]"
    metrics = await bus.stub.GetBusMetrics(pb.GetBusMetricsRequest())
    assert b"# TYPE" in metrics.data
