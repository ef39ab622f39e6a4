"""What a caller of one of our doors asked, read from a JSON body field by field: what we cannot honour is refused by its name."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from services.provider.chat import Chat, Image
from services.provider.texts import Texts

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,(.*)", re.DOTALL)
_LONGEST_NAME = 256
_PLACE = re.compile(r"\[\d+\]")
_EMPTY: tuple[Any, ...] = ("", [], {}, False)


class Asked(Struct, frozen=True):
    """A request at a door. `with_usage`: the caller wants the usage of a stream; `user` is whom the caller names.

    `unread` are fields inside of others that nobody here has a word for, as a path without places: "messages.annotations".
    `shown` are fields that the door's dialect shows again in its answer.
    """

    chat: Chat
    model: str
    stream: bool = False
    with_usage: bool = False
    user: str = ""
    unread: tuple[str, ...] = ()
    shown: Mapping[str, Any] = field(default_factory=dict)


class AskedTexts(Struct, frozen=True):
    """A request for vectors at a door. `packed`: each as base64 of its 32-bit floats; `user` is whom the caller names."""

    texts: Texts
    model: str
    user: str = ""
    packed: bool = False


class Unreadable(ValueError):
    """A request that is refused: the field that is wrong, and what would be right."""

    def __init__(self, field: str, message: str, code: str = "invalid_value") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.code = code


class Fields:
    """A JSON object of a request; null counts as not given, as the vendors have it."""

    def __init__(self, value: Any, where: str = "", outer: "Fields | None" = None) -> None:
        if not isinstance(value, dict):
            raise Unreadable(where, "must be an object", "invalid_type")
        self._given: dict[str, Any] = {name: field for name, field in value.items() if field is not None}
        self._where = where
        # every object inside of the outermost one
        self._inner: list[Fields] = [] if outer is None else outer._inner
        if outer is not None:
            self._inner.append(self)

    def within(self, value: Any, where: str) -> "Fields":
        """An object inside of this one; `where` is its whole path."""
        return Fields(value, where, self)

    def unread(self) -> tuple[str, ...]:
        """Paths, without places, of what was given inside of other fields and read by nobody; what is empty says nothing."""
        left = [f"{inner._where}.{name}" for inner in self._inner for name, value in inner._given.items() if value not in _EMPTY]
        return tuple(dict.fromkeys(_PLACE.sub("", path) for path in left)) if left else ()

    def path(self, name: str) -> str:
        """The field as a caller writes it."""
        return f"{self._where}.{name}" if self._where else name

    def has(self, name: str) -> bool:
        """Whether the field is given."""
        return name in self._given

    def holds_only(self, name: str) -> bool:
        """Whether nothing but this field is left to be read."""
        return self._given.keys() == {name}

    def take(self, name: str) -> Any:
        """The field as it came; None without one. It then counts as read."""
        return self._given.pop(name, None)

    def text(self, name: str, *, required: bool = False, most: int | None = None) -> str:
        """A text field; "" without one."""
        value = self._given.pop(name, None)
        if value is None:
            if required:
                raise Unreadable(self.path(name), "is required", "missing_required_parameter")
            return ""
        if not isinstance(value, str):
            raise Unreadable(self.path(name), "must be a string", "invalid_type")
        if most is not None and len(value) > most:
            raise Unreadable(self.path(name), f"must be at most {most} characters")
        return value

    def name(self, name: str) -> str:
        """A name that must be there."""
        value = self.text(name, required=True, most=_LONGEST_NAME)
        if not value:
            raise Unreadable(self.path(name), "must not be empty")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number within bounds."""
        value = self._given.pop(name, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Unreadable(self.path(name), "must be a number", "invalid_type")
        if not low <= value <= high:
            raise Unreadable(self.path(name), f"must be between {low} and {high}")
        return value

    def integer(self, name: str, low: int, high: int) -> int | None:
        """An integer within bounds."""
        value = self.number(name, low, high)
        if value is None:
            return None
        if not isinstance(value, int):
            raise Unreadable(self.path(name), "must be an integer", "invalid_type")
        return value

    def flag(self, name: str) -> bool | None:
        """True or false."""
        value = self._given.pop(name, None)
        if value is not None and not isinstance(value, bool):
            raise Unreadable(self.path(name), "must be true or false", "invalid_type")
        return value

    def items(self, name: str) -> list[Any]:
        """A list; empty without one."""
        value = self._given.pop(name, None)
        if value is not None and not isinstance(value, list):
            raise Unreadable(self.path(name), "must be a list", "invalid_type")
        return value or []

    def table(self, name: str) -> "Fields | None":
        """An object; None without one."""
        value = self._given.pop(name, None)
        return None if value is None else Fields(value, self.path(name), self)

    def mapping(self, name: str) -> dict[str, Any]:
        """An object as it came; empty without one."""
        value = self._given.pop(name, None)
        if value is not None and not isinstance(value, dict):
            raise Unreadable(self.path(name), "must be an object", "invalid_type")
        return value or {}

    def rest(self) -> dict[str, Any]:
        """What was not read yet."""
        return dict(self._given)

    def close(self) -> None:
        """All of it counts as read: it goes on as it came."""
        self._given.clear()

    def pass_over(self, *names: str) -> None:
        """Fields that say nothing that is not known, or that somebody reads elsewhere."""
        for name in names:
            self._given.pop(name, None)

    def refuse(self, name: str, why: str) -> None:
        """Refuses the field when it is given."""
        if name in self._given:
            raise Unreadable(self.path(name), why, "unsupported_parameter")

    def only(self) -> None:
        """Refuses whatever was not read."""
        for name in self._given:
            raise Unreadable(self.path(name), "is not known here", "unknown_parameter")


def texts_or_one(fields: Fields, name: str, most: int) -> tuple[str, ...]:
    """A text or a list of texts."""
    value = fields.take(name)
    found = [value] if isinstance(value, str) else value or []
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise Unreadable(fields.path(name), "must be a string or a list of strings", "invalid_type")
    if len(found) > most:
        raise Unreadable(fields.path(name), f"may hold at most {most}")
    return tuple(found)


def cache_of(fields: Fields) -> str:
    """How long the prompt up to here is to be kept, as Anthropic marks it; "" when it is not marked."""
    mark = fields.table("cache_control")
    if mark is None:
        return ""
    mark.pass_over("type")
    return mark.text("ttl") or "5m"


def image_of_url(url: str, where: str, detail: str = "") -> Image:
    """A picture from its URL. We never fetch it: the provider does, or has the bytes already."""
    if url.startswith("data:"):
        match = _DATA_URL.fullmatch(url)
        if match is None:
            raise Unreadable(where, "write it as data:image/png;base64,...")
        return Image(match[1], match[2], detail=detail)
    if not url.startswith(("https://", "http://")):
        raise Unreadable(where, "must be an http, https or data URL")
    return Image(url=url, detail=detail)


def own_fields(extra: Mapping[str, Any], dialect: str) -> dict[str, dict[str, Any]]:
    """Fields under their dialect; empty when there are none."""
    return {dialect: dict(extra)} if extra else {}
