"""Proof that a mesh works, through its door: a read of every service, chosen from the contracts, and one event there and back."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from google.api import annotations_pb2

from mesh.catalogue import SERVICES, ServiceSpec
from mesh.cli.calling import Caller
from mesh.cli.console import Code, Failure
from mesh.cli.schema import Rpc, Schema

_BUS = "tooloo.bus.v1.EventBus"
_SYSTEM = "tooloo.system.v1.SystemService"
_LINES = 15


@dataclass(frozen=True)
class Proof:
    """What was proven: by which service, and how it answered."""

    service: str
    said: str


class NotProvenError(Exception):
    """A service that does not do what it must."""

    def __init__(self, service: str, cause: str) -> None:
        super().__init__(f"{service}: {cause}")
        self.service = service


def reads(schema: Schema, spec: ServiceSpec) -> list[Rpc]:
    """The RPCs of a service that change nothing and name nothing in their path: unary ones that REST has as GET."""
    return [rpc for rpc in schema.of_service(spec) if _is_get(rpc) and not rpc.places and not rpc.method.server_streaming]


def _is_get(rpc: Rpc) -> bool:
    options = rpc.method.GetOptions()
    return options.HasExtension(annotations_pb2.http) and options.Extensions[annotations_pb2.http].WhichOneof("pattern") == "get"


def prove(caller: Caller) -> Iterator[Proof]:
    """One proof after another; NotProvenError at the first that fails."""
    for spec in SERVICES:
        yield Proof(spec.name, _asked(caller, spec))
    yield Proof("bus", _there_and_back(caller))


def _asked(caller: Caller, spec: ServiceSpec) -> str:
    """Asks a service with its reads until one answers; that one needs a field is an answer too, when none can do without."""
    needs = ""
    for rpc in reads(caller.schema, spec):
        try:
            caller.unary(rpc, caller.schema.new(rpc.request))
        except Failure as error:
            if error.detail.get("code") != "INVALID_ARGUMENT":
                raise NotProvenError(spec.name, f"{rpc.name}: {error.message}") from error
            needs = needs or f"{rpc.method.name} answered, what it needs"
        else:
            return f"{rpc.method.name} answered"
    if not needs:
        raise NotProvenError(spec.name, "no call of its contract can be made without changing something")
    return needs


def _there_and_back(caller: Caller) -> str:
    """The newest event published once more under its id, which stores nothing, delivered to a subscription, and acknowledged."""
    try:
        event = _newest(caller)
        (position,) = caller.call(f"{_BUS}/Publish", events=[event]).positions
        name = f"proof-{uuid4()}"
        caller.call(f"{_BUS}/CreateSubscription", subscription={"name": name, "start": {"after_position": position - 1}})
        try:
            delivered = _pulled(caller, name)
            if delivered != position:
                raise NotProvenError("bus", f"position {position} was published, {delivered} delivered")
            if caller.call(f"{_BUS}/GetSubscription", name=name).subscription.ack_floor < position:
                raise NotProvenError("bus", f"position {position} was acknowledged and is not")
        finally:
            caller.call(f"{_BUS}/DeleteSubscription", name=name)
    except Failure as error:
        raise NotProvenError("bus", error.message) from error
    return f"the event at {position} was published, delivered and acknowledged"


def _newest(caller: Caller) -> Any:
    """The newest event; there is one, for the process manager tells of each process that has become ready."""
    head = caller.call(f"{_BUS}/GetBusStats").head_position
    page = caller.call(f"{_BUS}/ReadEvents", after_position=max(0, head - 1)).events
    if not page:
        raise NotProvenError("bus", "no event was ever published, though each process that gets ready is told of")
    return page[-1]


def _pulled(caller: Caller, name: str) -> int:
    """The position of the first event that a subscription delivers; it is acknowledged before the stream ends."""
    rpc = caller.schema.rpcs[f"{_BUS}/Pull"]
    request = type(caller.schema.new(rpc.request))
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
    asked.put(request(subscription=name, credit_events=1))
    delivered = 0
    # the stream ends when we have left and the acknowledgement is on the disk
    for answer in caller.answers(rpc, iter(asked.get, None)):
        message: Any = answer
        if message.positions and not delivered:
            delivered = message.positions[0]
            asked.put(request(ack=[delivered], fencing_token=message.fencing_token, leave=True))
            asked.put(None)
    return delivered


def last_words(caller: Caller, service: str) -> list[str]:
    """The newest warnings and errors of a service, oldest of them first; nothing when the mesh cannot tell them."""
    try:
        found = caller.call(f"{_SYSTEM}/ReadLogs", service=service, min_level=3, page_size=_LINES).records
    except Failure:
        return []
    return [f"{record.process}: {record.message}" for record in reversed(found)]


def told(error: NotProvenError, lines: list[str]) -> Failure:
    """The failure that ends the command."""
    step = f"tooloo logs {error.service} --level warning shows more"
    return Failure(f"the mesh runs, but {error}", step, Code.FAULT, {"service": error.service}, lines)
