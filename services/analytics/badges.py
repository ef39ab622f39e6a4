"""Badge rules: data that says which events count, how, and up to where; progress never falls."""

import math
import operator
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any

# Reads a field of an event by its dotted path; None when it has none.
Lookup = Callable[[str], object]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
_LONGEST_ITEM = 256


class RuleError(ValueError):
    """A rule file that cannot be used; the message says which badge and what would be right."""


class Kind(Enum):
    """How a rule counts."""

    COUNT = "count"
    DISTINCT = "distinct"
    MAX = "max"
    STREAK = "streak"


@dataclass(frozen=True)
class Condition:
    """A field compared with a value of the rule file."""

    field: str
    op: str
    value: object

    def holds(self, lookup: Lookup) -> bool:
        """True when the event has the field and it compares so; a field of another kind never does."""
        found = lookup(self.field)
        if found is None:
            return False
        try:
            return _COMPARE[self.op](found, self.value)
        except TypeError:
            return False

    def __str__(self) -> str:
        """As a person would write it, e.g. "mean_score >= 0.9"."""
        return f"{self.field} {self.op} {self.value}"


@dataclass(frozen=True)
class Rule:
    """One badge and what it takes."""

    id: str
    name: str
    description: str
    kind: Kind
    events: tuple[str, ...]
    target: float
    field: str = ""
    conditions: tuple[Condition, ...] = ()
    user_field: str = "user_id"

    @property
    def fields(self) -> list[str]:
        """The paths that it reads from an event's data."""
        paths = [self.user_field, self.field, *(condition.field for condition in self.conditions)]
        return [path for path in paths if path and not path.startswith("event.")]

    def matches(self, lookup: Lookup) -> bool:
        """True when all conditions hold."""
        return all(condition.holds(lookup) for condition in self.conditions)


@dataclass(frozen=True)
class Progress:
    """Where a user stands with a rule. `items` are distinct values or days, for the kinds that need them."""

    value: float = 0.0
    items: frozenset[str] = frozenset()

    def reached(self, rule: Rule) -> bool:
        """True when the badge is earned."""
        return self.value >= rule.target


def advance(rule: Rule, progress: Progress, lookup: Lookup, time: datetime) -> Progress:
    """Progress after one more event that matches the rule. The order of events does not matter; the value never falls."""
    match rule.kind:
        case Kind.COUNT:
            return replace(progress, value=progress.value + 1)
        case Kind.MAX:
            found = lookup(rule.field)
            if isinstance(found, int | float) and math.isfinite(found):
                return replace(progress, value=max(progress.value, float(found)))
            return progress
        case Kind.DISTINCT:
            return _with_item(progress, _item(lookup(rule.field)), lambda items, _: len(items))
        case Kind.STREAK:
            return _with_item(progress, time.astimezone(UTC).date().isoformat(), run_around)


def _item(found: object) -> str:
    return "" if found is None else str(found)[:_LONGEST_ITEM]


def _with_item(progress: Progress, item: str, measure: Callable[[frozenset[str], str], int]) -> Progress:
    if not item or item in progress.items:
        return progress
    items = progress.items | {item}
    return Progress(max(progress.value, float(measure(items, item))), items)


def run_around(days: frozenset[str], day: str) -> int:
    """Length of the run of days in a row (ISO dates) that holds `day`."""
    return 1 + _steps(days, day, -1) + _steps(days, day, 1)


def _steps(days: frozenset[str], day: str, direction: int) -> int:
    steps, current = 0, date.fromisoformat(day)
    while (current := current + timedelta(days=direction)).isoformat() in days:
        steps += 1
    return steps


def parse(text: str) -> list[Rule]:
    """The rules of a rule file (TOML); RuleError for anything that is not a rule."""
    try:
        tables = tomllib.loads(text).get("badge", [])
    except tomllib.TOMLDecodeError as error:
        raise RuleError(f"the badge rules are not valid TOML: {error}") from error
    if not isinstance(tables, list):
        raise RuleError("write each badge as a table of its own: [[badge]]")
    rules = [_rule(table) for table in tables]
    twice = {rule.id for rule in rules if sum(other.id == rule.id for other in rules) > 1}
    if twice:
        raise RuleError(f"badge {min(twice)!r} stands twice; an id is for ever and for one rule")
    return rules


def _rule(table: Mapping[str, Any]) -> Rule:
    name = table.get("id", "(without id)")
    try:
        rule = Rule(
            id=str(table["id"]),
            name=str(table["name"]),
            description=str(table["description"]),
            kind=Kind(table["kind"]),
            events=_texts(table["events"]),
            target=float(table["target"]),
            field=str(table.get("field", "")),
            conditions=tuple(Condition(str(c["field"]), str(c["op"]), c["value"]) for c in table.get("where", [])),
            user_field=str(table.get("user_field", "user_id")),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise RuleError(f"badge {name!r}: {error!r}; needed are id, name, description, kind, events, target") from error
    _check(rule, set(table))
    return rule


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("events must be a list of event types")
    return tuple(map(str, value))


def _check(rule: Rule, keys: Iterable[str]) -> None:
    known = {"id", "name", "description", "kind", "events", "target", "field", "where", "user_field"}
    if unknown := sorted(set(keys) - known):
        raise RuleError(f"badge {rule.id!r} has an unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}")
    if rule.kind in (Kind.DISTINCT, Kind.MAX) and not rule.field:
        raise RuleError(f"badge {rule.id!r} is of kind {rule.kind.value} and needs a field")
    if not (math.isfinite(rule.target) and rule.target > 0):
        raise RuleError(f"badge {rule.id!r} needs a target above zero")
    for condition in rule.conditions:
        if condition.op not in _COMPARE:
            raise RuleError(f"badge {rule.id!r} compares with {condition.op!r}; known: {' '.join(_COMPARE)}")
