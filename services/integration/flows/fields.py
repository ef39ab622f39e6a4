"""An event's fields as short texts by their JSON names, for the texts of notifications."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from services.integration import notification

_LEAVES = {Timestamp.DESCRIPTOR.full_name, Money.DESCRIPTOR.full_name, "google.protobuf.Duration"}
_DEEPEST = 3


def of(message: Message) -> dict[str, str]:
    """Every plain field, nested ones as "outer.inner": "12.50 USD" for Money, RFC 3339 for times, names for enum values."""
    return dict(_walk(message, "", _DEEPEST))


def names(descriptor: Any, depth: int = _DEEPEST) -> set[str]:
    """The names that `of` can give for messages of this type."""
    found = set()
    for field in descriptor.fields:
        if field.is_repeated:
            continue
        nested = _nested(field)
        if nested is None:
            found.add(field.json_name)
        elif depth > 1:
            found |= {f"{field.json_name}.{inner}" for inner in names(nested, depth - 1)}
    return found


def _walk(message: Message, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated or (field.message_type and not message.HasField(field.name)):
            continue
        value = getattr(message, field.name)
        if _nested(field) is None:
            yield prefix + field.json_name, _text(field, value)
        elif depth > 1:
            yield from _walk(value, f"{prefix}{field.json_name}.", depth - 1)


def _nested(field: Any) -> Descriptor | None:
    """The type of a field that has fields of its own; None for one that is shown whole."""
    inner: Descriptor | None = field.message_type
    return inner if inner is not None and inner.full_name not in _LEAVES else None


def _text(field: Any, value: Any) -> str:
    if field.enum_type:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    if isinstance(value, Money):
        return _money(value)
    if field.message_type:
        return str(value.ToJsonString())
    return notification.shown(value)


def _money(money: Money) -> str:
    amount = Decimal(money.units) + Decimal(money.nanos).scaleb(-9)
    shown = amount.quantize(Decimal("0.01")) if abs(amount) >= 1 else amount.normalize()
    return f"{shown:f} {money.currency_code}"
