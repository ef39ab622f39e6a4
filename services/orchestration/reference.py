"""References in a node's input: "${nodes.a.output.id}", "${input.userId}", with defaults "${...:-text}" and "$${" for a plain "${".

A string that is one reference becomes the value itself, with its type; inside a longer string the value is put in as text.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROOTS = ("nodes", "input", "run")
_TOKEN = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_REFERENCE = re.compile(r"^\s*([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+|\[\d{1,6}\])*)\s*(?::-(.*))?$", re.DOTALL)
_STEP = re.compile(r"[A-Za-z0-9_-]+|\[(\d+)\]")
# nodes.<id>.output
_NODE_PATH = 3


class MalformedReference(ValueError):
    """A "${...}" that cannot be read; the message says what to write."""


class MissingValue(LookupError):
    """A reference to something that is not there, without a default."""


class InputTooLarge(ValueError):
    """An input that grows past the limit when its references are filled in."""


@dataclass(frozen=True)
class Reference:
    """A path from one of ROOTS, e.g. ("nodes", "a", "output", "cards", 0); `default` is None when there is none."""

    path: tuple[str | int, ...]
    default: str | None
    text: str


def parse(text: str) -> Reference:
    """Reads what stands between "${" and "}"."""
    match = _REFERENCE.match(text)
    if not match:
        raise MalformedReference(
            f"${{{text}}} is no reference; write e.g. ${{nodes.start.output.sessionId}} or ${{input.userId:-ada}}"
        )
    path = tuple(int(step[1]) if step[1] is not None else step[0] for step in _STEP.finditer(match[1]))
    if path[0] not in ROOTS or len(path) == 1:
        raise MalformedReference(f"${{{text}}} must begin with nodes.<id>.output, input.<name> or run.<name>")
    if path[0] == "nodes" and (len(path) < _NODE_PATH or path[2] != "output"):
        raise MalformedReference(f"${{{text}}}: of a node only its output can be used: ${{nodes.{path[1]}.output...}}")
    return Reference(path, match[2], text)


def find(value: Any) -> list[Reference]:
    """Every reference in a JSON value; MalformedReference for the first that cannot be read."""
    return list(_find(value))


def _find(value: Any) -> Iterator[Reference]:
    if isinstance(value, str):
        for token in _TOKEN.finditer(value):
            if token[0] != "$${":
                yield _of_token(token)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _find(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _find(item)


def _of_token(token: re.Match[str]) -> Reference:
    if token[1] is None:
        raise MalformedReference('"${" is not closed, or holds braces; write "$${" for a plain "${"')
    return parse(token[1])


def lookup(reference: Reference, scope: Mapping[str, Any]) -> Any:
    """The value of a reference; its default when it is missing, null or ""; MissingValue when there is no default either."""
    value: Any = scope
    for step in reference.path:
        value = _step(value, step)
    if value is not _MISSING and (reference.default is None or value not in (None, "")):
        return value
    if reference.default is None:
        raise MissingValue(f"${{{reference.text}}} has no value")
    return _json_or_text(reference.default)


_MISSING = object()


def _step(value: Any, step: str | int) -> Any:
    if isinstance(value, Mapping) and isinstance(step, str):
        return value.get(step, _MISSING)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return _MISSING


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class Resolver:
    """Fills references in from a scope {"nodes": {id: {"output": ...}}, "input": ..., "run": ...}, up to a number of characters."""

    def __init__(self, scope: Mapping[str, Any], limit: int) -> None:
        self._scope = scope
        self._limit = limit
        self._left = limit

    def resolve(self, value: Any) -> Any:
        """The value with its references filled in; MissingValue or InputTooLarge when that cannot be."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {name: self.resolve(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.resolve(item) for item in value]
        return value

    def _text(self, text: str) -> Any:
        whole = _TOKEN.fullmatch(text)
        if whole and whole[0] != "$${":
            value = lookup(_of_token(whole), self._scope)
            self._spend(_as_text(value))
            return value
        return _TOKEN.sub(self._embed, text)

    def _embed(self, token: re.Match[str]) -> str:
        if token[0] == "$${":
            return "${"
        return self._spend(_as_text(lookup(_of_token(token), self._scope)))

    def _spend(self, text: str) -> str:
        self._left -= len(text)
        if self._left < 0:
            raise InputTooLarge(f"with its references filled in, the input is longer than {self._limit} characters")
        return text


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def without_references(value: Any) -> Any:
    """The value as far as it is known before a run: what holds a reference becomes null in objects and is left out of lists."""
    if isinstance(value, Mapping):
        return {name: without_references(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_references(item) for item in value if not (isinstance(item, str) and find(item))]
    if isinstance(value, str):
        return None if find(value) else value.replace("$${", "${")
    return value
