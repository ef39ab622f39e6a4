"""Answers: for people lists as tables and the rest as lines of name and value, indented like YAML; for programs proto3 JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

import click
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from mesh.cli import tables, values
from mesh.cli.console import Cell, Console
from mesh.cli.schema import HTTP_BODY, Schema

_NANOS = 1_000_000_000
_ANY, _STRUCT, _LIST, _VALUE = (f"google.protobuf.{name}" for name in ("Any", "Struct", "ListValue", "Value"))
_OPEN = {_ANY, _STRUCT, _LIST, _VALUE}
_STEP = "  "
# a table's cell longer than this is cut; --json has all of it
_LONGEST_CELL = 48
# more elements than this are easier to read as a table, though it leaves out what lies deeper
_FEW = 3
_STYLES = {
    **dict.fromkeys(("serving", "active", "succeeded", "completed", "ok", "healthy", "available"), "green"),
    **dict.fromkeys(("failed", "crashed", "not-serving", "unhealthy", "dead", "error"), "red"),
    **dict.fromkeys(("starting", "paused", "running", "degraded", "stopped", "pending"), "yellow"),
}


def style_of(state: str) -> str:
    """The colour of a state; "" for a word that is none."""
    return _STYLES.get(state, "")


def show(console: Console, schema: Schema, message: Message) -> None:
    """Writes one answer to stdout."""
    if message.DESCRIPTOR.full_name == HTTP_BODY:
        _body(console, message)
    elif console.json:
        console.value(as_json(schema, message))
    elif (field := listed(message)) is not None:
        _table(console, schema, message, field)
    else:
        click.echo("\n".join(lines(schema, message)) or "done")


def show_part(console: Console, schema: Schema, message: Message, *, first: bool) -> None:
    """Writes one answer of a stream: a line of JSON, or its lines after a separator."""
    if console.json and message.DESCRIPTOR.full_name != HTTP_BODY:
        console.line(as_json(schema, message))
    elif message.DESCRIPTOR.full_name == HTTP_BODY:
        _body(console, message)
    else:
        separator = [] if first else ["---"]
        click.echo("\n".join([*separator, *lines(schema, message)]))


def as_json(schema: Schema, message: Message) -> dict[str, Any]:
    """The message as the door answers it over REST: every plain field is there."""
    try:
        return _dictionary(schema, message, fill=True)
    except (TypeError, json_format.Error):
        # an Any of a type that these contracts do not have
        return _opaque(schema, message)


def compact(schema: Schema, message: Message) -> dict[str, Any]:
    """The message as JSON without what is empty."""
    try:
        return _dictionary(schema, message, fill=False)
    except (TypeError, json_format.Error):
        return _opaque(schema, message)


def _dictionary(schema: Schema, message: Message, *, fill: bool) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(
        message, always_print_fields_with_no_presence=fill, descriptor_pool=schema.pool
    )
    return found


def _opaque(schema: Schema, message: Message) -> dict[str, Any]:
    """The message with the data of unknown types as bytes."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type and field.message_type.full_name == _ANY:
            found[field.json_name] = {"@type": value.type_url, "value": base64.b64encode(value.value).decode()}
        elif field.message_type and not field.is_repeated:
            found[field.json_name] = as_json(schema, value)
        elif field.message_type and not values.is_map(field):
            found[field.json_name] = [as_json(schema, each) for each in value]
        else:
            part = type(message)()
            _copy(field, message, part)
            found |= _dictionary(schema, part, fill=False)
    return found


def _copy(field: FieldDescriptor, source: Message, target: Message) -> None:
    target.CopyFrom(source)
    for other, _ in source.ListFields():
        if other.name != field.name:
            target.ClearField(other.name)


def _body(console: Console, message: Any) -> None:
    """A body that is no message: as it is, or, for programs, as JSON."""
    kind, text = message.content_type, message.data.decode(errors="replace")
    if not console.json:
        console.write(text)
    elif "json" in kind and (value := _value(text)) is not None:
        console.value(value)
    else:
        console.value({"contentType": kind, "data": text})


def _value(text: str) -> Any:
    """The value of a JSON text; None for one of several pieces of it, as a large answer comes."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def listed(message: Message) -> FieldDescriptor | None:
    """The field that makes an answer a list: its first one, when that repeats messages."""
    first = next(iter(fields(message)), None)
    if first is None or not first.is_repeated or not first.message_type or values.is_map(first):
        return None
    return first


def fields(message: Message) -> list[FieldDescriptor]:
    """The fields of a message, in order."""
    return list(message.DESCRIPTOR.fields)  # type: ignore[arg-type] # two stubs of one class


def _table(console: Console, schema: Schema, message: Message, field: FieldDescriptor) -> None:
    if rows := list(getattr(message, field.name)):
        console.table(*_grid(schema, field, rows))
    else:
        console.say(f"no {field.name.replace('_', ' ')}")
    rest = type(message)()
    rest.CopyFrom(message)
    rest.ClearField(field.name)
    for line in lines(schema, rest):
        console.say(line)


def _grid(schema: Schema, field: FieldDescriptor, rows: Sequence[Message]) -> tuple[list[str], list[list[Cell]]]:
    """Columns and cells of a list of messages: what is one value, and not empty in every row."""
    of_rows = values.message_of(field).fields
    columns = [each for each in of_rows if _is_column(each) and any(_given(row, each) for row in rows)]
    # rows that have nothing but lists would be shown as nothing at all
    columns = columns or [each for each in of_rows if _is_list(each) and any(getattr(row, each.name) for row in rows)]
    return [each.name for each in columns], [[_cell(schema, row, each) for each in columns] for row in rows]


def _is_column(field: FieldDescriptor) -> bool:
    return not field.is_repeated and not values.is_nested(field) and values.kind(field) not in {"json", "bytes"}


def _is_list(field: FieldDescriptor) -> bool:
    return field.is_repeated and (not field.message_type or field.message_type.full_name in _SCALARS)


def _given(message: Message, field: FieldDescriptor) -> bool:
    if field.has_presence:
        return message.HasField(field.name)
    return bool(getattr(message, field.name))


def _cell(schema: Schema, message: Message, field: FieldDescriptor) -> Cell:
    value = getattr(message, field.name)
    if field.is_repeated:
        shown = ", ".join(scalar(schema, field, item) for item in value[:_FEW])
        return Cell(shown, shown if len(value) <= _FEW else f"{shown}, … of {len(value)}")
    if (field.has_presence and not message.HasField(field.name)) or (not field.message_type and _says_nothing(field, value)):
        return Cell(None, "")
    text = " ".join(scalar(schema, field, value).split())
    if field.message_type and field.message_type.full_name == "google.protobuf.Timestamp":
        text = f"{text[:19]}Z"
    shown = text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"
    numeric = not field.message_type and not field.enum_type and isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(value if numeric else text, shown, style_of(text) if field.enum_type else "")


def lines(schema: Schema, message: Message) -> Iterator[str]:
    """A message as lines of name and value; empty texts, lists and absent messages are left out."""
    for field in fields(message):
        if field.is_repeated:
            yield from _repeated(schema, field, getattr(message, field.name))
        elif field.has_presence and not message.HasField(field.name):
            continue
        elif field.has_presence or not _says_nothing(field, getattr(message, field.name)):
            yield from _named(schema, field, field.name, getattr(message, field.name))


def _says_nothing(field: FieldDescriptor, value: Any) -> bool:
    """An empty text, or a choice that was not made; 0 and false do say something."""
    if field.enum_type:
        return bool(value == 0 and field.enum_type.values_by_number[0].name.endswith("_UNSPECIFIED"))
    return value in ("", b"")


def _repeated(schema: Schema, field: FieldDescriptor, items: Any) -> Iterator[str]:
    if not items:
        return
    if values.is_map(field):
        value = values.map_value(field)
        yield f"{field.name}:"
        for key in sorted(items):
            yield from _indented(_named(schema, value, str(key), items[key]))
    elif field.message_type and field.message_type.full_name not in _SCALARS:
        yield f"{field.name}:"
        if len(items) > _FEW and field.message_type.full_name not in _OPEN:
            yield from _indented(tables.plain(*tables.fitting(*_grid(schema, field, items))))
            return
        for item in items:
            yield from _element(list(_inside(schema, item)))
    else:
        texts = [scalar(schema, field, item) for item in items]
        short = sum(map(len, texts)) < 2 * _LONGEST_CELL and not any("\n" in text for text in texts)
        yield from [f"{field.name}: {', '.join(texts)}"] if short else [f"{field.name}:", *(f"{_STEP}- {text}" for text in texts)]


def _element(found: Sequence[str]) -> Iterator[str]:
    first, *rest = found or ["{}"]
    yield f"{_STEP}- {first}"
    yield from (f"{_STEP}{_STEP}{line}" for line in rest)


def _indented(found: Iterator[str]) -> Iterator[str]:
    return (f"{_STEP}{line}" for line in found)


def _named(schema: Schema, field: FieldDescriptor, name: str, value: Any) -> Iterator[str]:
    if field.message_type and field.message_type.full_name not in _SCALARS:
        inside = list(_inside(schema, value))
        yield f"{name}:" if inside else f"{name}: {{}}"
        yield from _indented(iter(inside))
        return
    text = scalar(schema, field, value)
    if "\n" in text:
        yield f"{name}: |"
        yield from _indented(iter(text.splitlines()))
    else:
        yield f"{name}: {text}"


def _inside(schema: Schema, message: Any) -> Iterator[str]:
    """The lines of a nested message; an Any shows what it carries, open JSON is shown as JSON."""
    kind = message.DESCRIPTOR.full_name
    if kind == _ANY:
        yield f"type: {message.TypeName()}"
        inner = unpacked(schema, message)
        yield from lines(schema, inner) if inner is not None else [f"bytes: {base64.b64encode(message.value).decode()}"]
    elif kind in _OPEN:
        given = json.dumps(_plain(json_format.MessageToDict(message, descriptor_pool=schema.pool)), ensure_ascii=False, indent=2)
        yield from given.splitlines()
    else:
        yield from lines(schema, message)


def _plain(value: Any) -> Any:
    """Open JSON knows floats only; a person reads 3 more easily than 3.0."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def unpacked(schema: Schema, packed: Any) -> Message | None:
    """The message that an Any carries; None when the contracts do not know it or the bytes are not one."""
    try:
        return type(schema.new(packed.TypeName())).FromString(packed.value)
    except (KeyError, DecodeError):
        return None


_SCALARS = {"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask", values.MONEY}


def scalar(schema: Schema, field: FieldDescriptor, value: Any) -> str:
    """One value on one line, as a person reads it."""
    if field.message_type:
        return money(value) if field.message_type.full_name == values.MONEY else str(value.ToJsonString())
    if field.enum_type:
        name = getattr(field.enum_type.values_by_number.get(value), "name", str(value))
        return next((short for short, known in values.choices(field.enum_type).items() if known == name), "unspecified")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def money(value: Any) -> str:
    """An amount with its currency, e.g. "0.0042 USD"."""
    total = value.units * _NANOS + value.nanos
    whole, part = divmod(abs(total), _NANOS)
    decimals = f"{part:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if total < 0 else ''}{whole}.{decimals} {value.currency_code}".strip()
