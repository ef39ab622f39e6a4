"""The event bus by itself: durable events in your own process, or from a server. docs/how-to/bus-alone.md shows it at work."""

from collections.abc import Mapping

from google.protobuf.message import Message
from tooloo.event.v1.event_pb2 import Event

from tooloo_bus.bus.local import open_bus
from tooloo_bus.bus.settings import BusSettings
from tooloo_bus.mesh.clock import SystemClock
from tooloo_bus.mesh.errors import Refusal
from tooloo_bus.mesh.extra_contracts import load as add_contracts
from tooloo_bus.mesh.follow import BusClient
from tooloo_bus.mesh.ids import new_id
from tooloo_bus.mesh.outbox import Fact, make_event

__all__ = ["BusClient", "BusSettings", "Refusal", "add_contracts", "event_of", "open_bus"]


def event_of(message: Message, *, source: str, subject: str, attributes: Mapping[str, str] | None = None) -> Event:
    """An event with a new id that happens now. `subject` is what it is about, and its ordering key; `source` says who tells it.

    The type comes from the option `tooloo.event.v1.event` of the message's contract.
    """
    return make_event(Fact(message, subject, attributes or {}), source, SystemClock(), new_id)
