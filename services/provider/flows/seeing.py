"""Windows and averages of models and keys on their store, as outcomes move them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from mesh.db import Transaction
from services.provider import availability_store, health, health_window
from services.provider.availability import Resource
from services.provider.cooldown import Rests
from services.provider.fallback import Target
from services.provider.flows.known import Known
from services.provider.flows.unnoted import Sight
from services.provider.health_window import Bucket, Call, Seen

# what failures of a key let rest
OF_KEYS = (Rests.KEY, Rests.KEY_AT_MODEL)


async def model(tx: Transaction, known: Known, target: Target, sights: Sequence[Sight]) -> Seen:
    """Notes outcomes of a model, in their order; gives what was seen of it with them."""
    settings, grain = known.settings, known.grain
    found, seen = await availability_store.model_seen(tx, target, grain)
    for sight in sights:
        outcome = sight.outcome
        success, failed = outcome.failure is None, outcome.meaning.of_model
        if success or failed:
            found = health.after_outcome(
                found,
                success=success,
                output_tokens=outcome.output_tokens,
                latency=outcome.latency or timedelta(),
                weight=settings.outcome_weight,
            )
        before, seen = seen, health_window.after(seen, grain, sight.time, _call(sight, own=failed), settings.outcome_weight)
        await _put_away(tx, known, Resource(*target), before.bucket, seen.bucket, sight.time)
    await availability_store.put_model_seen(tx, target, grain, found, seen, sights[-1].time)
    return seen


async def key(tx: Transaction, known: Known, provider_id: str, key_id: str, sights: Sequence[Sight]) -> None:
    """Notes outcomes of calls with a key."""
    grain, weight = known.grain, known.settings.outcome_weight
    seen = await availability_store.key_seen(tx, provider_id, key_id, grain)
    for sight in sights:
        call = _call(sight, own=sight.outcome.meaning.rests in OF_KEYS)
        before, seen = seen, health_window.after(seen, grain, sight.time, call, weight)
        await _put_away(tx, known, Resource(provider_id, "", key_id), before.bucket, seen.bucket, sight.time)
    await availability_store.put_key_seen(tx, provider_id, key_id, grain, seen, sights[-1].time)


async def _put_away(tx: Transaction, known: Known, resource: Resource, before: Bucket, newest: Bucket, now: datetime) -> None:
    """Keeps the bucket that ended with this call, if one did."""
    if before.calls and before.number != newest.number:
        await availability_store.put_away(tx, resource, known.grain, before, known.grain.oldest(now))


def _call(sight: Sight, *, own: bool) -> Call:
    """As a window counts it; `own`: it failed because of what the window is about. How long a failure took says nothing."""
    outcome = sight.outcome
    if outcome.failure is None:
        # nothing had failed when one that waited came: what failed since stays a failure in a row
        return Call(None, None if sight.waited else False, outcome.latency, outcome.first_token)
    return Call(outcome.failure.kind, True if own else None, None, outcome.first_token)
