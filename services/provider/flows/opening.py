"""The first of a query's two transactions: who may answer, what is set aside for it, and that it has begun."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors
from mesh.db import Transaction
from mesh.host import Host
from services.provider import events, query_store, tokens
from services.provider.availability import Availability
from services.provider.completing_port import Ask
from services.provider.fallback import Candidate, Plan, Target
from services.provider.flows import availability, fallbacks, reserving, selecting
from services.provider.flows.known import Known
from services.provider.labels import Labels
from services.provider.pricing import Price
from services.provider.query import Query, State
from services.provider.reservation import Denied, Reservation
from services.provider.routing import Ranked, Size

_SOON = timedelta(seconds=1)


@dataclass(frozen=True)
class Opened:
    """A query that has begun: what is set aside, whom to ask, and what each would cost."""

    query: Query
    reservation: Reservation
    plan: Plan
    prices: Mapping[Target, Price]
    best: Price | None


def digest(ask: Ask) -> bytes:
    """What was asked, for telling a repeat from another request under the same id."""
    said = repr((ask.chat, ask.model, sorted(ask.labels.items()), ask.session_id, ask.focus_area))
    return hashlib.sha256(said.encode()).digest()


async def answered(tx: Transaction, ask: Ask) -> Query | None:
    """The query that this request id was answered by; a Refusal while it runs or when the id was used for something else."""
    if not ask.request_id:
        return None
    before = await query_store.by_request(tx, ask.request_id)
    if before is None:
        return None
    if before.request_hash != digest(ask):
        detail = "it was used for another request; use a new id"
        reason = ErrorReason.ERROR_REASON_REQUEST_ID_REUSED
        raise errors.already_exists("request_id", ask.request_id, detail, reason=reason)
    if before.state is State.COMPLETED:
        return before
    if before.state is State.RUNNING:
        raise errors.unavailable("the answer", retry_after=_SOON, detail=f"query {before.query_id} of this request id still runs")
    await query_store.free_request(tx, before.query_id)
    return None


async def begin(host: Host, tx: Transaction, known: Known, ask: Ask, deadline: timedelta) -> Opened | Query:
    """Chooses, reserves and notes that a query begins; the query of before when this request id was answered already."""
    if (before := await answered(tx, ask)) is not None:
        return before
    query_id = host.ids()
    seen = await availability.read(host, tx, known)
    choice = await selecting.choose(host, tx, known, _wanted(ask, known), seen)
    if not choice.candidates:
        raise selecting.refusal(choice)
    plan = await fallbacks.plan(tx, known, choice, ask.fallback_chain)
    usable = seen.usable(plan.course())
    if not usable:
        raise _nobody(seen, plan)
    reservation, left = await _reserve(host, tx, known, query_id, ask, usable, deadline)
    first = left[0].target
    ttl = reservation.expires - reservation.created
    await availability.enter(host, tx, known, seen, query_id, left[:1], ttl)
    await selecting.keep(host, tx, choice, query_id, first)
    query = Query(
        query_id,
        reservation.created,
        Labels.of(ask.labels),
        first.provider_id,
        first.model,
        ask.focus_area,
        request_id=ask.request_id,
        request_hash=digest(ask) if ask.request_id else b"",
    )
    await query_store.insert(tx, query)
    await host.tell(tx, events.query_started(query, reservation.amount))
    return Opened(query, reservation, plan.only(left), _prices(known, left), _price_of_best(known, choice.candidates))


def _wanted(ask: Ask, known: Known) -> selecting.Ask:
    most = ask.chat.max_output_tokens or known.settings.default_output_tokens
    return selecting.Ask(
        size=Size(tokens.of_chat(ask.chat), most),
        query=tokens.last_words(ask.chat),
        focus_area=ask.focus_area,
        labels=Labels.of(ask.labels),
        model=ask.model,
        session_id=ask.session_id,
        policy=ask.policy,
        capabilities=tokens.needs(ask.chat),
    )


async def _reserve(
    host: Host, tx: Transaction, known: Known, query_id: str, ask: Ask, usable: tuple[Candidate, ...], deadline: timedelta
) -> tuple[Reservation, tuple[Candidate, ...]]:
    """Sets aside what the first candidate that budgets and bursts let through will cost; with it, the candidates from there on."""
    first: Denied | None = None
    for place, candidate in enumerate(usable):
        made = await reserving.reserve(host, tx, known, asked_for(known, query_id, ask, candidate.target, deadline))
        if isinstance(made, Reservation):
            return made, usable[place:]
        first = first or made
        if not made.budgets:
            break
    if first is None:
        raise ValueError("nobody to ask")
    raise reserving.refusal(first)


def asked_for(known: Known, query_id: str, ask: Ask, target: Target, deadline: timedelta) -> reserving.Ask:
    """What to set aside for a call to a target."""
    return reserving.Ask(
        Labels.of(ask.labels).plus(provider=target.provider_id, model=target.model),
        input_tokens=tokens.of_chat(ask.chat),
        max_output_tokens=ask.chat.max_output_tokens or 0,
        # a query that is still there when its deadline has passed is settled soon
        ttl=deadline + known.settings.settle_grace,
        max_wait=deadline,
        reservation_id=query_id,
    )


def _prices(known: Known, candidates: tuple[Candidate, ...]) -> dict[Target, Price]:
    found = {item.target: known.registry.price_of(item.target.provider_id, item.target.model) for item in candidates}
    return {target: price for target, price in found.items() if price is not None}


def _price_of_best(known: Known, ranked: list[Ranked]) -> Price | None:
    """The price of the model of the highest quality: against it is measured what routing saves."""
    best = max(ranked, key=lambda item: item.option.quality, default=None)
    return None if best is None else known.registry.price_of(best.option.provider_id, best.option.model)


def _nobody(seen: Availability, plan: Plan) -> errors.Refusal:
    """UNAVAILABLE, and when the first of them comes back."""
    outs = [out for item in plan.course() if (out := seen.out(item.target, item.keys)) is not None]
    returns = [out.until - seen.now for out in outs if out.until is not None]
    detail = outs[0].text if outs else "no key is free"
    return errors.unavailable("every model that could answer", retry_after=max(min(returns, default=_SOON), _SOON), detail=detail)
