"""The first of a query's two transactions: who may answer, what is set aside for it, and that it has begun."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import astuple, replace
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors
from mesh.db import Transaction
from mesh.host import Host
from services.provider import events, query_store, selection_store, tokens
from services.provider.availability import Availability
from services.provider.chat import Chat
from services.provider.completing_port import Ask, is_name
from services.provider.fallback import Candidate, Cause, Plan, Target
from services.provider.flows import availability, embedding, fallbacks, learning, reserving, selecting
from services.provider.flows.advising import Advisor
from services.provider.flows.keyring import Keyring
from services.provider.flows.known import Known
from services.provider.keys import Key
from services.provider.options import Exclusion, Option, Ranked
from services.provider.pricing import Price
from services.provider.query import Query, State
from services.provider.reservation import Denied, Reservation
from services.provider.routing import Size
from services.provider.texts import Texts

_SOON = timedelta(seconds=1)


class Opened(Struct, frozen=True):
    """A query that has begun: what is set aside, whom to ask with which keys, and what the dearest of quality would cost.

    `price` is that of the model that is asked first; `characters_per_token` is how tokens of the answer are counted while it comes.
    """

    query: Query
    reservation: Reservation
    plan: Plan
    keys: Mapping[str, tuple[Key, ...]]
    price: Price | None
    best: Price | None
    characters_per_token: float


def digest(ask: Ask) -> bytes:
    """What was asked, for telling a repeat from another request under the same id; the same in every process."""
    # sets have an order of their own in each process
    demands = [sorted(value) if isinstance(value, frozenset) else value for value in astuple(ask.constraints)]
    chosen = (ask.model, ask.policy_id, ask.strategy, ask.quality_weight, demands, ask.fallback_chain)
    said = repr((ask.content, chosen, ask.session_id, ask.focus_area, sorted(ask.labels.items())))
    return hashlib.sha256(said.encode()).digest()


class Opening:
    """Opens queries."""

    def __init__(self, host: Host, known: Known, keyring: Keyring, advisor: Advisor, owner_id: str) -> None:
        self._host, self._known, self._keyring, self._advisor, self._owner_id = host, known, keyring, advisor, owner_id

    async def prepare(self, ask: Ask) -> selecting.Ask:
        """What selection needs to know, before the transaction: it may embed the prompt."""
        wanted = _wanted(ask, self._known, ask.request_id or self._host.ids())
        return await selecting.prepare(self._host, self._known, self._advisor, wanted)

    async def begin(self, tx: Transaction, ask: Ask, wanted: selecting.Ask, deadline: timedelta) -> Opened | Query:
        """Chooses, reserves and notes that a query begins; the query of before when this request id was answered already."""
        await self._known.look(tx)
        if (before := await answered(tx, ask)) is not None:
            return before
        host, known, query_id = self._host, self._known, self._host.ids()
        seen = await availability.read(host, tx, known)
        choice = await self._choose(tx, ask, wanted, seen)
        chain = await fallbacks.chain_of(tx, ask.fallback_chain)
        fitting = choice.ranked if choice.ask.alias else named(choice.ranked, ask.model)
        # no chain and no thin budget leads to a provider that caller or policy do not want
        may = {item.option.key for item in choice.ranked if choice.meets(item)}
        ranked = [item.option.key for item in in_order(fitting, by_name=ask.by_name) if item.option.key in may]
        others = [target for targets in chain.values() for target in targets if target in may]
        able = await fallbacks.callable_of(tx, known, self._keyring, [*ranked, *others], query_id)
        if not (ranked if ask.by_name else able.candidates) and (stand_in := self._stand_in(ask)):
            ranked = [stand_in]
            able = await fallbacks.callable_of(tx, known, self._keyring, ranked, query_id)
        plan = seen.narrowed(fallbacks.plan(able.candidates, chain, ranked))
        usable = plan.course()
        if not usable:
            raise _nobody(known, seen, fitting, ask.model)
        reservation, left = await self._reserve(tx, query_id, ask, usable, wanted.size.input_tokens, deadline)
        first = left[0].target
        await availability.enter(tx, seen, query_id, left[:1])
        query = Query(
            query_id,
            reservation.created,
            ask.all_labels,
            first.provider_id,
            first.model,
            reservation.reservation_id,
            ask.focus_area,
            request_id=ask.request_id,
            request_hash=digest(ask) if ask.request_id else b"",
            until=reservation.expires,
            owner=self._owner_id,
        )
        selection = await selecting.keep(host, tx, known, choice, query_id, (first.provider_id, first.model))
        await selecting.remember(tx, known, choice.ask, selection)
        await query_store.insert(tx, query)
        await host.tell(tx, events.query_started(query, reservation.amount))
        # of vectors none is the better
        best = None if isinstance(ask.content, Texts) else _price_of_best(known, choice.candidates)
        price = known.price_of(*first)
        per_token = await learning.characters_per_token(tx, known, first)
        return Opened(query, reservation, from_there(plan, left), able.keys, price, best, per_token)

    async def _choose(self, tx: Transaction, ask: Ask, wanted: selecting.Ask, seen: Availability) -> selecting.Choice:
        """The models by rank; a name that no model has is an alias."""
        if isinstance(ask.content, Texts):
            wanted = replace(wanted, embeds=await embedding.model_of(tx, self._known, ask.model))
        if ask.by_name and ask.model not in self._known.registry.names:
            if await selection_store.get_alias(tx, ask.model) is None:
                raise errors.not_found("model", ask.model)
            wanted = replace(wanted, alias=ask.model)
        return await selecting.choose(self._host, tx, self._known, wanted, seen)

    async def _reserve(
        self, tx: Transaction, query_id: str, ask: Ask, usable: Sequence[Candidate], input_tokens: int, deadline: timedelta
    ) -> tuple[Reservation, tuple[Candidate, ...]]:
        """Sets aside what the first candidate that budgets and bursts let through will cost; with it, the candidates from there."""
        first: Denied | None = None
        for place, candidate in enumerate(usable):
            wish = asked_for(self._known, query_id, ask, candidate.target, input_tokens, deadline)
            made = await reserving.reserve(self._host, tx, self._known, wish)
            if isinstance(made, Reservation):
                return made, tuple(usable[place:])
            first = first or made
            if not made.budgets:
                # bursts stand against every model alike, or so nearly that asking on would only use up turns
                break
        if first is None:
            raise ValueError("there is nobody to set anything aside for")
        raise reserving.refusal(first)

    def _stand_in(self, ask: Ask) -> Target | None:
        """The echo, when it is asked for by its name, or when nothing is configured that could answer."""
        echoes = [provider for provider in self._known.registry.providers.values() if provider.stands_in and provider.models]
        if not echoes:
            return None
        fit = [model.key for model in echoes[0].models if model.embeds is isinstance(ask.content, Texts)]
        if ask.by_name:
            return next((target for target in fit if ask.model in (target.model, "/".join(target))), None)
        return None if self._known.configured else next(iter(fit), None)


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


def _wanted(ask: Ask, known: Known, chance: str) -> selecting.Ask:
    if isinstance(ask.content, Texts):
        return embedding.wanted(ask, ask.content, chance)
    chat = ask.chat
    most = chat.max_output_tokens or known.settings.default_output_tokens
    prefix_key, prefix_tokens = prefix_of(chat, known)
    return selecting.Ask(
        size=Size(tokens.of_chat(chat), most),
        query=chat.question,
        focus_area=ask.focus_area,
        labels=ask.all_labels,
        strategy=ask.strategy,
        policy_id=ask.policy_id,
        quality_weight=ask.quality_weight,
        # who names a model knows what it can do, perhaps better than the registry
        constraints=ask.constraints if ask.by_name else ask.constraints.needing(chat.needs),
        session_id=ask.session_id,
        prefix_key=prefix_key,
        prefix_tokens=prefix_tokens,
        chance=chance,
    )


def prefix_of(chat: Chat | Texts, known: Known) -> tuple[str, int]:
    """By what a beginning is known that providers cache, and its tokens; "" and 0 for one that is too short, and for texts."""
    if isinstance(chat, Texts):
        return "", 0
    beginning = tokens.of_beginning(chat)
    if beginning < known.settings.prefix_least_tokens:
        return "", 0
    return hashlib.sha256(repr(chat.beginning).encode()).hexdigest(), beginning


def named(ranked: Sequence[Ranked], model: str) -> Sequence[Ranked]:
    """Those that the caller's name stands for; all of them for none."""
    if not is_name(model):
        return ranked
    return [item for item in ranked if model in (item.option.model, "/".join(item.option.key))]


def in_order(ranked: Sequence[Ranked], *, by_name: bool) -> list[Ranked]:
    """Those that are in by rank, then those that only an estimate keeps out, the cheapest first.

    Selection thinks of the longest answer that may come; what is set aside is what is likely, and that decides about budgets. And
    how long a text is in tokens only its model knows: who named the model may ask it.
    """
    estimated = {Exclusion.BUDGET_SPENT, Exclusion.CONTEXT_WINDOW} if by_name else {Exclusion.BUDGET_SPENT}
    out = [item for item in ranked if item.exclusion in estimated]
    return [item for item in ranked if item.exclusion is None] + sorted(out, key=lambda item: item.option.cost or 0)


def asked_for(known: Known, query_id: str, ask: Ask, target: Target, input_tokens: int, deadline: timedelta) -> reserving.Ask:
    """What to set aside for a call to a target."""
    content = ask.content
    # of vectors the price is that of the input
    output, most = (0, 0) if isinstance(content, Texts) else (None, content.max_output_tokens or 0)
    return reserving.Ask(
        ask.all_labels.plus(provider=target.provider_id, model=target.model),
        input_tokens=input_tokens,
        output_tokens=output,
        max_output_tokens=most,
        # a query that is still there when its deadline has passed is settled soon
        ttl=deadline + known.settings.settle_grace,
        max_wait=deadline,
        reservation_id=query_id,
        fresh=True,
    )


def from_there(plan: Plan, left: Sequence[Candidate]) -> Plan:
    """The plan without the candidates before the one that can be paid for."""
    may = {candidate.target for candidate in left}
    chains = {
        cause: tuple(item for item in items if item.target in may or cause is not Cause.GENERAL)
        for cause, items in plan.chains.items()
    }
    return Plan(tuple(left), chains)


def _price_of_best(known: Known, ranked: Sequence[Ranked]) -> Price | None:
    """The price of the model of the highest quality that could be called: against it is measured what routing saves.

    Of several that are equally good it is the cheapest: whoever always takes the best has no reason to pay more, and what nobody
    would have spent is not saved.
    """
    providers = {item.option.provider_id for item in ranked}
    could = {provider_id for provider_id in providers if fallbacks.may_call(known, provider_id)}
    options = [item.option for item in ranked if item.option.provider_id in could]
    best = min(options, key=best_first, default=None)
    return None if best is None else known.price_of(*best.key)


def best_first(option: Option) -> tuple[float, bool, int, Target]:
    """What sorts models by quality, the equally good by cost, and those by name."""
    return -option.quality, option.cost is None, option.cost or 0, option.key


def _nobody(known: Known, seen: Availability, fitting: Sequence[Ranked], model: str) -> errors.Refusal:
    """RESOURCE_EXHAUSTED when only rate limits are in the way, UNAVAILABLE when somebody comes back; else why nobody can answer."""
    targets = [item.option.key for item in fitting]
    outs = [out for target in targets if (out := seen.out(target, known.keys_of(target.provider_id))) is not None]
    if not outs:
        return selecting.refusal(fitting, model)
    returns = [out.until - seen.now for out in outs if out.until is not None]
    wait = max(min(returns, default=_SOON), _SOON)
    if all(seen.is_rate_limited(out) for out in outs):
        reason = ErrorReason.ERROR_REASON_REMOTE_RATE_LIMITED
        return errors.exhausted(outs[0].resource.text, outs[0].text, reason=reason, retry_after=wait)
    return errors.unavailable("every model that could answer", retry_after=wait, detail=outs[0].text)
