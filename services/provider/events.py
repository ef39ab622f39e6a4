"""What the provider service tells, and what it does when it hears something."""

from datetime import timedelta
from typing import Any, cast

from google.protobuf.message import Message
from tooloo.event.v1.event_pb2 import Event
from tooloo.learning.v1.learning_events_pb2 import CoachFeedbackGiven
from tooloo.provider.v1 import budget_pb2, chat_pb2, health_pb2, provider_pb2
from tooloo.provider.v1.provider_events_pb2 import (
    BudgetReservationExpired,
    BudgetReservationReconciled,
    BudgetThresholdExceeded,
    ProviderHealthChanged,
    ProviderPriorityChanged,
    ProviderQueryCompleted,
    ProviderQueryFailed,
    ProviderQueryStarted,
    ProviderSelected,
)

from mesh.clock import Clock
from mesh.db import Transaction
from mesh.inbox import Handler
from mesh.outbox import Fact
from services.provider import budget_store, chat_wire, domain_store, quality, selection_store, store, wire
from services.provider.availability import Out, Priority, Resource
from services.provider.budget import Standing, reached
from services.provider.failure import Failure
from services.provider.health import State
from services.provider.quality import Feedback
from services.provider.query import Query
from services.provider.reservation import Reservation
from services.provider.selection_store import Observed

# of a domain; the bus takes any number of them
_MOST_ALIASES = 200


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
        each=budget.each,
        holder=standing.holder,
    )
    return Fact(message, f"budgets/{budget.budget_id}", _of_user(user_id))


def reservation_expired(reservation: Reservation) -> Fact:
    """A reservation's time ran out before it was settled or released."""
    message = BudgetReservationExpired(
        reservation_id=reservation.reservation_id,
        labels=reservation.labels.values,
        amount=wire.to_money(reservation.amount),
        create_time=wire.to_timestamp(reservation.created),
        expire_time=wire.to_timestamp(reservation.expires),
    )
    return Fact(message, f"reservations/{reservation.reservation_id}", _of_user(reservation.labels.user_id))


def reservation_reconciled(reservation: Reservation) -> Fact:
    """A settlement came after its reservation had ended."""
    message = BudgetReservationReconciled(
        reservation_id=reservation.reservation_id,
        labels=reservation.labels.values,
        amount=wire.to_money(reservation.amount),
        cost=wire.to_money(reservation.cost or 0),
        usage_id=reservation.usage_id,
    )
    return Fact(message, f"reservations/{reservation.reservation_id}", _of_user(reservation.labels.user_id))


def health_changed(resource: Resource, previous: State, state: State, reason: str) -> Fact:
    """The state of a provider, a model or a key changed."""
    message = ProviderHealthChanged(
        **resource._asdict(),
        previous_state=provider_pb2.ProviderState.ValueType(previous),
        state=provider_pb2.ProviderState.ValueType(state),
        reason=reason,
    )
    return Fact(message, resource.text)


def priority_changed(resource: Resource, previous: Priority, priority: Priority, out: Out | None) -> Fact:
    """A provider or a model got another place in the order."""
    message = ProviderPriorityChanged(
        provider_id=resource.provider_id,
        model=resource.model,
        previous_priority=health_pb2.Priority.ValueType(previous),
        priority=health_pb2.Priority.ValueType(priority),
    )
    if out is not None:
        message.cause = health_pb2.UnavailableCause.ValueType(out.cause)
        message.reason = out.reason
        if out.until is not None:
            message.until.CopyFrom(wire.to_timestamp(out.until))
    return Fact(message, resource.text)


def query_started(query: Query, reserved: int) -> Fact:
    """A conversation was given to a provider."""
    return _of_query(query, ProviderQueryStarted(**_query(query), reserved=wire.to_money(reserved)))


def query_completed(query: Query, finish: int, latency: timedelta, first_token: timedelta | None) -> Fact:
    """A conversation was answered and settled."""
    message = ProviderQueryCompleted(
        **_query(query),
        usage=chat_wire.to_usage(query.usage),
        cost=wire.to_money(query.cost),
        latency=wire.to_duration(latency),
        first_token_latency=None if first_token is None else wire.to_duration(first_token),
        attempts=len(query.tried),
        finish_reason=chat_pb2.FinishReason.ValueType(finish),
    )
    return _of_query(query, message)


def query_failed(query: Query, failure: Failure, latency: timedelta) -> Fact:
    """A conversation was not answered to its end; what came is settled."""
    message = ProviderQueryFailed(
        **_query(query),
        failure=health_pb2.FailureKind.ValueType(failure.kind),
        detail=failure.detail,
        cost=wire.to_money(query.cost),
        latency=wire.to_duration(latency),
        attempts=len(query.tried),
    )
    return _of_query(query, message)


def _query(query: Query) -> dict[str, Any]:
    return {
        "query_id": query.query_id,
        "provider_id": query.provider_id,
        "model": query.model,
        "user_id": query.labels.user_id,
        "labels": query.labels.values,
        "focus_area": query.focus_area,
    }


def _of_query(query: Query, message: Message) -> Fact:
    return Fact(message, f"queries/{query.query_id}", _of_user(query.labels.user_id))


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
        window = budget.rule.window_at(clock.now())
        slots = await budget_store.accounts(tx, budget.budget_id, told.holder, window)
        # a rolling window has moved on since it was told: what is spent now decides
        same = budget.rule.rolling or wire.to_timestamp(window.start) == told.period_start
        if same and reached(budget.limit, sum(account.spent for account in slots.values()), told.threshold):
            await budget_store.tighten(tx, budget.budget_id, told.holder, window.booked, told.threshold)

    async def learn(tx: Transaction, event: Event, data: Message) -> None:
        """Counts the score for the model that served the learner in that domain, if one did."""
        given = cast(CoachFeedbackGiven, data)
        # the bus takes any number as a score
        if given.provider_id and given.model and given.domain and 0 <= given.score <= 1:
            domain, model = quality.domain_of(given.domain), (given.provider_id, given.model)
            # learning finds a domain under any of its names, and callers select by them
            await domain_store.put_names(tx, domain, set(map(quality.domain_of, given.domain_aliases[:_MOST_ALIASES])))
            known = (await store.feedback_in(tx, domain)).get(model, Feedback())
            await store.put_feedback(tx, model, domain, known.plus(given.score))
            outcome = Observed(f"coach/{event.id}", clock.now(), model, given.score, 1.0)
            await selection_store.put_outcome(tx, outcome, remembered)

    return {"budget.threshold_exceeded": tighten, "coach.feedback.given": learn}
