"""What passes between the bus client and whoever handles events: a delivery, and the answer that it could not be handled."""

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.event.v1.event_pb2 import Event


class Delivery(NamedTuple):
    """An event as it was delivered: its position in the log and which delivery of it this is, from 1."""

    event: Event
    position: int
    attempt: int


@dataclass(frozen=True)
class Nack:
    """Gives an event back: again after `retry_after` (None: the subscription's backoff), or parked as a dead letter at once."""

    position: int
    retry_after: timedelta | None = None
    park: bool = False
    error: str = ""


def nack_message(nack: Nack) -> pb.Nack:
    """As the bus is told of it."""
    message = pb.Nack(position=nack.position, park=nack.park, error=nack.error)
    if nack.retry_after is not None:
        message.retry_after.FromTimedelta(nack.retry_after)
    return message
