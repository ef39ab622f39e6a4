"""Embeddings in the OpenAI dialect: asked of a provider, read from a caller, and written for one."""

import base64
import sys
from array import array
from collections.abc import Iterator
from typing import Any

from services.provider.chat import Usage
from services.provider.dialects.asked import AskedTexts, Fields, Unreadable, own_fields
from services.provider.dialects.base import encode, malformed, objects, own_extra, vector, whole
from services.provider.dialects.openai import answers
from services.provider.dialects.openai.requests import NAME
from services.provider.texts import Batch, Item, Texts, Vector, Vectors

PATH = "/embeddings"
# OpenAI's own limits of one request
BATCH = Batch(2048, 300_000)
_FORMATS = ("float", "base64")
_MOST_DIMENSIONS = 65_536
_MOST_TOKEN_ID = 10_000_000


def write(texts: Texts, model: str) -> dict[str, Any]:
    """The body of a request. Base64 is what the official client asks for; a far end that does not know it answers with numbers."""
    items = [item if isinstance(item, str) else list(item) for item in texts.items]
    body: dict[str, Any] = {"model": model, "input": items, "encoding_format": "base64"}
    body |= {"dimensions": texts.dimensions} if texts.dimensions else {}
    return {**body, **own_extra(texts, NAME)}


def read_answer(body: dict[str, Any]) -> Vectors:
    """The vectors by their index; CallFailedError when they are none."""
    if body.get("error"):
        raise answers.in_body_failure(body["error"])
    data = objects(body.get("data"))
    places = [item.get("index") for item in data]
    if any(place is not None for place in places):
        if sorted(map(whole, places)) != list(range(len(data))):
            raise malformed("the vectors do not say which text each belongs to")
        data.sort(key=lambda item: whole(item["index"]))
    made = tuple(_vector(item.get("embedding")) for item in data)
    return Vectors(made, _usage(body.get("usage")), str(body.get("model") or ""))


def _vector(value: Any) -> Vector:
    if not isinstance(value, str):
        return vector(value)
    try:
        made = array("f", base64.b64decode(value, validate=True))
    except ValueError as error:
        raise malformed("a vector is no base64 of 32-bit floats") from error
    return _little(made)


def _little(made: Vector) -> Vector:
    """The same, turned between this machine's order of bytes and that of the wire, which begins with the lowest."""
    if sys.byteorder == "big":
        made.byteswap()
    return made


def _usage(told: Any) -> Usage | None:
    """Some tell the total alone; zeros tell nothing."""
    counted = (whole(told.get("prompt_tokens")) or whole(told.get("total_tokens"))) if isinstance(told, dict) else 0
    return Usage(counted) if counted else None


def read(body: Any) -> AskedTexts:
    """A caller's request; Unreadable for what is wrong."""
    fields = Fields(body)
    model, user = fields.name("model"), fields.text("user", most=256)
    form = fields.text("encoding_format") or "float"
    if form not in _FORMATS:
        raise Unreadable("encoding_format", "must be float or base64")
    dimensions = fields.integer("dimensions", 1, _MOST_DIMENSIONS)
    items = _items(fields.take("input"))
    # what nobody read: goes to providers that speak this dialect, and is refused by name elsewhere
    texts = Texts(items, dimensions, own_fields(fields.rest(), NAME), own_fields({"user": user} if user else {}, NAME))
    return AskedTexts(texts, model, user, packed=form == "base64")


def _items(value: Any) -> tuple[Item, ...]:
    """A text, texts, the ids of one text's tokens, or lists of such ids."""
    if value is None:
        raise Unreadable("input", "is required", "missing_required_parameter")
    given = [value] if isinstance(value, str) or _is_ids(value) else value
    if not isinstance(given, list) or not given:
        raise Unreadable("input", "must be a text, a list of texts, a list of token ids, or a list of such lists", "invalid_type")
    if len(given) > BATCH.texts:
        raise Unreadable("input", f"may hold at most {BATCH.texts} texts")
    if all(isinstance(item, str) for item in given):
        if not all(given):
            raise Unreadable(f"input[{given.index('')}]", "must not be empty")
        return tuple(given)
    if not all(map(_is_ids, given)):
        raise Unreadable("input", "must hold texts alone or lists of token ids alone", "invalid_type")
    return tuple(map(tuple, given))


def _is_ids(value: Any) -> bool:
    """Whether it is the ids of a text's tokens."""
    return isinstance(value, list) and bool(value) and all(type(item) is int and 0 <= item <= _MOST_TOKEN_ID for item in value)


def write_answer(made: Vectors, model: str, input_tokens: int, *, packed: bool) -> Iterator[bytes]:
    """The list as the official client reads it, in pieces: millions of numbers written at once would let everybody else wait."""
    yield b'{"object":"list","data":['
    for index, item in enumerate(made.items):
        head = f'{"," if index else ""}{{"object":"embedding","index":{index},"embedding":'
        yield f"{head}{_packed(item) if packed else _plain(item)}}}".encode()
    usage = {"prompt_tokens": input_tokens, "total_tokens": input_tokens}
    yield f'],"model":{encode(model)},"usage":{encode(usage)}}}'.encode()


def _packed(made: Vector) -> str:
    return f'"{base64.b64encode(_little(array("f", made)).tobytes()).decode()}"'


def _plain(made: Vector) -> str:
    """Nine digits tell each 32-bit float from all others."""
    return f"[{','.join(map('%.9g'.__mod__, made))}]"
