"""What the provider service tells, and what it does when it hears something."""

from typing import cast

from google.protobuf.message import Message
from tooloo.event.v1.event_pb2 import Event
from tooloo.learning.v1.learning_events_pb2 import CoachFeedbackGiven
from tooloo.provider.v1 import budget_pb2, provider_pb2
from tooloo.provider.v1.provider_events_pb2 import BudgetThresholdExceeded, ProviderHealthChanged, ProviderSelected

from mesh.clock import Clock
from mesh.db import Transaction
from mesh.inbox import Handler
from mesh.outbox import Fact
from services.provider import budget_store, quality, selection_store, store, wire
from services.provider.budget import Standing, reached, window_at
from services.provider.health import State
from services.provider.quality import Feedback
from services.provider.selection_store import Observed


def selected(selection: store.Selection) -> Fact:
    """A model was chosen."""
    labels = selection.labels
    message = ProviderSelected(
        selection_id=selection.selection_id,
        provider_id=labels.provider_id,
        model=labels.model,
        focus_area=selection.focus_area,
        user_id=labels.user_id,
        strategy=provider_pb2.Strategy.ValueType(selection.strategy),
        estimated_cost=wire.to_money(selection.cost),
        estimated_tokens=selection.tokens,
    )
    owner = f"users/{labels.user_id}/" if labels.user_id else ""
    return Fact(message, f"{owner}selections/{selection.selection_id}", _of_user(labels.user_id))


def threshold_exceeded(standing: Standing, threshold: int, user_id: str) -> Fact:
    """Spending reached a threshold of a budget."""
    budget = standing.budget
    message = BudgetThresholdExceeded(
        budget_id=budget.budget_id,
        display_name=budget.display_name,
        scope=wire.to_scope(budget.scope),
        threshold=threshold,
        limit=wire.to_money(budget.limit),
        spent=wire.to_money(standing.spent),
        mode=budget_pb2.Budget.Mode.ValueType(budget.mode),
        period_start=wire.to_timestamp(standing.window.start),
        period_end=wire.to_timestamp(standing.window.end),
        user_id=user_id,
    )
    return Fact(message, f"budgets/{budget.budget_id}", _of_user(user_id))


def health_changed(provider_id: str, previous: State, state: State, reason: str) -> Fact:
    """A provider's state changed."""
    message = ProviderHealthChanged(
        provider_id=provider_id,
        previous_state=provider_pb2.ProviderState.ValueType(previous),
        state=provider_pb2.ProviderState.ValueType(state),
        reason=reason,
    )
    return Fact(message, f"providers/{provider_id}")


def _of_user(user_id: str) -> dict[str, str]:
    return {"user": user_id} if user_id else {}


def handlers(clock: Clock, remembered: int) -> dict[str, Handler]:
    """What is done with each event type that is heard; `remembered` outcomes are kept to learn from."""

    async def tighten(tx: Transaction, event: Event, data: Message) -> None:
        """Makes selection thriftier, if the threshold still is reached: the limit may have been raised in between."""
        told = cast(BudgetThresholdExceeded, data)
        budget = await budget_store.get_budget(tx, told.budget_id)
        if budget is None:
            return
        start = window_at(clock.now(), budget.period, budget.time_zone).start
        spent = await budget_store.spent(tx, budget.budget_id, start)
        if wire.to_timestamp(start) == told.period_start and reached(budget.limit, spent, told.threshold):
            await budget_store.tighten(tx, budget.budget_id, start, told.threshold)

    async def learn(tx: Transaction, event: Event, data: Message) -> None:
        """Counts the score for the model that served the learner in that domain, if one did."""
        given = cast(CoachFeedbackGiven, data)
        # the bus takes any number as a score
        if given.provider_id and given.model and given.domain and 0 <= given.score <= 1:
            domain, model = quality.domain_of(given.domain), (given.provider_id, given.model)
            known = (await store.feedback_in(tx, domain)).get(model, Feedback())
            await store.put_feedback(tx, model, domain, known.plus(given.score))
            outcome = Observed(f"coach/{event.id}", clock.now(), model, given.score, 1.0)
            await selection_store.put_outcome(tx, outcome, remembered)

    return {"budget.threshold_exceeded": tighten, "coach.feedback.given": learn}
