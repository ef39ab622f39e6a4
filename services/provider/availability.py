"""What can be used now: providers, models and keys that rest, are held back by a breaker, or were taken out of rotation."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from services.provider.breaker import Breaker, Phase, Rule
from services.provider.cooldown import MEANINGS, SAYS_NOTHING, Cooldown, Meaning
from services.provider.failure import Failure, FailureKind
from services.provider.fallback import Candidate, Plan, Target
from services.provider.health import State


class Priority(enum.IntEnum):
    """The place that something has in the order of candidates; the numbers are those of the contract."""

    # by its score
    NORMAL = 1
    # a few trial calls at a time
    TRIAL = 2
    # none
    OUT = 3


class Cause(enum.IntEnum):
    """Why something is not available; the numbers are those of the contract."""

    OPERATOR = 1
    COOLDOWN = 2
    BREAKER = 3
    # its trial calls are on their way
    TRIAL = 4


class Resource(NamedTuple):
    """What can be out: a provider, one of its models, one of its keys, or a key with one model."""

    provider_id: str
    model: str = ""
    key_id: str = ""

    @property
    def text(self) -> str:
        """For people, and as the subject of events."""
        models = f"/models/{self.model}" if self.model else ""
        keys = f"/keys/{self.key_id}" if self.key_id else ""
        return f"providers/{self.provider_id}{models}{keys}"

    def within(self, whole: "Resource") -> bool:
        """Whether it is that resource or a part of it: a key with a model is part of both."""
        return self.provider_id == whole.provider_id and whole.model in ("", self.model) and whole.key_id in ("", self.key_id)


class Outcome(Struct, frozen=True):
    """How one attempt ended (failure None: well); lengths of time None: not measured."""

    target: Target
    key_id: str = ""
    failure: Failure | None = None
    latency: timedelta | None = None
    first_token: timedelta | None = None
    output_tokens: int = 0

    @property
    def meaning(self) -> Meaning:
        """What its failure says."""
        return SAYS_NOTHING if self.failure is None else MEANINGS[self.failure.kind]


class Drain(Struct, frozen=True):
    """Taken out of rotation by an operator; until None it is until they put it back."""

    reason: str
    since: datetime
    until: datetime | None = None


class Out(Struct, frozen=True):
    """What is not available, since when and until when (None: until someone acts), and why."""

    resource: Resource
    cause: Cause
    since: datetime
    until: datetime | None
    reason: str

    @property
    def text(self) -> str:
        """The same in a sentence."""
        until = "until somebody acts" if self.until is None else f"until {self.until.isoformat(timespec='seconds')}"
        return f"{self.resource.text} is out {until}: {self.reason}"


class Condition(Struct, frozen=True):
    """All that speaks against a resource; `why` is the failure that opened its breaker; `state` and `priority` were told last."""

    breaker: Breaker = field(default_factory=Breaker)
    why: str = ""
    cooldown: Cooldown | None = None
    drain: Drain | None = None
    state: State = State.AVAILABLE
    priority: Priority = Priority.NORMAL

    def out(self, resource: Resource, now: datetime) -> Out | None:
        """Why it is out; None when it takes calls, if only for a trial."""
        drain, cooldown, breaker = self.drain, self.cooldown, self.breaker
        if drain is not None and (drain.until is None or now < drain.until):
            return Out(resource, Cause.OPERATOR, drain.since, drain.until, f"taken out of rotation: {drain.reason}")
        if cooldown is not None and cooldown.lasts(now):
            reason = f"{cooldown.cause.name}: {cooldown.detail}" if cooldown.detail else cooldown.cause.name
            return Out(resource, Cause.COOLDOWN, cooldown.since, cooldown.until, reason)
        if breaker.phase(now) is Phase.OPEN:
            return Out(resource, Cause.BREAKER, breaker.opened or now, breaker.until, self.why)
        return None

    def on_trial(self, now: datetime) -> bool:
        """Whether its breaker is half-open."""
        return self.breaker.phase(now) is Phase.HALF_OPEN

    def state_at(self, resource: Resource, now: datetime) -> State:
        """Whether it can be used."""
        if self.out(resource, now) is not None:
            return State.UNAVAILABLE
        return State.DEGRADED if self.on_trial(now) else State.AVAILABLE

    def put_right(self, rule: Rule, now: datetime) -> "Condition":
        """Without what a clock that was ahead and is set back had begun, which would else come back at that time."""
        breaker = self.breaker.put_right(rule, now)
        cooldown = None if self.cooldown is not None and self.cooldown.since > now else self.cooldown
        same = breaker is self.breaker and cooldown is self.cooldown
        return self if same else replace(self, breaker=breaker, cooldown=cooldown)

    def over(self, now: datetime, memory: timedelta) -> bool:
        """Whether nothing speaks against it, and nothing did within the memory."""
        old = now - memory
        cool = self.cooldown is None or self.cooldown.until < old
        drained = self.drain is not None and (self.drain.until is None or now < self.drain.until)
        return cool and not drained and self.breaker.opened is None and self.breaker.closed_at < old


class Availability(Struct, frozen=True):
    """A snapshot: only what something speaks against has a condition."""

    now: datetime
    rule: Rule
    conditions: Mapping[Resource, Condition] = field(default_factory=dict)
    # calls on their way
    in_flight: Mapping[Target, int] = field(default_factory=dict)

    def out(self, target: Target, key_ids: Sequence[str] = ()) -> Out | None:
        """Why a model takes no call now: itself, its provider, or every one of these keys. None: it takes one."""
        if not self.conditions:
            return None
        for resource in (Resource(target.provider_id), Resource(target.provider_id, target.model)):
            if (found := self.resource_out(resource, for_call=True)) is not None:
                return found
        return self.keys_out(target, key_ids)

    def keys_out(self, target: Target, key_ids: Sequence[str]) -> Out | None:
        """Of keys that are all out the one that comes back first; None when one is free, or when there are none."""
        outs = [self.key_out(target, key) for key in key_ids]
        found = [out for out in outs if out is not None]
        return min(found, key=_back_first) if found and len(found) == len(outs) else None

    def key_out(self, target: Target, key_id: str) -> Out | None:
        """Why a key cannot be used for a model now; with no model: for the provider."""
        places = {Resource(target.provider_id, "", key_id), Resource(target.provider_id, target.model, key_id)}
        found = [out for place in sorted(places) if (out := self.resource_out(place)) is not None]
        return max(found, key=_back_first, default=None)

    def is_rate_limited(self, out: Out) -> bool:
        """Whether it rests because of a rate limit."""
        cooldown = self.conditions[out.resource].cooldown
        return out.cause is Cause.COOLDOWN and cooldown is not None and cooldown.cause is FailureKind.RATE_LIMITED

    def resource_out(self, resource: Resource, *, for_call: bool = False) -> Out | None:
        """Why one resource by itself is out; `for_call`: also when all its trial calls are on their way."""
        condition = self.conditions.get(resource)
        if condition is None:
            return None
        found = condition.out(resource, self.now)
        if found is None and for_call and not condition.breaker.has_room(self.rule, self.now):
            since, until = condition.breaker.opened or self.now, min(trial.until for trial in condition.breaker.trials)
            return Out(resource, Cause.TRIAL, since, until, "a trial call is on its way")
        return found

    def on_trial(self, target: Target) -> tuple[Resource, ...]:
        """Which breakers a call to this target would be a trial of."""
        places = (Resource(target.provider_id), Resource(target.provider_id, target.model))
        return tuple(place for place in places if place in self.conditions and self.conditions[place].on_trial(self.now))

    def priority(self, resource: Resource, key_ids: Sequence[str]) -> Priority:
        """The place of a provider or a model: out also when every key of it is."""
        target = Target(resource.provider_id, resource.model)
        if self.resource_out(resource) is not None or self.keys_out(target, key_ids) is not None:
            return Priority.OUT
        condition = self.conditions.get(resource)
        return Priority.TRIAL if condition is not None and condition.on_trial(self.now) else Priority.NORMAL

    def trouble(self, provider_id: str, models: Sequence[str], key_ids: Sequence[str]) -> tuple[State, str] | None:
        """What is wrong with a provider because of itself, its models and its keys, in a sentence; None: nothing."""
        whole = self.resource_out(Resource(provider_id)) or self.keys_out(Target(provider_id, ""), key_ids)
        if whole is not None:
            return State.UNAVAILABLE, whole.text
        targets = [Target(provider_id, model) for model in models]
        outs = [self.resource_out(Resource(provider_id, at.model)) or self.keys_out(at, key_ids) for at in targets]
        found = [out for out in outs if out is not None]
        if found and len(found) == len(outs):
            return State.UNAVAILABLE, f"none of its {len(outs)} models is available: {found[0].text}"
        found += [out for key in key_ids if (out := self.key_out(Target(provider_id, ""), key))]
        if found:
            return State.DEGRADED, found[0].text
        trial = next((at for at in (Target(provider_id, ""), *targets) if self.on_trial(at)), None)
        return None if trial is None else (State.DEGRADED, f"{Resource(trial.provider_id, trial.model).text} is on trial")

    def free(self, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
        """The candidates that take a call now, with the keys that are free."""
        if not self.conditions:
            # as nearly always
            return tuple(candidate for candidate in candidates if candidate.keys)
        found = (
            replace(candidate, keys=tuple(key for key in candidate.keys if self.key_out(candidate.target, key) is None))
            for candidate in candidates
            if self.out(candidate.target) is None
        )
        return tuple(candidate for candidate in found if candidate.keys)

    def usable(self, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
        """The same, of those on trial only the one to begin with: a trial is claimed by the call that surely makes it."""
        free = self.free(candidates)
        return (*free[:1], *self.untroubled(free[1:]))

    def untroubled(self, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
        """The candidates that take a call now which is no trial."""
        return tuple(candidate for candidate in self.free(candidates) if not self.on_trial(candidate.target))

    def narrowed(self, plan: Plan) -> Plan:
        """A plan with what takes calls now; of those on trial only the one to begin with stays."""
        return Plan(self.usable(plan.ranked), {cause: self.untroubled(found) for cause, found in plan.chains.items()})

    def back_first(self, candidates: Iterable[Candidate]) -> Out | None:
        """Of candidates that take no call the one that comes back first; None when there are none."""
        outs = (self.out(candidate.target, candidate.keys) for candidate in candidates)
        return min((out for out in outs if out is not None), key=_back_first, default=None)


def _back_first(out: Out) -> tuple[bool, datetime]:
    return out.until is None, out.until or out.since
