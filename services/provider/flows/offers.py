"""What can be offered for a request at this moment: registry, prices, health, feedback and budgets put together for routing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct, field

from mesh.db import Transaction
from services.provider import budget_store, domain_store, quality, store
from services.provider.availability import Availability
from services.provider.budget import Budget, Standing, cost_pressure
from services.provider.fallback import Target
from services.provider.flows import accounts
from services.provider.flows.known import Known
from services.provider.health import ModelHealth, ProviderHealth, State
from services.provider.labels import Labels
from services.provider.quality import Feedback
from services.provider.registry import Model, Provider
from services.provider.routing import Exclusion, Option, Size

if TYPE_CHECKING:
    # it loads numpy, which a choice without learning need not pay for
    from services.provider.learned import Belief

Reason = tuple[Exclusion, str]
Key = tuple[str, str]


class Watched(Struct, frozen=True):
    """A budget's standing, and how much dearer it makes what it covers look."""

    standing: Standing
    pressure: float


class Offers(Struct, frozen=True):
    """Every model as an option, and how many times heavier cost weighs because of budgets that cover all of them."""

    options: list[Option]
    cost_factor: float


class Told(Struct, frozen=True):
    """What a request tells of models beside the store.

    `beliefs` say how well each will do on its prompt (`draw` takes one by chance), `cached_tokens` how much of its beginning is in
    whose cache.
    """

    beliefs: Mapping[Key, Belief]
    draw: Callable[[Key, Belief], float]
    cached_tokens: Mapping[Key, int]


class Seen(Struct, frozen=True):
    """What matters to a choice beside the registry.

    `budgets` cover a call to every model alike, `narrow` those that single out some: `labels` are what a call to each would have.
    """

    providers: dict[str, tuple[ProviderHealth, datetime | None]]
    models: dict[tuple[str, str], ModelHealth]
    feedback: dict[tuple[str, str], Feedback]
    budgets: Sequence[Watched]
    availability: Availability
    narrow: Sequence[Watched] = ()
    labels: Mapping[Target, Labels] = field(default_factory=dict)


# a model that nothing was seen of
_UNSEEN, _NO_FEEDBACK = ModelHealth(), Feedback()


async def gather(
    tx: Transaction,
    known: Known,
    available: Availability,
    labels: Labels,
    focus_area: str,
    size: Size,
    told: Told,
) -> Offers:
    """The offers for a request; reads only."""
    touching = (await known.limits.read(tx)).budgets.touching(labels)
    narrow = [budget for budget in touching if budget.narrows_models]
    # most installations have none, and labels for every model cost more than all else that is done for one
    models = known.registry.models if narrow else ()
    by_model = {model.key: labels.plus(provider=model.provider_id, model=model.name) for model in models}
    everywhere = [(budget, budget.holder(labels)) for budget in touching if not budget.narrows_models]
    shares = [(budget, holder) for budget in narrow for holder in sorted(set(map(budget.holder, by_model.values())))]
    common = await _watched(tx, known, everywhere, available.now)
    seen = Seen(
        await store.provider_healths(tx),
        await store.model_healths(tx),
        await _feedback(tx, focus_area),
        common,
        available,
        await _watched(tx, known, shares, available.now),
        by_model,
    )
    # what keeps a provider out keeps all of its models out
    outs = {name: _provider_out(known, seen, provider) for name, provider in known.registry.providers.items()}
    options = [_option(known, seen, told, model, size, outs[model.provider_id]) for model in known.registry.models]
    return Offers(options, max((item.pressure for item in common), default=1.0))


async def _feedback(tx: Transaction, focus_area: str) -> dict[tuple[str, str], Feedback]:
    """What models earned where the request is about, by any of its names; in all domains together when it names none."""
    if not focus_area:
        return await store.feedback_overall(tx)
    return await store.feedback_in(tx, await domain_store.named(tx, quality.domain_of(focus_area)))


async def _watched(tx: Transaction, known: Known, shares: Sequence[tuple[Budget, str]], now: datetime) -> list[Watched]:
    watched = []
    for budget, holder in shares:
        standing = await accounts.standing_of(tx, budget, now, holder)
        threshold = await budget_store.tightened(tx, standing.budget.budget_id, standing.holder, standing.window)
        pressure = cost_pressure(threshold, tight_from=known.settings.tight_from, factor=known.settings.tight_factor)
        watched.append(Watched(standing, pressure))
    return watched


def _option(known: Known, seen: Seen, told: Told, model: Model, size: Size, provider_out: Reason | None) -> Option:
    key = model.key
    narrow = [item for item in seen.narrow if item.standing.takes(seen.labels[key])]
    health = seen.models.get(key, _UNSEEN)
    price, cached = known.price_of_model(model), told.cached_tokens.get(key, 0)
    cost = price.cost(size.input_tokens, size.output_tokens, cached) if price else None
    belief = told.beliefs.get(key)
    return Option(
        model.provider_id,
        model.name,
        cost,
        model.context_window,
        belief.mean if belief else _expected(known, seen, model),
        health.tokens_per_second or model.tokens_per_second,
        health.uptime,
        pressure=max((item.pressure for item in narrow), default=1.0),
        free=price is not None and price.free,
        excluded=_excluded(known, seen, model, cost or 0, narrow, provider_out),
        in_flight=seen.availability.in_flight.get(model.key, 0),
        capabilities=model.capabilities,
        region=model.region,
        data_policy=model.data_policy,
        draw=told.draw(key, belief) if belief else None,
        deviation=belief.deviation if belief else 0.0,
        evidence=belief.evidence if belief else 0.0,
        cached_tokens=cached,
    )


def _expected(known: Known, seen: Seen, model: Model) -> float:
    """The quality of a model by what was said of it, on whatever prompt."""
    return quality.expected(model.quality, known.settings.quality_prior_weight, seen.feedback.get(model.key, _NO_FEEDBACK))


def _provider_out(known: Known, seen: Seen, provider: Provider) -> Reason | None:
    """Why none of a provider's models can be offered."""
    health, _ = seen.providers.get(provider.provider_id, (ProviderHealth(), None))
    state, why = known.state(provider, health)
    if provider.stands_in:
        return Exclusion.DISABLED, "it is no model, and stands in only while no provider is configured"
    if known.needs_key and not provider.local and provider.provider_id not in known.with_key:
        return Exclusion.NOT_CONFIGURED, why
    return (Exclusion.UNAVAILABLE, why) if state is State.UNAVAILABLE else None


def _excluded(
    known: Known, seen: Seen, model: Model, cost: int, narrow: Sequence[Watched], provider_out: Reason | None
) -> Reason | None:
    """The first reason that keeps a model out."""
    if not model.enabled:
        return Exclusion.DISABLED, "switched off in the registry"
    if provider_out is not None:
        return provider_out
    available = seen.availability
    if available.conditions and (out := available.out(model.key, known.keys_of(model.provider_id))) is not None:
        return Exclusion.UNAVAILABLE, out.text
    spent = next((item for item in (*seen.budgets, *narrow) if not item.standing.allows(cost)), None)
    return None if spent is None else (Exclusion.BUDGET_SPENT, spent.standing.lacks(seen.availability.now))
