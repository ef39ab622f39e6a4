"""Choosing a model in one transaction: what can be offered, ranked and explained; keeping the choice is a step of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors
from mesh.db import Transaction
from mesh.host import Host
from services.provider import events, routing, store
from services.provider.availability import Availability
from services.provider.fallback import Target
from services.provider.flows import offers
from services.provider.flows.known import Known
from services.provider.labels import Labels
from services.provider.query import Query
from services.provider.routing import Exclusion, Ranked, Size, Strategy, Weights


@dataclass(frozen=True)
class Ask:
    """A request that needs a model."""

    size: Size
    query: str = ""
    focus_area: str = ""
    user_id: str = ""
    strategy: Strategy = Strategy.BALANCED


@dataclass(frozen=True)
class Choice:
    """Every model, those that are in by rank and then those that are out, and how they were weighed."""

    ask: Ask
    ranked: list[Ranked]
    strategy: Strategy
    weights: Weights
    cost_factor: float

    @property
    def candidates(self) -> list[Ranked]:
        """Those that are in, best first: whom to try, in this order."""
        return [item for item in self.ranked if item.exclusion is None]


async def choose(host: Host, tx: Transaction, known: Known, ask: Ask, seen: Availability) -> Choice:
    """Ranks every model for a request; reads only."""
    offered = await offers.gather(tx, known, seen, ask.user_id, ask.focus_area, ask.size)
    weights = known.weights(ask.strategy).with_cost_factor(offered.cost_factor)
    ranked = routing.rank(offered.options, ask.size, ask.strategy, weights, known.half_points)
    return Choice(ask, ranked, ask.strategy, weights, offered.cost_factor)


async def keep(
    host: Host, tx: Transaction, choice: Choice, selection_id: str = "", chosen: Target | None = None
) -> store.Selection:
    """Keeps what was chosen, by default the first of the candidates, and tells it."""
    taken = next((item.option for item in choice.ranked if Target(item.option.provider_id, item.option.model) == chosen), None)
    best, ask = taken or choice.candidates[0].option, choice.ask
    labels = Labels.of(provider=best.provider_id, model=best.model, user=ask.user_id)
    made = store.Selection(
        selection_id or host.ids(), host.clock.now(), labels, ask.focus_area, choice.strategy, best.cost or 0, ask.size.total
    )
    await store.insert_selection(tx, made)
    await host.tell(tx, events.selected(made))
    return made


async def observe(tx: Transaction, known: Known, query: Query, *, failed: bool) -> None:
    """Learns from how a query ended."""


def refusal(ranked: Sequence[Ranked], model: str) -> errors.Refusal:
    """Why nothing is left: the commonest reason as metadata, and the sentence of the first candidate that has it."""
    commonest = routing.commonest_exclusion(ranked)
    if commonest is None:
        subject, what = f"models/{model}", "no model that could take this can be called from here: it has no address or no key"
        return errors.failed_precondition(subject, what, reason=ErrorReason.ERROR_REASON_NO_CANDIDATE)
    example = next(item for item in ranked if item.exclusion is commonest)
    name, why = example.option.model, example.detail
    description = f"no model can take this request, mostly because of {commonest.name}, e.g. {name}: {why}"
    refuse = errors.exhausted if commonest is Exclusion.BUDGET_SPENT else errors.failed_precondition
    return refuse("candidates", description, reason=ErrorReason.ERROR_REASON_NO_CANDIDATE, commonest_exclusion=commonest.name)
