"""One query under way: what was tried, what came of the answer so far, and what is set aside for the model that is asked."""

from dataclasses import replace
from datetime import timedelta

from mesh.db import Transaction
from mesh.host import Host
from services.provider import query_store, tokens
from services.provider.assembling import Assembler
from services.provider.attempts import Try
from services.provider.availability import Outcome
from services.provider.chat import Delta, Usage
from services.provider.completing_port import Ask
from services.provider.failure import Failure, FailureKind
from services.provider.fallback import Candidate, Target
from services.provider.flows import availability, closing, opening, reserving
from services.provider.flows.closing import End
from services.provider.flows.known import Known
from services.provider.flows.opening import Opened
from services.provider.pricing import Price
from services.provider.query import Query, Tried
from services.provider.reservation import Denied, Reservation


class Running:
    """The course of one query, from its first transaction to its last."""

    def __init__(self, host: Host, known: Known, ask: Ask, opened: Opened, deadline: timedelta, begun: float) -> None:
        self._host, self._known, self._ask, self._opened = host, known, ask, opened
        self._deadline, self._begun = deadline, begun
        self.query: Query = opened.query
        self.reservation: Reservation = opened.reservation
        self.answer = Assembler()
        self.asked: Candidate | None = None
        self._tried: list[Tried] = []
        self._outcomes: list[Outcome] = []
        self._first_token: timedelta | None = None
        self._attempt_begun = begun
        # output tokens that the reservation is for
        self._paid_tokens = opened.reservation.output_tokens

    @property
    def target(self) -> Target:
        """The model that is asked."""
        return Target(self.query.provider_id, self.query.model)

    def _price(self) -> Price | None:
        return self._known.price_of(self.query.provider_id, self.query.model)

    def elapsed(self) -> timedelta:
        """How long it is under way."""
        return timedelta(seconds=self._host.clock.monotonic() - self._begun)

    def begin_attempt(self) -> None:
        """An attempt begins: nothing of its answer is there."""
        self.answer, self._first_token = Assembler(), None
        self._attempt_begun = self._host.clock.monotonic()

    def add(self, delta: Delta) -> None:
        """A piece of the answer came."""
        self.answer.add(delta)
        if self._first_token is None and self.answer.begun:
            self._first_token = timedelta(seconds=self._host.clock.monotonic() - self._attempt_begun)

    def end_attempt(self, attempt: Try, failure: Failure | None) -> None:
        """Remembers how an attempt ended."""
        latency = timedelta(seconds=self._host.clock.monotonic() - self._attempt_begun)
        target = attempt.candidate.target
        kind, detail = (failure.kind, failure.detail) if failure else (None, "")
        self._tried.append(Tried(target.provider_id, target.model, attempt.key_id, kind, detail, latency))
        output = self.answer.usage.output_tokens if self.answer.usage else 0
        self._outcomes.append(Outcome(target, attempt.key_id, failure, latency, self._first_token, output))

    async def move(self, tx: Transaction, candidate: Candidate) -> Failure | None:
        """Goes on with another model: what failed is noted, what was set aside is given back and set aside anew.

        A Failure when budgets or bursts do not let the other one through.
        """
        host, known = self._host, self._known
        await availability.note(host, tx, known, self.query.query_id, self._outcomes)
        self._outcomes = []
        await reserving.release(host, tx, known, self.reservation.reservation_id)
        left = max(self._deadline - self.elapsed(), timedelta())
        wish = opening.asked_for(known, host.ids(), self._ask, candidate.target, left)
        made = await reserving.reserve(host, tx, known, replace(wish, max_wait=timedelta()))
        if isinstance(made, Denied):
            return Failure(FailureKind.QUOTA_EXHAUSTED, reserving.refusal(made).message)
        seen = await availability.read(host, tx, known)
        await availability.enter(tx, seen, self.query.query_id, (candidate,), made.expires - made.created)
        target = candidate.target
        self.reservation, self._paid_tokens = made, made.output_tokens
        self.query = replace(
            self.query, provider_id=target.provider_id, model=target.model, reservation_id=made.reservation_id, tried=self._tried
        )
        await query_store.put(tx, self.query)
        return None

    @property
    def needs_more(self) -> bool:
        """Whether more came than is paid for."""
        return tokens.of_characters(self.answer.characters) > self._paid_tokens

    async def top_up(self, tx: Transaction) -> Denied | None:
        """Sets aside as much again, so that a long answer costs a few transactions and not one a piece."""
        more = max(self._paid_tokens, self._known.settings.top_up_tokens)
        price = self._price()
        amount = price.cost(0, more) if price else 0
        found = await reserving.extend(
            self._host, tx, self._known, self.reservation.reservation_id, amount=amount, tokens=more, ttl=self._deadline
        )
        if isinstance(found, Denied):
            return found
        self.reservation = found
        self._paid_tokens += more
        return None

    async def end(self, tx: Transaction, failure: Failure | None, answer: bytes = b"") -> Query:
        """Settles the query as far as it came."""
        usage, estimated = self.used(finished=failure is None)
        end = End(
            usage,
            estimated,
            self._price(),
            self._opened.best,
            self._tried,
            self._outcomes,
            self.elapsed(),
            self._first_token,
            self.answer.finish,
            failure,
            answer,
        )
        return await closing.end(self._host, tx, self._known, self.query, end)

    def used(self, *, finished: bool) -> tuple[Usage | None, bool]:
        """Tokens to pay for, and whether they are estimated; None when nothing came."""
        if not finished and not self.answer.begun and self.answer.usage is None:
            return None, False
        told = self.answer.usage
        if told is not None and (finished or told.output_tokens):
            return told, False
        # what a stream tells before its end (Anthropic's input tokens) is right as far as it goes
        told_input = told.input_tokens if told is not None and told.input_tokens else tokens.of_chat(self._ask.chat)
        output = tokens.of_characters(self.answer.characters)
        base = told or Usage()
        return replace(base, input_tokens=told_input, output_tokens=max(output, base.output_tokens)), True
