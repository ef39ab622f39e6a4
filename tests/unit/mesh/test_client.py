"""The client of the mesh: it waits for a door that is not there yet, but not for ever."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from tooloo.system.v1 import system_service_pb2 as system

from mesh.client import MeshClient
from mesh.settings import MeshSettings

CALL = "tooloo.system.v1.SystemService/GetSystemInfo"


async def _info(request: Message, context: object) -> system.GetSystemInfoResponse:
    return system.GetSystemInfoResponse(version="1")


def _handlers() -> grpc.GenericRpcHandler:
    """The one call, answered."""
    handler = grpc.unary_unary_rpc_method_handler(
        _info,
        request_deserializer=system.GetSystemInfoRequest.FromString,
        response_serializer=system.GetSystemInfoResponse.SerializeToString,
    )
    service, method = CALL.split("/")
    return grpc.method_handlers_generic_handler(service, {method: handler})


def _door(target: str) -> grpc.aio.Server:
    """A server that answers it."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_handlers(),))
    server.add_insecure_port(target)
    return server


async def test_a_call_waits_for_the_door(tmp_path: Path) -> None:
    """A call made before anything listens is answered once something does: a run that goes on at start does not fail."""
    target = f"unix:{tmp_path}/door.sock"
    # without attempts of its own, so that it is the waiting which is seen
    client = MeshClient(target, replace(MeshSettings(), call_attempts=1))
    calling = asyncio.create_task(client.call(CALL, system.GetSystemInfoRequest(), timedelta(seconds=20)))
    # the call has met a door that is not there before the door comes
    state = client.channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
        # from the state that was looked at: waiting for a change of a newer one could miss the one that is waited for
        await client.channel.wait_for_state_change(state)
        state = client.channel.get_state(try_to_connect=True)
    assert not calling.done()
    server = _door(target)
    await server.start()
    answer = await calling
    assert isinstance(answer, system.GetSystemInfoResponse)
    assert answer.version == "1"
    await client.close()
    await server.stop(None)


async def test_a_door_that_never_comes_ends_the_call(tmp_path: Path) -> None:
    """The deadline holds, and only unary calls of the contracts can be made by name."""
    client = MeshClient(f"unix:{tmp_path}/nothing.sock", MeshSettings())
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await client.call(CALL, system.GetSystemInfoRequest(), timedelta(milliseconds=200))
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(ValueError, match="streams"):
        await client.call("tooloo.bus.v1.EventBus/Follow", system.GetSystemInfoRequest())
    await client.close()


async def test_a_proxy_of_the_environment_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """The door of this machine is called itself, whatever leads to the world."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = MeshClient(f"127.0.0.1:{port}", MeshSettings())
    answer = await client.call(CALL, system.GetSystemInfoRequest(), timedelta(seconds=20))
    assert answer == system.GetSystemInfoResponse(version="1")
    await client.close()
    await server.stop(None)
