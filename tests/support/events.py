"""Events as a publisher would send them, told apart by a number."""

from functools import cache

from tooloo.event.v1.event_pb2 import Event

from mesh import contracts
from tests.contracts.samples import event_of


@cache
def _sample(kind: str) -> Event:
    event = event_of(contracts.catalogue()[kind])
    event.ClearField("position")
    return event


def sample(number: int, subject: str = "a", kind: str = "service.started", note: str = "") -> Event:
    """A sound event with an id made of a number; `note` is text that it carries along."""
    event = Event()
    event.CopyFrom(_sample(kind))
    event.id, event.subject = id_of(number), subject
    if note:
        event.attributes["note"] = note[:256]
    return event


def sized(number: int, size: int, subject: str = "a") -> Event:
    """A sound event of at least so many bytes."""
    event = sample(number, subject, "service.started")
    message = contracts.message_class(event.data.TypeName()).FromString(event.data.value)
    text = next(field for field in message.DESCRIPTOR.fields if field.type == field.TYPE_STRING and not field.is_repeated)
    setattr(message, text.name, "x" * size)
    event.data.value = message.SerializeToString()
    return event


def id_of(number: int) -> str:
    """The id of an event by its number."""
    return f"018f0000-0000-7000-8000-{number:012d}"
