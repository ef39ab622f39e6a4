"""Requests from what was typed: JSON, files, stdin, field=value, options; put together in this order, later ones win."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from mesh.cli import values
from mesh.cli.console import Code, Failure
from mesh.cli.schema import HTTP_BODY, REQUEST_ID, Rpc, Schema

STDIN = "-"
_STRUCT = "google.protobuf.Struct"
_HOW = "write field=value, a JSON object, @file, or - for stdin"
_JSON = "application/json"


def build(schema: Schema, rpc: Rpc, words: Sequence[str], options: dict[str, Any] | None = None) -> Message:
    """One request out of the words of a command line and the values of its options; Failure for what does not fit."""
    request = of_message(schema, rpc.request, list(_with_names(rpc, words)), options)
    _complete(request)
    return request


def _with_names(rpc: Rpc, words: Sequence[str]) -> Iterator[str]:
    """The words with names before those that have none: these are what the RPC's path names, in its order."""
    places = iter(rpc.places)
    for word in words:
        plain = word != STDIN and not word.startswith(("{", "[", "@")) and "=" not in word
        place = next(places, None) if plain else None
        yield f"{place}={word}" if place else word


def of_message(schema: Schema, message: Descriptor | str, words: Sequence[str], options: dict[str, Any] | None = None) -> Message:
    """A message, by descriptor or full name, out of words and options."""
    made = schema.new(message)
    for piece in (*_pieces(made.DESCRIPTOR, words), options or {}):  # type: ignore[arg-type] # two stubs of one class
        _merge(schema, made, piece)
    return made


def stream(schema: Schema, rpc: Rpc, words: Sequence[str], options: dict[str, Any] | None = None) -> Iterator[Message]:
    """The requests of a client stream: one a line of stdin, one a JSON object, or one out of fields."""
    if STDIN in words:
        yield from (build(schema, rpc, (), _object(line, "a line of stdin")) for line in sys.stdin if line.strip())
        return
    objects = [word for word in words if _is_json(word)]
    if objects:
        yield from (build(schema, rpc, [word], options) for word in objects)
        return
    yield build(schema, rpc, words, options)


def _is_json(word: str) -> bool:
    return word.startswith(("{", "@"))


def _pieces(message: Descriptor, words: Sequence[str]) -> Iterator[dict[str, Any]]:
    fields: dict[str, Any] = {}
    for word in words:
        if word == STDIN:
            yield _object(sys.stdin.read(), "stdin")
        elif word.startswith("@"):
            yield _object(file(word[1:]), word[1:])
        elif word.startswith("{"):
            yield _object(word, "the request")
        else:
            _assign(message, fields, word)
    yield fields


def file(path: str) -> str:
    """The text of a file that was named on the command line; Failure when it cannot be read."""
    try:
        return values.read_file(path).decode()
    except ValueError as error:
        raise Failure(str(error), "give a file of JSON, or - for stdin", Code.USAGE) from error


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise Failure(f"{where} is not JSON: {error}", _HOW, Code.USAGE) from error
    if not isinstance(given, dict):
        raise Failure(f"{where} is not a JSON object", _HOW, Code.USAGE)
    return given


def _assign(message: Descriptor, fields: dict[str, Any], word: str) -> None:
    path, sign, text = word.partition("=")
    if not sign:
        raise Failure(f"{word!r} is no field=value", _HOW, Code.USAGE)
    try:
        put(message, fields, path, text)
    except ValueError as error:
        raise Failure(f"{path}: {error}", f"its fields: {_fields(message)}", Code.USAGE) from error


def put(message: Descriptor, fields: dict[str, Any], path: str, text: str) -> None:
    """Sets the value at a dotted path ("constraints.max_cost"); ValueError for a path or a value that does not fit."""
    name, _, rest = path.partition(".")
    field = find(message, name)
    if not rest:
        _set(field, fields, text)
    elif values.is_map(field):
        fields.setdefault(field.name, {})[rest] = values.parse(values.map_value(field), text)
    elif field.message_type and field.message_type.full_name == _STRUCT:
        _put_open(fields.setdefault(field.name, {}), rest, text)
    elif field.message_type and not field.is_repeated:
        put(field.message_type, fields.setdefault(field.name, {}), rest, text)
    else:
        raise ValueError(f"{field.name} has no fields below it; write it as JSON")


def _set(field: FieldDescriptor, fields: dict[str, Any], text: str) -> None:
    if values.is_map(field):
        fields.setdefault(field.name, {}).update(values.parse(field, text))
    elif field.is_repeated:
        fields.setdefault(field.name, []).extend(_elements(field, text))
    else:
        fields[field.name] = values.parse(field, text)


def _elements(field: FieldDescriptor, text: str) -> list[Any]:
    """One element, or a JSON list of them."""
    if text.lstrip().startswith("["):
        try:
            given = json.loads(text)
        except json.JSONDecodeError:
            given = None
        if isinstance(given, list):
            return given
    return [values.parse(field, text)]


def _put_open(fields: dict[str, Any], path: str, text: str) -> None:
    """Inside a Struct there is no type to go by: what is JSON is taken as JSON, else as text."""
    name, _, rest = path.partition(".")
    if rest:
        _put_open(fields.setdefault(name, {}), rest, text)
        return
    try:
        fields[name] = json.loads(text)
    except json.JSONDecodeError:
        fields[name] = text


def find(message: Descriptor, name: str) -> FieldDescriptor:
    """A field by its name in any of its spellings: focus_area, focusArea, focus-area; ValueError names near ones."""
    plain = name.replace("-", "_")
    for field in message.fields:
        if name == field.json_name or plain == field.name:
            found: FieldDescriptor = field
            return found
    known = [field.name for field in message.fields]
    near = difflib.get_close_matches(plain, known, n=3) or known
    raise ValueError(f"there is no such field; {'did you mean' if len(near) < len(known) else 'there are'} {', '.join(near)}")


def _merge(schema: Schema, request: Message, piece: dict[str, Any]) -> None:
    if not piece:
        return
    try:
        json_format.ParseDict(piece, request, descriptor_pool=schema.pool)
    except (json_format.ParseError, TypeError) as error:
        name, fields = request.DESCRIPTOR.name, _fields(request.DESCRIPTOR)  # type: ignore[arg-type] # two stubs of one class
        raise Failure(f"that is no {name}: {error}", f"its fields: {fields}", Code.USAGE) from error


def _fields(message: Descriptor) -> str:
    return ", ".join(f"{field.name} ({values.kind(field)})" for field in message.fields) or "none"


def _complete(request: Message) -> None:
    """What a caller need not say: an id that makes a write safe to repeat, and what a body is."""
    if REQUEST_ID in request.DESCRIPTOR.fields_by_name and not getattr(request, REQUEST_ID):
        setattr(request, REQUEST_ID, str(uuid4()))
    if request.DESCRIPTOR.full_name == HTTP_BODY and not getattr(request, "content_type"):  # noqa: B009 - a message of the pool has no type
        setattr(request, "content_type", _JSON)  # noqa: B010 - the same
