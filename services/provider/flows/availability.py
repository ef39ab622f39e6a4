"""Availability on its store: what can be used now, what outcomes do to it, operators' calls, and telling each change once.

Everything is in the store, so it survives a kill, and each replica sees in its next transaction what another one noted. Nothing is
written when a cooldown or an open time ends: the state follows from the time; `sweep` only tells that it changed.
"""

import asyncio
import random
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial

from msgspec.structs import replace

from mesh.db import Transaction
from mesh.host import Host
from services.provider import availability_store, cooldown, health, health_window, query_store, store
from services.provider.availability import Availability, Condition, Drain, Outcome, Resource
from services.provider.breaker import Phase
from services.provider.cooldown import Rests
from services.provider.fallback import Candidate, Target
from services.provider.flows import changes, rules
from services.provider.flows.changes import Ledger
from services.provider.flows.known import Known
from services.provider.health_window import Bucket, Call

_SEVERAL = 2
_OF_KEYS = (Rests.KEY, Rests.KEY_AT_MODEL)
# spreads what would happen at the same moment; nothing that must be kept secret depends on it
_chance = random.random


async def read(host: Host, tx: Transaction, known: Known) -> Availability:
    """What can be used now, and how busy models are; for selection and for the start of a call. Two statements."""
    now = host.clock.now()
    conditions, in_flight = await availability_store.conditions(tx), await query_store.in_flight(tx, now)
    return Availability(now, known.breaker, conditions, in_flight)


async def enter(tx: Transaction, seen: Availability, call_id: str, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The candidates that take this call now, with their free keys; when the first one is on trial, the call is its trial.

    To be called in the transaction that reserves, with what `read` gave in it; `note` ends the trial.
    """
    usable = seen.usable(candidates)
    if usable:
        await claim(tx, seen, call_id, usable[0].target)
    return usable


async def claim(tx: Transaction, seen: Availability, call_id: str, target: Target) -> None:
    """Makes a call to a target that is on trial its trial; does nothing for any other."""
    for resource in seen.on_trial(target):
        condition = seen.conditions[resource]
        admitted = condition.breaker.admit(seen.rule, call_id, seen.now)
        if admitted is not None:
            await availability_store.put_condition(tx, resource, replace(condition, breaker=admitted))


async def note(host: Host, tx: Transaction, known: Known, call_id: str, outcomes: Sequence[Outcome]) -> None:
    """Notes how the attempts of a call ended; tells what changed. Part of the settlement.

    What the registry does not know has no health.
    """
    for provider_id in dict.fromkeys(outcome.target.provider_id for outcome in outcomes):
        provider = known.registry.providers.get(provider_id)
        if provider is not None:
            ledger = await changes.opened(host, tx, known, provider)
            for outcome in outcomes:
                if outcome.target.provider_id == provider_id:
                    await _apply(tx, ledger, call_id, outcome)
            await changes.close(host, tx, ledger)


async def _apply(tx: Transaction, ledger: Ledger, call_id: str, outcome: Outcome) -> None:
    """One outcome's effect on provider, model and key."""
    neutral = outcome.failure is not None and outcome.meaning.neutral
    if not neutral:
        ledger.health = health.after_call(ledger.health, success=outcome.failure is None)
    if any(model.name == outcome.target.model for model in ledger.provider.models):
        await _apply_to_model(tx, ledger, outcome)
    # a key that was deleted while the call ran is no longer anything
    gone = bool(outcome.key_id) and outcome.key_id not in ledger.keys
    if outcome.key_id and not gone:
        await _apply_to_key(tx, ledger, outcome)
    if not (gone and outcome.meaning.rests in _OF_KEYS):
        _rest(ledger, outcome)
    _released(ledger, call_id, outcome.target)


async def leave(host: Host, tx: Transaction, known: Known, call_id: str, target: Target) -> None:
    """A call ended before it made an attempt: it is nobody's trial any more."""
    provider = known.registry.providers.get(target.provider_id)
    if provider is not None:
        ledger = await changes.opened(host, tx, known, provider)
        _released(ledger, call_id, target)
        await changes.close(host, tx, ledger)


def _released(ledger: Ledger, call_id: str, target: Target) -> None:
    for resource in (ledger.own, Resource(ledger.provider.provider_id, target.model)):
        if resource in ledger.conditions:
            ledger.change(resource, lambda before: replace(before, breaker=before.breaker.released(call_id)))


async def _apply_to_model(tx: Transaction, ledger: Ledger, outcome: Outcome) -> None:
    """Window, averages and breaker of the model; when it opens, perhaps that of the whole provider."""
    settings, now, target = ledger.known.settings, ledger.now, outcome.target
    grain, rule = ledger.known.grain, ledger.known.breaker
    model, before = await availability_store.model_seen(tx, target, grain)
    success, failed = outcome.failure is None, outcome.meaning.of_model
    seen = health_window.after(before, grain, now, _call(outcome, own=failed), settings.outcome_weight)
    if success or failed:
        latency = outcome.latency or timedelta()
        model = health.after_outcome(
            model, success=success, output_tokens=outcome.output_tokens, latency=latency, weight=settings.outcome_weight
        )
    await availability_store.put_model_seen(tx, target, grain, model, seen, now)
    resource = Resource(target.provider_id, target.model)
    await _put_away(tx, ledger, resource, before.bucket, seen.bucket)
    if success:
        _succeeded(ledger, resource)
        _succeeded(ledger, ledger.own)
    elif failed:
        tested = await _tested(tx, ledger, resource, seen.bucket)
        _failed(ledger, resource, outcome, trips=rule.trips(seen.failures_in_row, *tested))
        _failed(ledger, ledger.own, outcome, trips=await _all_fail(tx, ledger))


async def _put_away(tx: Transaction, ledger: Ledger, resource: Resource, before: Bucket, newest: Bucket) -> None:
    """Keeps the bucket that ended with this call, if one did."""
    if before.calls and before.number != newest.number:
        grain = ledger.known.grain
        await availability_store.put_away(tx, resource, grain, before, grain.oldest(ledger.now))


async def _tested(tx: Transaction, ledger: Ledger, resource: Resource, newest: Bucket) -> tuple[int, int]:
    """Failures and calls that the breaker counts: those of the window in buckets that began after it last closed."""
    grain = ledger.known.grain
    closed_at = ledger.conditions.get(resource, Condition()).breaker.closed_at
    first = max(grain.oldest(ledger.now), grain.number(closed_at) + 1)
    own, tested = await availability_store.tested_before(tx, resource, grain, first)
    counts = newest.number >= first
    return own + counts * newest.own, tested + counts * newest.tested


async def _all_fail(tx: Transaction, ledger: Ledger) -> bool:
    """Whether the breakers of two models or more are open, and of every model that was called lately."""
    failing = {
        resource.model
        for resource, condition in ledger.conditions.items()
        if resource.model and not resource.key_id and condition.breaker.phase(ledger.now) is not Phase.CLOSED
    }
    if len(failing) < _SEVERAL:
        return False
    grain = ledger.known.grain
    return await availability_store.models_called(tx, ledger.own.provider_id, ledger.now - grain.width * grain.buckets) <= failing


async def _apply_to_key(tx: Transaction, ledger: Ledger, outcome: Outcome) -> None:
    """Window and averages of the key."""
    settings, provider_id = ledger.known.settings, ledger.provider.provider_id
    grain = ledger.known.grain
    failed = outcome.meaning.rests in _OF_KEYS
    call = _call(outcome, own=failed)
    before = await availability_store.key_seen(tx, provider_id, outcome.key_id, grain)
    seen = health_window.after(before, grain, ledger.now, call, settings.outcome_weight)
    await availability_store.put_key_seen(tx, provider_id, outcome.key_id, grain, seen, ledger.now)
    await _put_away(tx, ledger, Resource(provider_id, "", outcome.key_id), before.bucket, seen.bucket)


def _call(outcome: Outcome, *, own: bool) -> Call:
    """As a window counts it; `own`: it failed because of what the window is about. How long a failure took says nothing."""
    if outcome.failure is None:
        return Call(None, False, outcome.latency, outcome.first_token)
    return Call(outcome.failure.kind, True if own else None, None, outcome.first_token)


def _succeeded(ledger: Ledger, resource: Resource) -> None:
    if resource in ledger.conditions:
        ledger.change(resource, lambda before: replace(before, breaker=before.breaker.after_success(ledger.now)))


def _failed(ledger: Ledger, resource: Resource, outcome: Outcome, *, trips: bool) -> None:
    """Tells the breaker; it keeps why it opened."""
    failure = outcome.failure
    before = ledger.conditions.get(resource, Condition())
    breaker = before.breaker.after_failure(ledger.known.breaker, ledger.now, _chance, trips=trips)
    if failure is not None and breaker != before.breaker:
        why = f"too many calls failed, the last one with {failure.kind.name}: {failure.detail}".removesuffix(": ")
        ledger.change(resource, partial(replace, breaker=breaker, why=why))


def _rest(ledger: Ledger, outcome: Outcome) -> None:
    """Lets rest what the failure says; a success forgets the rests that are over."""
    if outcome.failure is None and not ledger.conditions:
        # as nearly always
        return
    target, key = outcome.target, outcome.key_id
    resources = {
        Rests.KEY: Resource(target.provider_id, "", key),
        Rests.KEY_AT_MODEL: Resource(target.provider_id, target.model, key),
        Rests.MODEL: Resource(target.provider_id, target.model),
    }
    failure = outcome.failure
    if failure is None:
        for resource in set(resources.values()) & ledger.conditions.keys():
            ledger.change(resource, partial(_without_rest, ledger))
    elif outcome.meaning.rests is not Rests.NOTHING:
        lengths = rules.cooldowns(ledger.known.settings)
        ledger.change(
            resources[outcome.meaning.rests],
            lambda before: replace(before, cooldown=cooldown.after_failure(before.cooldown, failure, lengths, ledger.now)),
        )


def _without_rest(ledger: Ledger, before: Condition) -> Condition:
    """A success while it rests comes from a call that began before, and ends no rest."""
    resting = before.cooldown is not None and before.cooldown.lasts(ledger.now)
    return before if resting else replace(before, cooldown=None)


async def reset(host: Host, tx: Transaction, known: Known, resource: Resource) -> None:
    """Ends cooldowns and breakers of a resource and of all that is part of it; for operators, and for whoever changes a key."""
    ledger = await changes.opened(host, tx, known, known.registry.providers[resource.provider_id])
    for part in [part for part in ledger.conditions if part.within(resource)]:
        ledger.change(part, lambda before: replace(before, breaker=before.breaker.close(ledger.now), cooldown=None, why=""))
    if not resource.key_id:
        await availability_store.forget_failures(tx, resource.provider_id, resource.model)
        if not resource.model:
            ledger.health = replace(ledger.health, failures_in_row=0)
    await changes.close(host, tx, ledger)


async def drain(host: Host, tx: Transaction, known: Known, resource: Resource, wish: Drain | None) -> None:
    """Takes a resource out of rotation, or puts it back (None)."""
    ledger = await changes.opened(host, tx, known, known.registry.providers[resource.provider_id])
    ledger.change(resource, lambda before: replace(before, drain=wish))
    await changes.close(host, tx, ledger)


async def note_reachable(host: Host, tx: Transaction, known: Known, provider_id: str, *, reachable: bool) -> None:
    """Notes whether a local provider's address answers."""
    ledger = await changes.opened(host, tx, known, known.registry.providers[provider_id])
    ledger.health = replace(ledger.health, reachable=reachable)
    await changes.close(host, tx, ledger)


async def sweep(host: Host, known: Known) -> None:
    """Tells what changed because time passed, and forgets what is over; writes only when there is something to."""
    if await host.db.read(partial(_is_due, host, known)):
        await host.db.write(partial(_sweep, host, known))


async def watch(host: Host, known: Known) -> None:
    """Sweeps again and again, for ever."""
    while True:
        await asyncio.sleep(known.settings.availability_sweep.total_seconds())
        await sweep(host, known)


async def _is_due(host: Host, known: Known, tx: Transaction) -> bool:
    return any(ledger.is_due() for ledger in await _all(host, known, tx))


async def _sweep(host: Host, known: Known, tx: Transaction) -> None:
    for ledger in await _all(host, known, tx):
        await changes.close(host, tx, ledger)


async def _all(host: Host, known: Known, tx: Transaction) -> list[Ledger]:
    """The ledgers of the providers of which anything is stored."""
    now, healths, conditions = host.clock.now(), await store.provider_healths(tx), await availability_store.conditions(tx)
    ids = {*healths, *(resource.provider_id for resource in conditions)}
    return [
        Ledger(
            known,
            provider,
            now,
            *healths.get(provider_id, (health.ProviderHealth(), None)),
            {resource: condition for resource, condition in conditions.items() if resource.provider_id == provider_id},
        )
        for provider_id, provider in known.registry.providers.items()
        if provider_id in ids
    ]
