"""How the conformance tests ask the bus: refusals taken apart, reads over all pages, streams read until something is so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2, timestamp_pb2
from google.rpc import error_details_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2
from tooloo.bus.v1.dead_letter_pb2 import DeadLetter
from tooloo.event.v1.event_pb2 import Event

from mesh.reconnect import refusal_of
from tests.integration.bus_bench import PATIENCE, BusBench

SOON = duration_pb2.Duration(nanos=1_000_000)
LONG = duration_pb2.Duration(seconds=600)


@dataclass
class Refused:
    """A refusal, taken apart."""

    code: str
    reason: str
    fields: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)


async def refused(call: Awaitable[Any]) -> Refused:
    """What a call that must be refused was told."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    refusal = refusal_of(caught.value)
    found = Refused(refusal.code.name, refusal.reason)
    for detail in refusal.details:
        if isinstance(detail, error_details_pb2.BadRequest):
            found.fields = [violation.field for violation in detail.field_violations]
        if isinstance(detail, error_details_pb2.ErrorInfo):
            found.metadata = dict(detail.metadata)
    return found


async def read_all(bus: BusBench, **request: Any) -> list[Event]:
    """Every event that a read gives, over all its pages."""
    found: list[Event] = []
    token = ""
    while True:
        answer = await bus.stub.ReadEvents(pb.ReadEventsRequest(page_token=token, **request))
        found.extend(answer.events)
        token = answer.next_page_token
        if not token:
            return found


async def next_answer(call: Any, wanted: Callable[[Any], bool]) -> Any:
    """The next answer of a stream that is as wanted."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await call.read()
            assert answer is not grpc.aio.EOF
            if wanted(answer):
                return answer


async def follow_positions(call: Any, count: int) -> list[int]:
    """The positions of the next `count` events of a follower."""
    found: list[int] = []
    while len(found) < count:
        answer = await next_answer(call, lambda each: bool(each.events))
        offsets = list(answer.offsets) or range(len(answer.events))
        found.extend(answer.first_position + offset for offset in offsets)
    return found


async def dead_letters(bus: BusBench, count: int, name: str = "reader") -> list[DeadLetter]:
    """Waits until the subscription keeps so many dead letters."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await bus.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription=name))
            if len(found.dead_letters) == count:
                return list(found.dead_letters)
            await asyncio.sleep(0.01)


def start(**where: Any) -> subscription_pb2.StartAt:
    """Where to begin."""
    return subscription_pb2.StartAt(**where)


def moment(seconds: float) -> timestamp_pb2.Timestamp:
    """A time as the contract writes it."""
    return timestamp_pb2.Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
