"""Choosing a model in one transaction: what can be offered, ranked and explained; keeping the choice is a step of its own."""

from dataclasses import dataclass

from mesh.db import Transaction
from mesh.host import Host
from services.provider import events, routing, store
from services.provider.availability import Availability
from services.provider.flows import offers
from services.provider.flows.known import Known
from services.provider.labels import Labels
from services.provider.routing import Ranked, Size, Strategy, Weights


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


async def keep(host: Host, tx: Transaction, choice: Choice) -> store.Selection:
    """Keeps the first of the candidates as what was chosen and tells it; there must be one."""
    best, ask = choice.candidates[0].option, choice.ask
    labels = Labels.of(provider=best.provider_id, model=best.model, user=ask.user_id)
    selection = store.Selection(
        host.ids(), host.clock.now(), labels, ask.focus_area, choice.strategy, best.cost or 0, ask.size.total
    )
    await store.insert_selection(tx, selection)
    await host.tell(tx, events.selected(selection))
    return selection
