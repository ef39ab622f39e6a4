"""The rules of a field (protovalidate) in a few words: for the help of the command and for the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

from mesh import rules

_NANOS = 9
# on one line with others a longer pattern explains nothing
_LONGEST_PATTERN = 48
Code = Callable[[str], str]


def sayings(field: FieldDescriptor, code: Code | None = None) -> list[str]:
    """Whether it must be given, how many there may be, and what one value must be.

    `code` says how patterns and values are written; without it, what is too long for a line of help is left out.
    """
    own = rules.of_field(field)
    return [*(["required"] if rules.required(field) else []), *_kinds(own, code)]


def _kinds(own: validate_pb2.FieldRules, code: Code | None) -> Iterator[str]:
    kind = rules.kind(own)
    if isinstance(kind, validate_pb2.RepeatedRules):
        sizes = rules.sizes(kind)
        yield from _range(sizes.get("minItems"), sizes.get("maxItems"), "")
        yield from ["no two alike"] if sizes.get("uniqueItems") else []
        yield from (f"each {saying}" for saying in _one(rules.kind(kind.items), code))
    elif isinstance(kind, validate_pb2.MapRules):
        sizes = rules.sizes(kind)
        yield from _range(sizes.get("minProperties"), sizes.get("maxProperties"), "")
    else:
        yield from _one(kind, code)


def _one(kind: Any, code: Code | None) -> Iterator[str]:
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
    write = code or str
    if values := found.get("enum", [found["const"]] if "const" in found else []):
        yield f"one of {', '.join(write(str(value)) for value in values)}"
    pattern = found.get("pattern", "")
    # one about control characters tells nobody anything
    if pattern and (code or (len(pattern) < _LONGEST_PATTERN and "\\x" not in pattern)):
        yield write(pattern)


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
