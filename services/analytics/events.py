"""What analytics hears (every event: one row, and badges where a rule wants it) and what it tells."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from tooloo.analytics.v1 import analytics_events_pb2, health_pb2
from tooloo.event.v1.event_pb2 import Event

from mesh import contracts
from mesh.clock import from_us, to_us
from mesh.db import Transaction
from mesh.host import Host
from mesh.outbox import Fact
from services.analytics import badges, queries, series, wire
from services.analytics.badges import Kind, Lookup, Progress, Rule
from services.analytics.health import Band, Condition, Health, Transition
from services.analytics.settings import AnalyticsSettings
from services.analytics.span import HeardEvent
from services.analytics.store import heard, metrics, users
from services.analytics.store.users import Earned, Mastery

_CONDITIONS = {"service.started": Condition.UP, "service.unhealthy": Condition.DOWN, "service.stopped": Condition.STOPPED}
_DURATIONS = ("duration", "latency")
# names that can stand in the subject of an event
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_QUERY_LABELS = {"provider": "provider_id", "model": "model"}
_ENVELOPE = ("event.hour", "event.weekday", "event.source", "event.type")


class Listener:
    """Handles every event: `hear` is the handler for "*"."""

    def __init__(self, host: Host, rules: Sequence[Rule]) -> None:
        self._host = host
        self._settings = host.settings_of(AnalyticsSettings)
        self._rules = {name: [rule for rule in rules if name in rule.events] for rule in rules for name in rule.events}

    async def hear(self, tx: Transaction, event: Event, data: Message) -> None:
        """Keeps one event: a row that is folded later, a process's change, a skill's mastery, and progress towards badges."""
        seen = heard_event(event, data, self._host.clock.now())
        await heard.add_heard_event(tx, seen)
        if event.type in _CONDITIONS:
            await _hear_process(tx, data, _CONDITIONS[event.type], seen)
        if event.type == "mastery.changed" and seen.user_id:
            await _hear_mastery(tx, data, seen)
        if event.type in queries.TYPES:
            await self._hear_query(tx, event.type, data, seen.time_us)
        if event.type in self._rules:
            await self._award(tx, event, data, from_us(seen.time_us))

    async def _hear_query(self, tx: Transaction, event_type: str, data: Message, time_us: int) -> None:
        """Keeps how long an answer took, what it cost and whether it came; not of models beyond what the settings allow."""
        names = {label: str(field_value(data, field) or "") for label, field in _QUERY_LABELS.items()}
        if not all(map(_NAME.fullmatch, names.values())):
            return
        labels, most = series.canonical(names), self._settings
        for name, value in queries.values_of(event_type, lambda path: field_value(data, path)).items():
            if await metrics.find_series(tx, name, labels) is None:
                own, total = await metrics.count_series(tx, name)
                if own >= most.max_series_per_metric or total >= most.max_series:
                    continue
            latency = series.seconds_per_unit(name) is not None
            series_id = await metrics.touch_series(tx, name, labels, latency, time_us, time_us)
            await metrics.add_sample(tx, metrics.Sample(series_id, time_us, value))

    async def _award(self, tx: Transaction, event: Event, data: Message, time: datetime) -> None:
        lookup = _lookup(event, data, time)
        fitting: dict[str, list[Rule]] = defaultdict(list)
        for rule in self._rules[event.type]:
            user_id = lookup(rule.user_field)
            if isinstance(user_id, str) and _NAME.fullmatch(user_id) and rule.matches(lookup):
                fitting[user_id].append(rule)
        for user_id, rules in fitting.items():
            await self._advance(tx, user_id, rules, lambda rule, before: badges.advance(rule, before, lookup, time), event.id, time)

    async def _advance(
        self,
        tx: Transaction,
        user_id: str,
        rules: Sequence[Rule],
        advance: Callable[[Rule, Progress], Progress],
        event_id: str,
        time: datetime,
    ) -> None:
        values, earned = await users.standing(tx, user_id)
        moved: list[users.Moved] = []
        for rule in rules:
            if rule.id in earned:
                continue
            before = await _progress(tx, rule, user_id, values)
            after = advance(rule, before)
            if after != before:
                moved.append(users.Moved(user_id, rule.id, after.value, after.items - before.items))
            if after.reached(rule):
                await self._give(tx, Earned(user_id, rule.id, rule.name, rule.description, to_us(time), event_id))
        await users.put_progress(tx, moved)

    async def _give(self, tx: Transaction, earned: Earned) -> None:
        if await users.add_earned(tx, earned):
            await self._host.tell(tx, badge_earned(earned))


async def _progress(tx: Transaction, rule: Rule, user_id: str, values: Mapping[str, float]) -> Progress:
    items = await users.items(tx, user_id, rule.id) if rule.kind in (Kind.DISTINCT, Kind.STREAK) else frozenset[str]()
    return Progress(values.get(rule.id, 0.0), items)


def heard_event(event: Event, data: Message, now: datetime) -> HeardEvent:
    """What is kept of an event. A time in the future counts as now, so that no clock of another machine can fill later buckets."""
    now_us = to_us(now)
    time_us = max(0, min(event.time.ToMicroseconds(), now_us))
    # how long a model thinks says nothing about the health of the service that asked it, which durations are taken for
    name = "" if event.type in queries.TYPES else _duration_field(data.DESCRIPTOR)
    duration_us = None
    if name and data.HasField(name):
        duration_us = max(0, getattr(data, name).ToMicroseconds())
    return HeardEvent(event.type, event.source, _user_of(event, data), time_us, now_us - time_us, duration_us)


def _user_of(event: Event, data: Message) -> str:
    user_id = str(field_value(data, "user_id") or "") or event.attributes.get("user", "")
    return user_id if _NAME.fullmatch(user_id) else ""


@cache
def _duration_field(descriptor: Descriptor) -> str:
    """Name of the field that says how long something took; "" when the message has none."""
    for name in _DURATIONS:
        field = descriptor.fields_by_name.get(name)
        if field and field.message_type is Duration.DESCRIPTOR and not field.is_repeated:
            return name
    return ""


def _lookup(event: Event, data: Message, time: datetime) -> Lookup:
    envelope: dict[str, object] = dict(zip(_ENVELOPE, (time.hour, time.weekday(), event.source, event.type), strict=True))
    return lambda path: envelope[path] if path in envelope else field_value(data, path)


def field_value(message: Message, path: str) -> object:
    """The value at a dotted path of field names; None when there is none, or no single one.

    Enums give their value's name, Timestamps seconds since the epoch, Durations seconds.
    """
    found: object = message
    for name in path.split("."):
        if not isinstance(found, Message):
            return None
        field = found.DESCRIPTOR.fields_by_name.get(name)
        if field is None or field.is_repeated or (field.has_presence and not found.HasField(name)):
            return None
        found = _plain(field, getattr(found, name))
    return None if isinstance(found, Message) else found


def _plain(field: Any, value: object) -> object:
    if isinstance(value, Timestamp | Duration):
        return value.ToMicroseconds() / 1e6
    if field.enum_type is not None and isinstance(value, int):
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    return value


def problem_of(rule: Rule) -> str:
    """Why a rule can never be met by the events of the catalogue; "" when it can."""
    for name in rule.events:
        if name not in contracts.catalogue():
            return f"the catalogue has no event type {name!r}"
        descriptor = contracts.message_class(contracts.catalogue()[name].message).DESCRIPTOR
        for path in rule.fields:
            if not _has_path(descriptor, path):
                return f"{descriptor.full_name} has no field {path!r}"
    return ""


def _has_path(descriptor: Any, path: str) -> bool:
    for name in path.split("."):
        field = descriptor.fields_by_name.get(name) if descriptor else None
        if field is None:
            return False
        descriptor = field.message_type
    return True


async def _hear_process(tx: Transaction, data: Message, condition: Condition, seen: HeardEvent) -> None:
    service, process = str(field_value(data, "service") or ""), str(field_value(data, "process") or "")
    if _NAME.fullmatch(service):
        # what is later than now was heard before the clock was set back: in its time it would be taken for the newest
        await heard.forget_later_transitions(tx, service, process, seen.heard_us)
        if condition is Condition.UP and await heard.condition_of(tx, service, process) in (Condition.UP, Condition.STOPPED):
            # nothing is started twice: its manager was killed and began anew, and nobody told the end of what else it ran
            for other in await heard.other_processes(tx, service, process):
                await heard.add_transition(tx, service, Transition(other, Condition.STOPPED, seen.time_us))
        await heard.add_transition(tx, service, Transition(process, condition, seen.time_us))


async def _hear_mastery(tx: Transaction, data: Message, seen: HeardEvent) -> None:
    level, low = field_value(data, "after.level"), field_value(data, "after.level_low")
    if isinstance(level, float) and isinstance(low, float) and math.isfinite(level) and math.isfinite(low):
        domain, skill = str(field_value(data, "domain") or ""), str(field_value(data, "skill") or "")
        await users.put_mastery(tx, Mastery(seen.user_id, domain, skill, level, low, seen.time_us), seen.heard_us)


def metric_logged(name: str, value: float, labels: Mapping[str, str], time: Timestamp) -> Fact:
    """A value was logged."""
    message = analytics_events_pb2.MetricLogged(name=name, value=value, labels=labels, time=time)
    return Fact(message, f"metrics/{name}")


def badge_earned(earned: Earned) -> Fact:
    """A badge was earned."""
    message = analytics_events_pb2.BadgeEarned(
        user_id=earned.user_id,
        badge_id=earned.badge_id,
        name=earned.name,
        description=earned.description,
        event_id=earned.event_id,
    )
    return Fact(message, f"users/{earned.user_id}/badges/{earned.badge_id}", {"user": earned.user_id})


def health_changed(service: str, before: Band, after: Band, seen: Health) -> Fact:
    """A service's health crossed into another band."""
    message = analytics_events_pb2.HealthChanged(
        service=service,
        previous_band=health_pb2.HealthBand.ValueType(before),
        band=health_pb2.HealthBand.ValueType(after),
        score=seen.score or 0.0,
        parts=wire.health_parts(seen),
    )
    return Fact(message, f"services/{service}/health")
