"""Whatever bytes come to an RPC, the answer comes in time and is never our mistake: no INTERNAL, no UNKNOWN, no bare refusal."""

import asyncio
from collections import Counter
from random import Random

import grpc
from google.rpc import error_details_pb2, status_pb2

from mesh import contracts
from mesh.contracts import Method
from tests.fuzz.messages import Requests
from tests.fuzz.world import Known
from tests.support.mesh import Mesh

_AT_A_TIME = 16
_UNARY_SECONDS = 40.0
# streams go on for ever; that one does counts as an answer
_STREAM_SECONDS = 0.5
_OURS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}


async def answer_of(channel: grpc.aio.Channel, method: Method, request: bytes) -> grpc.aio.AioRpcError | None:
    """Sends one request; gives the refusal, or None for an answer."""
    path, codec = f"/{method.name}", {"request_serializer": bytes, "response_deserializer": bytes}
    try:
        if method.unary:
            await channel.unary_unary(path, **codec)(request, timeout=_UNARY_SECONDS)
        elif method.client_streaming:
            await channel.stream_stream(path, **codec)(iter((request,)), timeout=_STREAM_SECONDS).read()
        else:
            await channel.unary_stream(path, **codec)(request, timeout=_STREAM_SECONDS).read()
    except grpc.aio.AioRpcError as refusal:
        return refusal
    return None


def fault_of(method: Method, refusal: grpc.aio.AioRpcError) -> str:
    """What is wrong with a refusal; "" when nothing is."""
    if refusal.code() is grpc.StatusCode.DEADLINE_EXCEEDED and not method.unary:
        return ""
    if refusal.code() in _OURS or refusal.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{refusal.code()}: {refusal.details()}"
    status = status_pb2.Status.FromString(dict(refusal.trailing_metadata() or ()).get("grpc-status-details-bin", b""))
    info = error_details_pb2.ErrorInfo()
    reasons = [info.reason for detail in status.details if detail.Unpack(info) and info.domain == "tooloo"]
    return "" if len(reasons) == 1 and reasons[0] else f"no reason: {refusal.code()}: {refusal.details()}"


async def test_bytes_at_random_are_never_our_mistake(mesh: Mesh, known: Known, cases: int, seed: int) -> None:
    """Messages that are meant, spoilt ones and noise, to every RPC."""
    methods = list(contracts.methods().values())
    requests = Requests(Random(seed), known)
    each = -(-cases // len(methods))
    sent = [(method, requests.draw(method.request)) for method in methods for _ in range(each)]
    Random(seed).shuffle(sent)
    codes: Counter[str] = Counter()
    faults: list[str] = []
    free = asyncio.Semaphore(_AT_A_TIME)

    async def one(method: Method, request: bytes) -> None:
        async with free:
            refusal = await answer_of(channel, method, request)
        codes[refusal.code().name if refusal else "OK"] += 1
        if refusal and (fault := fault_of(method, refusal)):
            faults.append(f"{method.name} {fault}\n  bytes.fromhex({request.hex()!r})")

    async with mesh.channel() as channel:
        await asyncio.gather(*(one(method, request) for method, request in sent))
    print(f"{len(sent)} calls, seed {seed}, codes {dict(codes)}")
    assert not faults, "\n".join(faults)
