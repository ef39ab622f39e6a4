"""What can be offered for a request at this moment: registry, prices, health, feedback and budgets put together for routing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from mesh.db import Transaction
from services.provider import budget_store, quality, store
from services.provider.availability import Availability
from services.provider.budget import Standing, cost_pressure
from services.provider.fallback import Target
from services.provider.flows import accounts
from services.provider.flows.known import Known
from services.provider.health import ModelHealth, ProviderHealth, State
from services.provider.labels import Labels
from services.provider.quality import Feedback
from services.provider.registry import Model
from services.provider.routing import Exclusion, Option, Size


@dataclass(frozen=True)
class Watched:
    """A budget's standing, and how much dearer it makes what it covers look."""

    standing: Standing
    pressure: float

    @property
    def covers_every_model(self) -> bool:
        """Whether it singles out no provider and no model."""
        scope = self.standing.budget.scope
        return not scope.provider_id and not scope.model


@dataclass(frozen=True)
class Offers:
    """Every model as an option, and how many times heavier cost weighs because of budgets that cover all of them."""

    options: list[Option]
    cost_factor: float


@dataclass(frozen=True)
class Seen:
    """What the store holds that matters to a choice."""

    providers: dict[str, tuple[ProviderHealth, datetime | None]]
    models: dict[tuple[str, str], ModelHealth]
    feedback: dict[tuple[str, str], Feedback]
    budgets: Sequence[Watched]
    availability: Availability


async def gather(tx: Transaction, known: Known, available: Availability, labels: Labels, focus_area: str, size: Size) -> Offers:
    """The offers for a request; reads only."""
    watched = await _watched(tx, known, labels, available.now)
    seen = Seen(
        await store.provider_healths(tx),
        await store.model_healths(tx),
        await store.feedback_in(tx, quality.domain_of(focus_area)) if focus_area else await store.feedback_overall(tx),
        watched,
        available,
    )
    options = [_option(known, seen, model, labels, size) for model in known.registry.models]
    return Offers(options, max((item.pressure for item in watched if item.covers_every_model), default=1.0))


async def _watched(tx: Transaction, known: Known, caller: Labels, now: datetime) -> list[Watched]:
    watched = []
    budgets = (await known.limits.read(tx)).budgets.touching(caller)
    candidates = [caller.plus(provider=model.provider_id, model=model.name) for model in known.registry.models]
    shares = [(budget, holder) for budget in budgets for holder in sorted({budget.holder(labels) for labels in candidates})]
    for budget, holder in shares:
        standing = await accounts.standing_of(tx, budget, now, holder)
        threshold = await budget_store.tightened(tx, standing.budget.budget_id, standing.holder, standing.window)
        pressure = cost_pressure(threshold, tight_from=known.settings.tight_from, factor=known.settings.tight_factor)
        watched.append(Watched(standing, pressure))
    return watched


def _option(known: Known, seen: Seen, model: Model, caller: Labels, size: Size) -> Option:
    labels = caller.plus(provider=model.provider_id, model=model.name)
    covering = [item for item in seen.budgets if item.standing.takes(labels)]
    health = seen.models.get(model.key, ModelHealth())
    price = known.price_of_model(model)
    cost = price.cost(size.input_tokens, size.output_tokens) if price else None
    return Option(
        model.provider_id,
        model.name,
        cost,
        model.context_window,
        quality.expected(model.quality, known.settings.quality_prior_weight, seen.feedback.get(model.key, Feedback())),
        health.tokens_per_second or model.tokens_per_second,
        health.uptime,
        pressure=max((item.pressure for item in covering if not item.covers_every_model), default=1.0),
        free=price is not None and price.free,
        excluded=_excluded(known, seen, model, cost or 0, covering),
        capabilities=model.capabilities,
        region=model.region,
        data_policy=model.data_policy,
    )


def _excluded(known: Known, seen: Seen, model: Model, cost: int, covering: Sequence[Watched]) -> tuple[Exclusion, str] | None:
    """The first reason that keeps a model out."""
    return next(_reasons(known, seen, model, cost, covering), None)


def _reasons(known: Known, seen: Seen, model: Model, cost: int, covering: Sequence[Watched]) -> Iterator[tuple[Exclusion, str]]:
    provider = known.registry.providers[model.provider_id]
    health, _ = seen.providers.get(model.provider_id, (ProviderHealth(), None))
    state, why = known.state(provider, health)
    if not model.enabled:
        yield Exclusion.DISABLED, "switched off in the registry"
    if provider.stands_in:
        yield Exclusion.DISABLED, "it is no model, and stands in only while no provider is configured"
    if known.needs_key and not provider.local and model.provider_id not in known.with_key:
        yield Exclusion.NOT_CONFIGURED, why
    if state is State.UNAVAILABLE:
        yield Exclusion.UNAVAILABLE, why
    if (out := seen.availability.out(Target(*model.key), known.keys_of(model.provider_id))) is not None:
        yield Exclusion.UNAVAILABLE, out.text
    yield from ((Exclusion.BUDGET_SPENT, item.standing.lacks) for item in covering if not item.standing.allows(cost))
