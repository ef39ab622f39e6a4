"""What can be offered for a request at this moment: registry, prices, health, feedback and budgets put together for routing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mesh.db import Transaction
from services.provider import budget_store, quality, store
from services.provider.budget import Labels, Standing, cost_pressure
from services.provider.flows import accounts
from services.provider.flows.known import Known
from services.provider.health import ModelHealth, ProviderHealth, State
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


async def gather(tx: Transaction, known: Known, user_id: str, focus_area: str, size: Size, now: datetime) -> Offers:
    """The offers for a request; reads only."""
    watched = await _watched(tx, known, user_id, now)
    seen = Seen(
        await store.provider_healths(tx),
        await store.model_healths(tx),
        await store.feedback_in(tx, quality.domain_of(focus_area)) if focus_area else await store.feedback_overall(tx),
        watched,
    )
    options = [_option(known, seen, model, user_id, size) for model in known.registry.models]
    return Offers(options, max((item.pressure for item in watched if item.covers_every_model), default=1.0))


async def _watched(tx: Transaction, known: Known, user_id: str, now: datetime) -> list[Watched]:
    watched = []
    for standing in await accounts.standings_of(tx, await budget_store.budgets_for_user(tx, user_id), now):
        threshold = await budget_store.tightened(tx, standing.budget.budget_id, standing.window.start)
        pressure = cost_pressure(threshold, tight_from=known.settings.tight_from, factor=known.settings.tight_factor)
        watched.append(Watched(standing, pressure))
    return watched


def _option(known: Known, seen: Seen, model: Model, user_id: str, size: Size) -> Option:
    labels = Labels(model.provider_id, model.name, user_id)
    covering = [item for item in seen.budgets if item.standing.budget.scope.covers(labels)]
    health = seen.models.get(model.key, ModelHealth())
    cost = model.price.cost(size.input_tokens, size.output_tokens) if model.price else None
    return Option(
        model.provider_id,
        model.name,
        cost,
        model.context_window,
        quality.expected(model.quality, known.settings.quality_prior_weight, seen.feedback.get(model.key, Feedback())),
        health.tokens_per_second or model.tokens_per_second,
        health.uptime,
        pressure=max((item.pressure for item in covering if not item.covers_every_model), default=1.0),
        free=model.price is not None and model.price.free,
        excluded=_excluded(known, seen, model, cost or 0, covering),
        capabilities=model.capabilities,
        region=model.region,
        data_policy=model.data_policy,
    )


def _excluded(known: Known, seen: Seen, model: Model, cost: int, covering: Sequence[Watched]) -> tuple[Exclusion, str] | None:
    provider = known.registry.providers[model.provider_id]
    health, _ = seen.providers.get(model.provider_id, (ProviderHealth(), None))
    state, why = known.state(provider, health)
    if not model.enabled:
        return Exclusion.DISABLED, "switched off in the registry file"
    if known.needs_key and not provider.local and model.provider_id not in known.with_key:
        return Exclusion.NOT_CONFIGURED, why
    if state is State.UNAVAILABLE:
        return Exclusion.UNAVAILABLE, why
    for item in covering:
        if not item.standing.allows(cost):
            end = item.standing.window.end.isoformat()
            return Exclusion.BUDGET_SPENT, f"budget {item.standing.budget.budget_id} leaves too little until {end}"
    return None
