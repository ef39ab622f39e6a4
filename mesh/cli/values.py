"""What people type as a field's value, turned into what proto3 JSON has there; ValueError says what would be right."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from mesh.settings import duration

_T = FieldDescriptor
_INTEGERS = {
    *(_T.TYPE_INT32, _T.TYPE_SINT32, _T.TYPE_SFIXED32, _T.TYPE_UINT32, _T.TYPE_FIXED32),
    *(_T.TYPE_INT64, _T.TYPE_SINT64, _T.TYPE_SFIXED64, _T.TYPE_UINT64, _T.TYPE_FIXED64),
}
_FLOATS = {_T.TYPE_DOUBLE, _T.TYPE_FLOAT}
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}
_SECONDS = re.compile(r"^-?\d+(\.\d{1,9})?s$")
_AGO = re.compile(r"^([+-])(\d+(?:\.\d+)?(?:ms|s|m|h|d))$")
_MONEY = re.compile(r"^(?:([A-Za-z]{3})\s*)?(-?\d+(?:\.\d{1,9})?)(?:\s*([A-Za-z]{3}))?$")
_NANOS = 1_000_000_000
MONEY = "google.type.Money"
# messages that are one value in proto3 JSON
_WRAPPERS = {
    "google.protobuf.BoolValue": "boolean",
    "google.protobuf.StringValue": "text",
    "google.protobuf.BytesValue": "bytes",
    **dict.fromkeys((f"google.protobuf.{name}Value" for name in ("Int32", "Int64", "UInt32", "UInt64")), "integer"),
    **dict.fromkeys((f"google.protobuf.{name}Value" for name in ("Float", "Double")), "number"),
}
_SINGLE = {
    "google.protobuf.Timestamp": "time",
    "google.protobuf.Duration": "duration",
    "google.protobuf.FieldMask": "names",
    MONEY: "money",
    **_WRAPPERS,
}
# messages without fields of their own to choose from
_OPEN = {"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue", "google.protobuf.Any"}


def is_map(field: FieldDescriptor) -> bool:
    """True for map<key, value>, which is a repeated message underneath."""
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def map_value(field: FieldDescriptor) -> FieldDescriptor:
    """The field of a map's values."""
    found: FieldDescriptor = message_of(field).fields_by_name["value"]
    return found


def message_of(field: FieldDescriptor) -> Descriptor:
    """The message of a field that has one."""
    if field.message_type is None:
        raise TypeError(f"{field.full_name} is no message")
    found: Descriptor = field.message_type
    return found


def is_nested(field: FieldDescriptor) -> bool:
    """True for a message whose fields can be given one by one."""
    message = field.message_type
    return bool(message and not field.is_repeated and message.full_name not in _SINGLE and message.full_name not in _OPEN)


def kind(field: FieldDescriptor) -> str:
    """What one value of the field is, in a word; what help shows as its placeholder."""
    if is_map(field):
        return "key=value"
    if field.enum_type:
        return "choice"
    if field.message_type:
        return _SINGLE.get(field.message_type.full_name, "json")
    if field.type in _INTEGERS:
        return "integer"
    if field.type in _FLOATS:
        return "number"
    return {_T.TYPE_BOOL: "boolean", _T.TYPE_BYTES: "bytes"}.get(field.type, "text")


def choices(enum: EnumDescriptor) -> dict[str, str]:
    """The values of an enum as people type them ("balanced") with their names ("STRATEGY_BALANCED"); not the unspecified one."""
    names = [value.name for value in enum.values]
    prefix = _prefix(names)
    found = {name.removeprefix(prefix).lower().replace("_", "-"): name for name in names}
    return {short: name for short, name in found.items() if short != "unspecified"}


def _prefix(names: list[str]) -> str:
    """The words that all names begin with."""
    first, last = min(names), max(names)
    same = next((index for index, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[: first.rfind("_", 0, same) + 1]


def parse(field: FieldDescriptor, text: str) -> Any:
    """One value of the field (of a repeated one: one element; of a map: a dictionary of one pair)."""
    if is_map(field):
        return _pair(field, text)
    if field.enum_type:
        return _choice(field.enum_type, text)
    return _PARSERS[kind(field)](text)


def _pair(field: FieldDescriptor, text: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        found: dict[str, Any] = _object(text)
        return found
    key, sign, value = text.partition("=")
    if not sign:
        raise ValueError("write key=value")
    return {key: parse(map_value(field), value)}


def _choice(enum: EnumDescriptor, text: str) -> Any:
    known = choices(enum)
    short = text.lower().replace("_", "-")
    if short in known:
        return known[short]
    if any(text.upper() == value.name for value in enum.values):
        return text.upper()
    raise ValueError(f"choose one of: {', '.join(known)}")


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError("write true or false")
    return text.lower() in _TRUE


def _integer(text: str) -> int:
    try:
        return int(text.replace("_", ""))
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _number(text: str) -> float | str:
    if text in {"NaN", "Infinity", "-Infinity"}:
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _bytes(text: str) -> str:
    """Bytes are given as text, or by the name of a file."""
    if text.startswith("@"):
        return base64.b64encode(read_file(text[1:])).decode()
    return base64.b64encode(text.encode()).decode()


def read_file(path: str) -> bytes:
    """The bytes of a file that was named on the command line."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def _duration(text: str) -> str:
    if _SECONDS.match(text):
        return text
    return f"{Decimal(str(duration(text).total_seconds())):f}s"


def moment(text: str, now: datetime) -> str:
    """A time: RFC 3339, a day, "now", or so long before or after now ("-10m", "+1h")."""
    if text == "now":
        return rfc3339(now)
    if match := _AGO.match(text):
        away = duration(match[2])
        return rfc3339(now - away if match[1] == "-" else now + away)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError('write a time of RFC 3339 ("2026-11-26T08:00:00Z"), a day, "now", or "-10m" for ten minutes ago') from None
    # text with an offset goes as it is: it may have nanoseconds
    return text if given.tzinfo else rfc3339(given.astimezone(UTC))


def rfc3339(time: datetime) -> str:
    """A time as proto3 JSON has it."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _time(text: str) -> str:
    return moment(text, datetime.now(UTC))


def _money(text: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        found: dict[str, Any] = _object(text)
        return found
    match = _MONEY.match(text.strip())
    if not match or bool(match[1]) == bool(match[3]):
        raise ValueError('write an amount and a currency, e.g. "5.00 USD"')
    try:
        amount = Decimal(match[2])
    except InvalidOperation:
        raise ValueError(f"{match[2]!r} is not an amount") from None
    whole = int(amount)
    return {"currencyCode": (match[1] or match[3]).upper(), "units": str(whole), "nanos": int((amount - whole) * _NANOS)}


def _json(text: str) -> Any:
    """JSON, or a file of it."""
    raw = read_file(text[1:]).decode() if text.startswith("@") else text
    try:
        return json.loads(raw)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}") from error


def _object(text: str) -> Any:
    value = _json(text)
    if not isinstance(value, dict):
        raise ValueError("write a JSON object")  # noqa: TRY004 - it is a value to correct, not a type
    return value


_PARSERS: dict[str, Callable[[str], Any]] = {
    "text": str,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "bytes": _bytes,
    "time": _time,
    "duration": _duration,
    "names": str,
    "money": _money,
    "json": _json,
}
