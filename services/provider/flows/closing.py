"""The last of a query's two transactions: what was used is charged, what was reserved beyond it given back, all of it told."""

from collections.abc import Sequence
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from mesh.db import Transaction
from mesh.host import Host
from services.provider import events, query_store
from services.provider.availability import Outcome
from services.provider.chat import NONE_USED, Finish, Usage
from services.provider.failure import Failure, FailureKind
from services.provider.fallback import Target
from services.provider.flows import availability, reserving, selecting
from services.provider.flows.known import Known
from services.provider.pricing import Price
from services.provider.query import Came, Query, State, Tried

SUCCESS, FAILURE = 1, 2
_LOST = Failure(FailureKind.LOST, "whoever ran this query died; what the provider did of it is not known")


class End(Struct, frozen=True):
    """How a query ended: `usage` None when nothing came that would have to be paid for, `failure` None when it was answered.

    `characters` are those of the answer.
    """

    usage: Usage | None
    estimated: bool
    price: Price | None
    best: Price | None
    tried: Sequence[Tried]
    outcomes: Sequence[Outcome]
    latency: timedelta
    first_token: timedelta | None = None
    finish: Finish | None = None
    failure: Failure | None = None
    answer: bytes = b""
    characters: int = 0


async def end(host: Host, tx: Transaction, known: Known, query: Query, end: End) -> Query:
    """Settles a query, or gives its reservation back when there is nothing to pay; gives it as it stands then."""
    # models and keys that were deleted while it ran are noted no more
    await known.look(tx)
    await availability.note(host, tx, known, query.query_id, end.outcomes)
    if not end.outcomes:
        await availability.leave(host, tx, known, query.query_id, Target(*query.model_key))
    # more than nothing when providers before made some of the vectors
    cost, paid = query.cost, query.usage.input_tokens
    if end.usage is None:
        await reserving.release(host, tx, known, query.reservation_id)
    else:
        cost += (await reserving.settle(host, tx, known, query.reservation_id, _used(query, end, end.usage))).cost
    usage = end.usage or NONE_USED
    after = replace(
        query,
        state=State.COMPLETED if end.failure is None else State.FAILED,
        ended=host.clock.now(),
        usage=replace(usage, input_tokens=usage.input_tokens + paid) if paid else usage,
        usage_estimated=end.estimated,
        cost=cost,
        tried=tuple(end.tried),
        answer=end.answer if query.request_id else b"",
    )
    await query_store.put(tx, after)
    if end.failure is None:
        await host.tell(tx, events.query_completed(after, end.finish or Finish.STOP, end.latency, end.first_token))
    else:
        await host.tell(tx, events.query_failed(after, end.failure, end.latency))
    await learn(host, tx, known, query.query_id, end.outcomes)
    return after


async def learn(host: Host, tx: Transaction, known: Known, query_id: str, outcomes: Sequence[Outcome]) -> None:
    """Lets selection learn from how attempts ended."""
    for outcome in outcomes:
        kind, model = outcome.failure.kind if outcome.failure else None, (outcome.target.provider_id, outcome.target.model)
        await selecting.observe(host, tx, known, query_id, model, kind)


def _used(query: Query, end: End, usage: Usage) -> reserving.Used:
    price, best = end.price, end.best
    return reserving.Used(
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        cost=None if price is None else price_of(price, usage),
        outcome=SUCCESS if end.failure is None else FAILURE,
        latency=end.latency,
        selection_id=query.query_id,
        best_cost=None if best is None else price_of(best, usage),
        characters=0 if end.estimated or end.failure else end.characters,
    )


def price_of(price: Price, usage: Usage) -> int:
    """What a usage costs, in nano units."""
    cached, written = usage.cached_input_tokens, usage.cache_write_tokens
    return price.cost(
        usage.input_tokens,
        usage.output_tokens,
        cached,
        written,
        usage.hour_cache_tokens,
        audio_tokens=usage.audio_tokens,
        cached_audio_tokens=usage.cached_audio_tokens,
    )


async def lose(host: Host, tx: Transaction, known: Known, query: Query, came: Came | None) -> None:
    """Ends a query whose process is dead for certain: what is known to have come is charged, the rest given back, all told."""
    await availability.leave(host, tx, known, query.query_id, Target(*query.model_key))
    if came is None:
        await reserving.expire_now(host, tx, known, query.reservation_id)
    else:
        usage = came.usage
        used = reserving.Used(
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_input_tokens,
            cost=came.cost,
            outcome=FAILURE,
            latency=host.clock.now() - query.created,
            selection_id=query.query_id,
        )
        settled = await reserving.settle(host, tx, known, query.reservation_id, used)
        query = replace(query, usage=usage, usage_estimated=True, cost=query.cost + settled.cost)
    await abandon(host, tx, query)


async def abandon(host: Host, tx: Transaction, query: Query) -> None:
    """Notes that whoever ran a query died: its reservation has ended.

    One that was only slow is settled all the same, and tells how it ended after that.
    """
    now = host.clock.now()
    await query_store.put(tx, replace(query, state=State.EXPIRED, ended=now))
    await host.tell(tx, events.query_failed(query, _LOST, now - query.created))
