"""Reservations on their store. Each coroutine works inside the caller's write transaction, so that they compose with other steps.

A reservation counts in the windows of the moment at which it was made, whenever it is settled: its row in the ledger has that
moment too. So what budgets say was spent in a window is what the ledger says, and what is reserved is what open reservations hold.
"""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors
from mesh.db import Transaction
from mesh.host import Host
from services.provider import events, money, reservation_store, usage_store
from services.provider.burst import Load
from services.provider.flows import accounts, bursting, costing, learning
from services.provider.flows.admitting import admit
from services.provider.flows.known import Known
from services.provider.labels import Labels
from services.provider.reservation import Denied, Reservation, State

# what a message of the contract holds
_MOST_TOKENS = 2**31 - 1


class Ask(Struct, frozen=True):
    """What to set aside: an amount in nano units, or (None) the price of tokens for the labels' provider and model.

    `output_tokens` None is what was learned, or the worst case when the settings say so; `max_output_tokens` 0 is not known;
    `max_wait` None is what burst policies allow. With a `reservation_id` that is known already the reservation of that id is given,
    and nothing is changed.
    """

    labels: Labels
    amount: int | None = None
    input_tokens: int = 0
    output_tokens: int | None = None
    max_output_tokens: int = 0
    ttl: timedelta | None = None
    max_wait: timedelta | None = None
    reservation_id: str = ""
    # nobody can have used the id before
    fresh: bool = False
    dry_run: bool = False


class Used(Struct, frozen=True):
    """What a call used. `cost` None: the list price; `labels` None: those that were reserved for; `best_cost` None: not known.

    `characters` are those in which the output tokens were shown; 0: not known.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cost: int | None = None
    labels: Labels | None = None
    outcome: int = 0
    latency: timedelta = timedelta()
    selection_id: str = ""
    best_cost: int | None = None
    characters: int = 0


class Settled(Struct, frozen=True):
    """A reservation that ended with what was used. `again`: it had been settled before, and nothing was changed."""

    reservation: Reservation
    again: bool = False

    @property
    def cost(self) -> int:
        """What was spent, in nano units."""
        return self.reservation.cost or 0


async def reserve(host: Host, tx: Transaction, known: Known, ask: Ask) -> Reservation | Denied:
    """Sets money aside: every budget that covers the labels and every burst policy lets it through, or nothing is changed."""
    if ask.reservation_id and not ask.fresh and (before := await reservation_store.get(tx, ask.reservation_id)):
        return before
    now = host.clock.now()
    wanted = await _wanted(host, tx, known, ask, now)
    load = Load(1, wanted.tokens, wanted.amount)
    turn = await admit(tx, known, wanted, wanted.amount, load, now, ask.max_wait, dry_run=ask.dry_run)
    if isinstance(turn, Denied):
        return turn
    if ask.dry_run:
        standings = await accounts.covering(tx, known, ask.labels, now)
        return replace(wanted, reservation_id="", wait=turn.wait, standings=tuple(standings))
    if turn.wait or turn.taken:
        wanted = replace(wanted, wait=turn.wait, taken=turn.taken, expires=wanted.expires + turn.wait)
    await reservation_store.insert(tx, wanted)
    return wanted


async def _wanted(host: Host, tx: Transaction, known: Known, ask: Ask, now: datetime) -> Reservation:
    """The reservation as it will be, with what was left open filled in."""
    output = ask.output_tokens
    if output is None and (ask.amount is None or ask.labels.model):
        if known.settings.reserve_worst_case and ask.max_output_tokens:
            output = ask.max_output_tokens
        else:
            output = await learning.output_tokens(tx, known, ask.labels, ask.max_output_tokens)
    amount = ask.amount
    if amount is None:
        amount = costing.price_of(known, ask.labels).cost(ask.input_tokens, output or 0)
    ttl = known.settings.reservation_ttl if ask.ttl is None else ask.ttl
    expires = now + min(ttl, known.settings.reservation_longest)
    return Reservation(
        ask.reservation_id or host.ids(),
        ask.labels,
        amount,
        now,
        expires,
        ask.input_tokens,
        output or 0,
        max_output_tokens=ask.max_output_tokens,
    )


async def extend(
    host: Host,
    tx: Transaction,
    known: Known,
    reservation_id: str,
    *,
    amount: int = 0,
    tokens: int = 0,
    ttl: timedelta | None = None,
) -> Reservation | Denied:
    """Gives a reservation more money (nano units, and output tokens it is for) and more time; one that has expired is made anew.

    What was reserved stays when more is denied. NOT_FOUND for an unknown one, FAILED_PRECONDITION for a settled or released one.
    """
    before, now = await _get(tx, reservation_id), host.clock.now()
    if before.state not in (State.OPEN, State.EXPIRED):
        raise _ended(before, "extended")
    anew = before.state is State.EXPIRED
    more = amount + (before.amount if anew else 0)
    if more or anew:
        # a stream that runs cannot wait for a turn
        turn = await admit(tx, known, before, more, Load(0, tokens, amount), now, timedelta())
        if isinstance(turn, Denied):
            return turn
        before = replace(before, taken=before.taken + turn.taken)
    wished = now + min(known.settings.reservation_ttl if ttl is None else ttl, known.settings.reservation_longest)
    after = replace(
        before,
        state=State.OPEN,
        ended=None,
        amount=before.amount + amount,
        output_tokens=min(before.output_tokens + tokens, _MOST_TOKENS),
        expires=max(before.expires, wished),
    )
    await reservation_store.put(tx, after)
    return after


async def settle(host: Host, tx: Transaction, known: Known, reservation_id: str, used: Used) -> Settled:
    """Ends a reservation with what was used: ledger, budgets, bursts and estimates, whatever state it is in.

    What was spent is always recorded, also when it is more than was reserved or when the reservation had ended: that is told.
    """
    before, now = await _get(tx, reservation_id), host.clock.now()
    if before.state is State.SETTLED:
        return Settled(before, again=True)
    usage = _usage(host, known, before, used)
    await usage_store.insert_usage(tx, usage)
    late = before.state is not State.OPEN
    after = replace(before, state=State.SETTLED, ended=now, usage_id=usage.usage_id, cost=usage.cost, late=late)
    await reservation_store.put(tx, after)
    await _move(host, tx, known, before, usage, now)
    await bursting.correct(tx, known, before.taken, Load(1, used.input_tokens + used.output_tokens, usage.cost), now)
    await learning.observe(tx, known, usage.labels, used.output_tokens, before.max_output_tokens, now, used.characters)
    if late:
        await host.tell(tx, events.reservation_reconciled(after))
    return Settled(after)


def _usage(host: Host, known: Known, before: Reservation, used: Used) -> usage_store.Usage:
    labels = before.labels if used.labels is None else used.labels
    cost = used.cost
    if cost is None:
        cost = costing.price_of(known, labels).cost(used.input_tokens, used.output_tokens, used.cached_input_tokens)
    return usage_store.Usage(
        host.ids(),
        before.created,
        labels,
        used.input_tokens,
        used.output_tokens,
        used.cached_input_tokens,
        cost,
        used.cost is not None,
        used.selection_id,
        used.outcome,
        used.latency // timedelta(microseconds=1),
        used.best_cost,
    )


async def _move(host: Host, tx: Transaction, known: Known, before: Reservation, usage: usage_store.Usage, now: datetime) -> None:
    """Frees what was reserved and charges what was spent, budget by budget in the order of their ids."""
    held = before.amount if before.state is State.OPEN else 0
    index = (await known.limits.read(tx)).budgets
    if usage.labels == before.labels:
        for budget in index.covering(usage.labels):
            await accounts.spend(host, tx, budget, usage.labels, held, usage.cost, before.created, now)
        return
    shares = [(budget.budget_id, 0, budget, before.labels, held, 0) for budget in index.covering(before.labels)]
    shares += [(budget.budget_id, 1, budget, usage.labels, 0, usage.cost) for budget in index.covering(usage.labels)]
    for _, _, budget, labels, released, cost in sorted(shares, key=lambda share: share[:2]):
        await accounts.spend(host, tx, budget, labels, released, cost, before.created, now)


async def release(host: Host, tx: Transaction, known: Known, reservation_id: str) -> Reservation:
    """Ends a reservation of which nothing was used; one that is released or expired stays as it is."""
    before, now = await _get(tx, reservation_id), host.clock.now()
    if before.state is State.SETTLED:
        raise _ended(before, "released")
    if before.state is State.RELEASED:
        return before
    if before.state is State.OPEN:
        await _free(host, tx, known, before, now)
        await bursting.correct(tx, known, before.taken, Load(), now)
    after = replace(before, state=State.RELEASED, ended=now, taken=())
    await reservation_store.put(tx, after)
    return after


async def expire(host: Host, tx: Transaction, known: Known, limit: int) -> int:
    """Ends reservations whose time has run out, at most so many, and tells each; gives their number.

    Their turns at burst policies stay used: whether the call was made is not known, and credit comes back by itself.
    """
    now = host.clock.now()
    await reservation_store.begin_again(tx, now)
    due = await reservation_store.due(tx, now, limit)
    for reservation in due:
        await _expire(host, tx, known, reservation, now)
    return len(due)


async def expire_now(host: Host, tx: Transaction, known: Known, reservation_id: str) -> None:
    """Ends the reservation of somebody who is dead before its time has run out; does nothing with one that is not open."""
    before, now = await reservation_store.get(tx, reservation_id), host.clock.now()
    if before is not None and before.state is State.OPEN:
        await _expire(host, tx, known, replace(before, expires=min(before.expires, now)), now)


async def _expire(host: Host, tx: Transaction, known: Known, reservation: Reservation, now: datetime) -> None:
    await _free(host, tx, known, reservation, now)
    await reservation_store.put(tx, replace(reservation, state=State.EXPIRED, ended=now))
    await host.tell(tx, events.reservation_expired(reservation))


async def _free(host: Host, tx: Transaction, known: Known, reservation: Reservation, now: datetime) -> None:
    for budget in (await known.limits.read(tx)).budgets.covering(reservation.labels):
        await accounts.spend(host, tx, budget, reservation.labels, reservation.amount, 0, reservation.created, now)


async def _get(tx: Transaction, reservation_id: str) -> Reservation:
    found = await reservation_store.get(tx, reservation_id)
    if found is None:
        raise errors.not_found("reservation", reservation_id)
    return found


def _ended(reservation: Reservation, verb: str) -> errors.Refusal:
    state = reservation.state.name.lower()
    return errors.failed_precondition(
        f"reservations/{reservation.reservation_id}", f"it is {state}, so it cannot be {verb}; make a new one", state=state.upper()
    )


def refusal(denied: Denied) -> errors.Refusal:
    """RESOURCE_EXHAUSTED that names everything that stands against a reservation, and when waiting helps."""
    reason = ErrorReason.ERROR_REASON_BUDGET_SPENT
    if denied.cheaper_helps:
        reason = ErrorReason.ERROR_REASON_BUDGET_DEGRADES
    elif not denied.budgets:
        reason = ErrorReason.ERROR_REASON_BURST_EXCEEDED
    metadata = {"budgets": ",".join(denied.budgets), "policies": ",".join(denied.policies)}
    if denied.affordable is not None:
        metadata["affordable"] = money.show(max(denied.affordable, 0))
    violations = [(f"{item.source.value}/{item.name}", item.detail) for item in denied.denials]
    return errors.exhausted_by(violations, reason=reason, retry_after=denied.retry_after, **metadata)
