"""Notifications as data: which heard events become which message, and how long to wait before a message is tried again."""

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

LONGEST_EXPONENT = 40


class RuleError(ValueError):
    """A notification rule that cannot be used; the message says which and why."""


class Text(string.Template):
    """A text with places for an event's fields by their JSON names: "$displayName", nested ones as "${error.reason}"."""

    idpattern = r"(?a:[A-Za-z][A-Za-z0-9]*(?:\.[A-Za-z][A-Za-z0-9]*)*)"


@dataclass(frozen=True)
class Rule:
    """Events of this type become this text, if each field in `only` has one of the values given."""

    event_type: str
    text: Text
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def message(self, fields: Mapping[str, str]) -> str | None:
        """The text for an event's fields, None when the rule does not want it. A field that the event has not stays empty."""
        if any(fields.get(name, "") not in wanted for name, wanted in self.only.items()):
            return None
        known = dict.fromkeys(self.text.get_identifiers(), "")
        return self.text.substitute(known | {name: escape(value) for name, value in fields.items()})


def read(tables: Mapping[str, Any]) -> list[Rule]:
    """The rules of a file: one table an event type, with `text` and perhaps `only`. RuleError names the mistake."""
    return [_read_one(event_type, table) for event_type, table in sorted(tables.items())]


def _read_one(event_type: str, table: Any) -> Rule:
    if not isinstance(table, dict) or not isinstance(table.get("text"), str) or set(table) - {"text", "only"}:
        raise RuleError(f"[{event_type}] needs a text, may have `only`, and nothing else")
    text = Text(table["text"])
    if not text.is_valid():
        raise RuleError(f"[{event_type}] has a lone $ in its text; write $$ for a dollar sign")
    return Rule(event_type, text, _only(event_type, table.get("only", {})))


def _only(event_type: str, table: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(table, dict):
        raise RuleError(f"[{event_type}] `only` is a table of fields, each with the values that it may have")
    return {name: _texts(event_type, value) for name, value in table.items()}


def _texts(event_type: str, value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if unusable := [each for each in values if not isinstance(each, str | bool | int | float)]:
        raise RuleError(f"[{event_type}] `only` compares with texts, numbers, true and false, and not with {unusable[0]!r}")
    return tuple(map(shown, values))


def shown(value: object) -> str:
    """A plain value as texts show it and as `only` compares it: true, false, fractions with four digits."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def escape(text: str) -> str:
    """Slack's three control characters made harmless, so that no event's field can mention a channel or forge a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def backoff(attempt: int, base: timedelta, cap: timedelta, jitter: float) -> timedelta:
    """The wait after the n-th failed attempt (n ≥ 1): half of base·2^(n−1) is sure, half times `jitter` (0..1), never over the cap.

    "Equal jitter" of Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """
    whole = min(cap.total_seconds(), base.total_seconds() * 2 ** min(attempt - 1, LONGEST_EXPONENT))
    return timedelta(seconds=whole / 2 + whole / 2 * jitter)
