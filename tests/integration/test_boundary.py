"""The boundary every call passes: rubbish, broken rules and surprises become refusals that say what to do."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from tooloo.system.v1 import system_events_pb2 as events
from tooloo.system.v1 import system_service_pb2 as system
from tooloo.system.v1.system_service_pb2_grpc import (
    SystemServiceServicer,
    SystemServiceStub,
    add_SystemServiceServicer_to_server,
)

from mesh import errors, testing
from mesh.db import Transaction
from mesh.host import Host, Parts
from mesh.outbox import Fact


class Sample(SystemServiceServicer):
    """A service with one call that writes, one that is refused and one that breaks."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def ScaleService(self, request: system.ScaleServiceRequest, context: object) -> system.ScaleServiceResponse:
        """Tells an event and answers with a new id each time it really runs."""

        async def effect(tx: Transaction) -> system.ScaleServiceResponse:
            event_id = await self._host.tell(tx, Fact(events.ServiceStopped(service=request.service), "processes/x"))
            response = system.ScaleServiceResponse()
            response.health.service = event_id
            return response

        return await self._host.once(request, system.ScaleServiceResponse, effect)

    async def StartService(self, request: system.StartServiceRequest, context: object) -> system.StartServiceResponse:
        """Refused on purpose."""
        raise errors.not_found("service", request.service)

    async def StopService(self, request: system.StopServiceRequest, context: object) -> system.StopServiceResponse:
        """Breaks in a way nobody thought of."""
        raise KeyError("secret of the house")


async def _build(host: Host) -> Parts:
    return Parts([(add_SystemServiceServicer_to_server, Sample(host))])  # type: ignore[abstract] # the calls it leaves out answer UNIMPLEMENTED


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[testing.Bench]:
    """The sample service, running."""
    async with testing.running("system", _build, tmp_path) as running:
        yield running


def _reason(error: grpc.aio.AioRpcError) -> str:
    status = errors.from_rpc_error(error)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return str(info.reason)


async def test_a_refusal_arrives_with_its_details(bench: testing.Bench) -> None:
    """Code, message and ErrorInfo reach a native client."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await SystemServiceStub(bench.channel).StartService(system.StartServiceRequest(service="nobody"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert _reason(caught.value) == "RESOURCE_NOT_FOUND"


async def test_a_broken_rule_names_each_field(bench: testing.Bench) -> None:
    """Protovalidate's rules are applied before the service is called."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await SystemServiceStub(bench.channel).ScaleService(system.ScaleServiceRequest(replicas=99))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "service" in (caught.value.details() or "")
    assert "replicas" in (caught.value.details() or "")


async def test_a_body_that_is_no_message_is_malformed(bench: testing.Bench) -> None:
    """grpc.aio alone would answer UNKNOWN or INTERNAL."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = bench.channel.unary_unary("/tooloo.system.v1.SystemService/ScaleService")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert _reason(caught.value) == "MALFORMED_BODY"


async def test_a_surprise_tells_an_id_and_nothing_else(bench: testing.Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The text of an unexpected exception stays in the log, under the id that the caller got."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await SystemServiceStub(bench.channel).StopService(system.StopServiceRequest(service="x"))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in json.dumps([caught.value.details(), str(caught.value.trailing_metadata())])
    info = error_details_pb2.ErrorInfo()
    errors.from_rpc_error(caught.value).details[0].Unpack(info)
    assert info.metadata["id"] in caplog.text


async def test_a_repeated_request_id_changes_nothing(bench: testing.Bench) -> None:
    """The first answer comes again, even after a restart, and only one event is told."""
    request = system.ScaleServiceRequest(request_id=str(uuid.uuid4()), service="learning", replicas=2)
    first = await SystemServiceStub(bench.channel).ScaleService(request)
    await bench.restart()
    assert await SystemServiceStub(bench.channel).ScaleService(request) == first
    assert len(await bench.told()) == 1


async def test_the_idempotency_key_header_is_a_request_id(bench: testing.Bench) -> None:
    """REST callers send it as a header, and the field may say the same id in any case; one that is no UUID is refused by name."""
    stub = SystemServiceStub(bench.channel)
    key = str(uuid.uuid4())
    request = system.ScaleServiceRequest(service="learning", replicas=2)
    first = await stub.ScaleService(request, metadata=(("idempotency-key", key),))
    assert await stub.ScaleService(request, metadata=(("idempotency-key", key),)) == first
    for spelt in (key, key.upper()):
        again = system.ScaleServiceRequest(service="learning", replicas=2, request_id=spelt)
        assert await stub.ScaleService(again) == first
    assert len(await bench.told()) == 1
    with pytest.raises(grpc.aio.AioRpcError, match="Idempotency-Key"):
        await stub.ScaleService(request, metadata=(("idempotency-key", "again"),))


async def test_a_request_id_of_another_request_is_refused(bench: testing.Bench) -> None:
    """The same id with other content is a mistake of the caller, not a repeat."""
    stub = SystemServiceStub(bench.channel)
    key = str(uuid.uuid4())
    await stub.ScaleService(system.ScaleServiceRequest(request_id=key, service="learning", replicas=2))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ScaleService(system.ScaleServiceRequest(request_id=key, service="learning", replicas=3))
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert _reason(caught.value) == "REQUEST_ID_REUSED"


async def test_an_event_carries_the_trace_of_its_call(bench: testing.Bench) -> None:
    """Correlation and trace of the request stand in the event's envelope."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    metadata = (("traceparent", parent), ("x-correlation-id", "journey-7"))
    await SystemServiceStub(bench.channel).ScaleService(system.ScaleServiceRequest(service="a", replicas=1), metadata=metadata)
    event = (await bench.told())[0]
    assert event.correlation_id == "journey-7"
    assert "0af7651916cd43dd8448eb211c80319c" in event.traceparent


async def test_a_call_costs_no_more_for_the_methods_beside_it(bench: testing.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """grpc.aio waits anew with each call for a future of every method that is registered: a service of seventy waits for none."""
    waited, wait = [], asyncio.wait

    async def counting(futures: Iterable[asyncio.Future[Any]], **kwargs: Any) -> Any:
        waited.append(len(set(futures)))
        return await wait(futures, **kwargs)

    monkeypatch.setattr(asyncio, "wait", counting)
    stub = SystemServiceStub(bench.channel)
    for _ in range(3):
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.StartService(system.StartServiceRequest(service="provider"))
    assert waited
    assert max(waited) == 1
