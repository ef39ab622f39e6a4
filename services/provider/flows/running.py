"""One query under way: what was tried, what came of the answer so far, and what is set aside for the model that is asked."""

import logging
from datetime import timedelta

from msgspec.structs import replace

from mesh.db import Transaction
from mesh.errors import Refusal
from mesh.host import Host
from services.provider import query_store, selection_store, tokens
from services.provider.assembling import Assembler
from services.provider.attempts import Try
from services.provider.availability import Outcome
from services.provider.chat import Delta, Usage
from services.provider.completing_port import Ask
from services.provider.failure import Failure, FailureKind
from services.provider.fallback import Candidate, Target
from services.provider.flows import availability, closing, learning, opening, reserving
from services.provider.flows.closing import End
from services.provider.flows.known import Known
from services.provider.flows.opening import Opened
from services.provider.pricing import Price
from services.provider.query import Came, Query, Tried
from services.provider.reservation import Denied, Reservation

log = logging.getLogger(__name__)


def is_away(refusal: Refusal) -> bool:
    """Whether the store cannot write now: another process holds its lock, too many writes wait, the disk is full."""
    return refusal.code.name in ("UNAVAILABLE", "RESOURCE_EXHAUSTED")


class _DeniedError(Exception):
    """Budgets or bursts do not let another model through."""

    def __init__(self, denied: Denied) -> None:
        super().__init__()
        self.denied = denied


class Running:
    """The course of one query, from its first transaction to its last."""

    def __init__(self, host: Host, known: Known, ask: Ask, opened: Opened, deadline: timedelta, begun: float) -> None:
        self._host, self._known, self._ask, self._opened = host, known, ask, opened
        self._deadline, self._begun = deadline, begun
        self.query: Query = opened.query
        self.reservation: Reservation = opened.reservation
        self.answer = Assembler()
        # as it was when the model was asked: a model that leaves the registry meanwhile has to be paid for all the same
        self._price = opened.price
        self._tried: list[Tried] = []
        self._outcomes: list[Outcome] = []
        self._first_token: timedelta | None = None
        self._attempt_begun = begun
        # output tokens that are paid for
        self._paid_tokens = opened.reservation.output_tokens
        self._characters_per_token = opened.characters_per_token

    @property
    def target(self) -> Target:
        """The model that is asked."""
        return Target(self.query.provider_id, self.query.model)

    def elapsed(self) -> timedelta:
        """How long it is under way."""
        return timedelta(seconds=self._host.clock.monotonic() - self._begun)

    @property
    def expired(self) -> bool:
        """Whether its reservation's time has run out."""
        return self._host.clock.now() > self.reservation.expires

    def begin_attempt(self) -> None:
        """An attempt begins: nothing of its answer is there."""
        if self.answer.vectors is None:
            # vectors stay: the same model goes on where another key, or the same one, ended
            self.answer = Assembler()
        self._first_token = None
        self._attempt_begun = self._host.clock.monotonic()

    def add(self, delta: Delta) -> None:
        """A piece of the answer came."""
        self.answer.add(delta)
        if self._ask.stream and self._first_token is None and self.answer.begun:
            self._first_token = timedelta(seconds=self._host.clock.monotonic() - self._attempt_begun)

    def end_attempt(self, attempt: Try, failure: Failure | None) -> None:
        """Remembers how an attempt ended."""
        latency = timedelta(seconds=self._host.clock.monotonic() - self._attempt_begun)
        target = attempt.candidate.target
        kind, detail = (failure.kind, failure.detail) if failure else (None, "")
        self._tried.append(Tried(target.provider_id, target.model, attempt.key_id, kind, detail, latency))
        output = self.answer.usage.output_tokens if self.answer.usage else 0
        self._outcomes.append(Outcome(target, attempt.key_id, failure, latency, self._first_token, output))

    def may_ask(self, target: Target) -> bool:
        """Whether a model is still there to be asked; that it is not, is among what was tried."""
        model = self._known.registry.model(target.provider_id, target.model)
        if model is None or not model.enabled:
            detail = "it was taken out of the registry, or switched off, while this query ran"
            self._tried.append(Tried(target.provider_id, target.model, kind=FailureKind.UNREACHABLE, detail=detail))
            return False
        return True

    async def move(self, candidate: Candidate) -> bool:
        """Goes on with another model: what failed is noted, what was set aside is given back and set aside anew.

        False when budgets or bursts do not let the other one through; then all is as it was, and why is among what was tried.
        """
        try:
            query, made, price, per_token = await self._host.db.submit(lambda tx: self._move(tx, candidate), brief=True)
        except _DeniedError as error:
            target, kind = candidate.target, FailureKind.QUOTA_EXHAUSTED
            self._tried.append(Tried(target.provider_id, target.model, kind=kind, detail=reserving.refusal(error.denied).message))
            return False
        self.query, self.reservation, self._paid_tokens = query, made, made.output_tokens
        self._price, self._characters_per_token = price, per_token
        self._outcomes = []
        return True

    async def _move(self, tx: Transaction, candidate: Candidate) -> tuple[Query, Reservation, Price | None, float]:
        host, known, target = self._host, self._known, candidate.target
        await known.look(tx)
        await availability.note(host, tx, known, self.query.query_id, self._outcomes)
        await closing.learn(host, tx, known, self.query.query_id, self._outcomes)
        before = await self._leave(tx)
        left = max(self._deadline - self.elapsed(), timedelta())
        wish = opening.asked_for(known, host.ids(), self._ask, target, max(self.reservation.input_tokens - self._unpaid(), 0), left)
        made = await reserving.reserve(host, tx, known, replace(wish, max_wait=timedelta()))
        if isinstance(made, Denied):
            # undoes all of the transaction
            raise _DeniedError(made)
        seen = await availability.read(host, tx, known)
        await availability.enter(tx, seen, self.query.query_id, (candidate,))
        query = replace(
            before,
            provider_id=target.provider_id,
            model=target.model,
            reservation_id=made.reservation_id,
            tried=tuple(self._tried),
            until=made.expires,
        )
        await query_store.put(tx, query)
        return query, made, known.price_of(*target), await learning.characters_per_token(tx, known, target)

    async def _leave(self, tx: Transaction) -> Query:
        """Gives back what is set aside for a model; vectors that it made are paid for and stay: the same model goes on."""
        host, known, reservation_id = self._host, self._known, self.reservation.reservation_id
        made = self._unpaid()
        if not made:
            await reserving.release(host, tx, known, reservation_id)
            return self.query
        cost = None if self._price is None else self._price.cost(made, 0)
        used = reserving.Used(made, cost=cost, outcome=closing.FAILURE, latency=self.elapsed(), selection_id=self.query.query_id)
        settled = await reserving.settle(host, tx, known, reservation_id, used)
        return replace(self.query, usage=self.answer.usage or self.query.usage, cost=self.query.cost + settled.cost)

    def _unpaid(self) -> int:
        """Tokens of the vectors that came and were not paid for yet."""
        usage = self.answer.usage
        return usage.input_tokens - self.query.usage.input_tokens if self.answer.vectors is not None and usage else 0

    @property
    def needs_more(self) -> bool:
        """Whether more came than is paid for."""
        return round(self.answer.characters / self._characters_per_token) > self._paid_tokens

    async def top_up(self) -> Denied | None:
        """Sets aside as much again, so that a long answer costs a few transactions and not one a piece."""
        known = self._known
        more = max(self._paid_tokens, known.settings.top_up_tokens)
        amount = self._price.cost(0, more) if self._price else 0
        # no longer than it stands anyway: a process that dies must not hold a budget back
        ttl = max(self._deadline - self.elapsed(), timedelta()) + known.settings.settle_grace
        found: Reservation | Denied | None = None
        try:
            found = await self._host.db.submit(lambda tx: self._top_up(tx, amount, more, ttl), brief=True)
        except Refusal as refusal:
            if not is_away(refusal):
                raise
            # an answer that is paid for is not lost to a full disk: it goes on, and its settlement waits for the store
            log.warning("query %s goes on without more set aside: %s", self.query.query_id, refusal)
        if isinstance(found, Denied) and found.budgets:
            return found
        if isinstance(found, Reservation):
            self.reservation = found
        # bursts are about when calls begin: one that runs goes on, and what it takes is counted when it is settled
        self._paid_tokens += more
        return None

    async def _top_up(self, tx: Transaction, amount: int, more: int, ttl: timedelta) -> Reservation | Denied:
        host, known, reservation_id = self._host, self._known, self.reservation.reservation_id
        usage, _ = tokens.to_charge(self._ask.content, self.answer, finished=False, characters_per_token=self._characters_per_token)
        if usage is not None:
            # should this process be killed, so much has to be paid for certain
            cost = None if self._price is None else closing.price_of(self._price, usage)
            await query_store.put_came(tx, self.query.query_id, Came(usage, cost))
        return await reserving.extend(host, tx, known, reservation_id, amount=amount, tokens=more, ttl=ttl)

    async def end(self, tx: Transaction, failure: Failure | None, answer: bytes = b"") -> Query:
        """Settles the query as far as it came."""
        usage, estimated = tokens.to_charge(
            self._ask.content, self.answer, finished=failure is None, characters_per_token=self._characters_per_token
        )
        if usage is not None and self.answer.vectors is not None:
            usage = Usage(unpaid) if (unpaid := self._unpaid()) else None
        end = End(
            usage,
            estimated,
            self._price,
            self._opened.best,
            self._tried,
            self._outcomes,
            self.elapsed(),
            None if self._first_token is None else timedelta(seconds=self._attempt_begun - self._begun) + self._first_token,
            self.answer.finish,
            failure,
            answer,
            self.answer.characters,
        )
        query = await closing.end(self._host, tx, self._known, self.query, end)
        if failure is None and self.query.model_key != self._opened.query.model_key:
            await self._remember(tx, query)
        return query

    async def _remember(self, tx: Transaction, query: Query) -> None:
        """Another model answered than was chosen: what was said is in that one's cache."""
        settings, model, now = self._known.settings, query.model_key, query.created
        if self._ask.session_id:
            await selection_store.note_session(tx, self._ask.session_id, model, now, now - settings.session_time)
        if prefix_key := opening.prefix_of(self._ask.content, self._known)[0]:
            await selection_store.note_prefix(tx, prefix_key, model, now, now - settings.prefix_time)
