"""The rules of a field (protovalidate) in a few words, for help."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

from mesh import rules

_NANOS = 9
# a longer pattern explains nothing
_LONGEST_PATTERN = 48


def sayings(field: FieldDescriptor) -> list[str]:
    """Whether it must be given, how many there may be, and what one value must be."""
    own = rules.of_field(field)
    return [*(["required"] if rules.required(field) else []), *_kinds(own)]


def _kinds(own: validate_pb2.FieldRules) -> Iterator[str]:
    kind = rules.kind(own)
    if isinstance(kind, validate_pb2.RepeatedRules):
        yield from _count(rules.sizes(kind), "minItems", "maxItems")
        yield from _one(rules.kind(kind.items))
    elif isinstance(kind, validate_pb2.MapRules):
        yield from _count(rules.sizes(kind), "minProperties", "maxProperties")
    else:
        yield from _one(kind)


def _count(sizes: dict[str, Any], low: str, high: str) -> Iterator[str]:
    yield from _range(sizes.get(low), sizes.get(high), "")


def _one(kind: Any) -> Iterator[str]:
    if isinstance(kind, validate_pb2.DurationRules):
        yield from _lengths_of_time(kind)
        return
    if isinstance(kind, validate_pb2.TimestampRules):
        return
    found = rules.keywords(kind)
    yield from _range(found.get("minimum"), found.get("maximum"), "")
    yield from _range(found.get("exclusiveMinimum"), found.get("exclusiveMaximum"), "", low="more than", high="less than")
    yield from _range(found.get("minLength"), found.get("maxLength"), " characters")
    if "format" in found:
        yield str(found["format"])
    if "enum" in found:
        yield f"one of {', '.join(map(str, found['enum']))}"
    pattern = found.get("pattern", "")
    # one about control characters tells nobody anything
    if 0 < len(pattern) < _LONGEST_PATTERN and "\\x" not in pattern:
        yield pattern


def _lengths_of_time(kind: validate_pb2.DurationRules) -> Iterator[str]:
    given = {field.name: value for field, value in kind.ListFields()}
    low, high = given.get("gte", given.get("gt")), given.get("lte", given.get("lt"))
    yield from _range(low and _seconds(low), high and _seconds(high), " s")


def _seconds(value: Any) -> str:
    return f"{(Decimal(value.seconds) + Decimal(value.nanos).scaleb(-_NANOS)).normalize():f}"


def _range(lowest: object, highest: object, unit: str, low: str = "at least", high: str = "at most") -> Iterator[str]:
    if lowest is not None and highest is not None and low == "at least":
        yield f"{_figure(lowest)} to {_figure(highest)}{unit}"
    elif lowest is not None:
        yield f"{low} {_figure(lowest)}{unit}"
    elif highest is not None:
        yield f"{high} {_figure(highest)}{unit}"


def _figure(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
