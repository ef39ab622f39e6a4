"""Choosing a model: `prepare` looks at the prompt, `choose` ranks in one transaction, `keep` stores and tells, `observe` learns.

ask = await selecting.prepare(host, known, advisor, Ask(...))     # before the transaction: it may embed the prompt
choice = await selecting.choose(host, tx, known, ask, seen)       # reads only, after known.look; `seen` is what is available
selection = await selecting.keep(host, tx, known, choice)                # not for a dry run
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors
from mesh.db import Transaction
from mesh.host import Host
from services.provider import events, explanation, routing, selection_store, sharing, store
from services.provider.availability import Availability
from services.provider.constraints import NOTHING, Constraints, first_unmet, unfit
from services.provider.explanation import Explanation
from services.provider.failure import FailureKind
from services.provider.flows import advising, offers
from services.provider.flows.advising import Advisor
from services.provider.flows.known import Known
from services.provider.labels import EVERYTHING, Labels
from services.provider.options import Exclusion, Ranked
from services.provider.policy import Alias, Policy
from services.provider.routing import Rules, Size
from services.provider.selection_store import Observed, Prompt
from services.provider.strategies import SINGLE, Preference, Strategy, Weights

if TYPE_CHECKING:
    # it comes with numpy, which is loaded when it is needed (advising)
    from services.provider.learned import Belief

Key = tuple[str, str]
# failures that say something of the model's work; the others say something of the line, the key or the caller
_OF_THE_MODEL = {FailureKind.MALFORMED, FailureKind.BROKEN_STREAM, FailureKind.CONTENT_POLICY}


class Ask(Struct, frozen=True):
    """A request that needs a model. What is empty or None is left to the policy, and by that to the settings."""

    size: Size
    query: str = ""
    focus_area: str = ""
    labels: Labels = EVERYTHING
    strategy: Strategy | None = None
    policy_id: str = ""
    alias: str = ""
    weights: Weights | None = None
    quality_weight: float | None = None
    constraints: Constraints = NOTHING
    session_id: str = ""
    prefix_key: str = ""
    prefix_tokens: int = 0
    # decides ties of chance: shares for a caller without session and user, and how a learner explores
    chance: str = ""
    # set by `prepare`
    beliefs: "Mapping[Key, Belief] | None" = None
    prompt: Prompt | None = None
    # the model of which vectors are asked for; "": an answer to a conversation is
    embeds: str = ""


class Plan(Struct, frozen=True):
    """What was asked for with everything filled in."""

    strategy: Strategy
    weights: Weights
    rules: Rules
    policy_id: str
    cached: frozenset[Key]


class Choice(Struct, frozen=True):
    """Every model, those that are in by rank and then those that are out, and how they were weighed."""

    ask: Ask
    ranked: list[Ranked]
    strategy: Strategy
    weights: Weights
    cost_factor: float
    policy_id: str = ""
    reason: str = ""
    constraints: tuple[Constraints, ...] = ()

    def meets(self, item: Ranked) -> bool:
        """Whether it meets the demands of caller and policy and has a price, whatever else may keep it out."""
        cost = item.option.cost
        fit = unfit(item.option, self.ask.embeds) is None
        return fit and cost is not None and first_unmet(item.option, cost, self.constraints) is None

    @property
    def candidates(self) -> list[Ranked]:
        """Those that are in, best first: whom to try, in this order."""
        return [item for item in self.ranked if item.exclusion is None]

    @property
    def quality_weight(self) -> float:
        """Share of quality in what cost and quality weigh together."""
        both = self.weights.cost + self.weights.quality
        return self.weights.quality / both if both else 0.0


async def prepare(host: Host, known: Known, advisor: Advisor, ask: Ask) -> Ask:
    """Fills in the ask's chance, and for a learned selection what is believed of the models on this prompt."""
    ask = ask if ask.chance else replace(ask, chance=host.ids())
    policy_id = ask.policy_id or known.settings.default_policy
    strategy = ask.strategy
    if strategy is None and policy_id:
        strategy = (await host.db.read(lambda tx: _policy(tx, policy_id))).strategy
    if strategy is not Strategy.LEARNED:
        return ask
    seen = await advisor.look(ask.query)
    return replace(ask, beliefs=advisor.beliefs(seen), prompt=Prompt(advisor.embedder.name, seen.pack()))


async def choose(host: Host, tx: Transaction, known: Known, ask: Ask, seen: Availability) -> Choice:
    """Ranks every model for a request; reads only. NOT_FOUND for a policy or an alias that does not exist."""
    now = host.clock.now()
    policy = await _policy(tx, ask.policy_id or known.settings.default_policy)
    alias = await _alias(tx, ask.alias) if ask.alias else None
    stay = None
    if ask.session_id:
        stay = await selection_store.session_model(tx, ask.session_id, now - known.settings.session_time)
    cached: set[Key] = set()
    if ask.prefix_key:
        cached = await selection_store.cached_at(tx, ask.prefix_key, now - known.settings.prefix_time)
    plan = planned(known, ask, policy, alias, stay, frozenset(cached))
    offered = await offers.gather(tx, known, seen, ask.labels, ask.focus_area, ask.size, _told(known, ask, plan))
    weights = plan.weights.with_cost_factor(offered.cost_factor)
    ranked = routing.rank(offered.options, ask.size, plan.strategy, weights, known.half_points, plan.rules)
    return Choice(
        ask, ranked, plan.strategy, weights, offered.cost_factor, plan.policy_id, _why(ranked, plan), plan.rules.constraints
    )


async def _policy(tx: Transaction, policy_id: str) -> Policy:
    """The policy of that id; for none what the settings say."""
    if not policy_id:
        return Policy("")
    policy = await selection_store.get_policy(tx, policy_id)
    if policy is None:
        raise errors.not_found("selection policy", policy_id)
    return policy


async def _alias(tx: Transaction, name: str) -> Alias:
    alias = await selection_store.get_alias(tx, name)
    if alias is None:
        raise errors.not_found("alias", name)
    return alias


def planned(known: Known, ask: Ask, policy: Policy, alias: Alias | None, stay: Key | None, cached: frozenset[Key]) -> Plan:
    """What was asked for, what it leaves open by the policy, what that leaves open by the settings."""
    strategy = ask.strategy or policy.strategy
    targets: Mapping[Key, float] | None = None
    if alias is not None:
        targets = alias.shares
    elif strategy is Strategy.WEIGHTED:
        targets = {share.key: share.weight for share in policy.shares}
    caller = ask.session_id or ask.labels.user_id or ask.chance
    places = sharing.order(targets, caller) if targets else {}
    if targets and stay is not None and not targets.get(stay):
        # a target that was given the weight 0 gets no calls, also not those of its sessions
        stay = None
    rules = Rules(
        tuple(demanded for demanded in (ask.constraints, policy.constraints) if demanded != NOTHING),
        Preference(places, stay),
        None if targets is None else frozenset(targets),
        ask.embeds,
    )
    return Plan(strategy, _weights(known, ask, policy, strategy), rules, policy.policy_id, cached)


def _weights(known: Known, ask: Ask, policy: Policy, strategy: Strategy) -> Weights:
    if strategy in SINGLE:
        return SINGLE[strategy]
    given = ask.weights or policy.weights
    slider = policy.quality_weight if ask.quality_weight is None else ask.quality_weight
    if strategy is Strategy.LEARNED:
        slider = known.settings.learned_quality_weight if slider is None and given is None else slider
        given = given or replace(known.weights(Strategy.BALANCED), speed=0.0)
    weights = given or known.weights(strategy)
    return weights if slider is None else weights.slid(slider)


def _told(known: Known, ask: Ask, plan: Plan) -> offers.Told:
    """What this ask knows beside the store: what was learned, and whose cache its beginning is in."""

    def draw(key: Key, belief: "Belief") -> float:
        return belief.draw(f"{ask.chance}/{key[0]}/{key[1]}", known.settings.learned_exploration)

    tokens = min(ask.prefix_tokens, ask.size.input_tokens)
    return offers.Told(ask.beliefs or {}, draw, dict.fromkeys(plan.cached, tokens))


def _why(ranked: list[Ranked], plan: Plan) -> str:
    """Why the first is first."""
    if not ranked or ranked[0].exclusion is not None:
        return ""
    first, preference = ranked[0].option, plan.rules.preference
    if first.key == preference.stay:
        return "its session is with this model"
    if first.key in preference.places:
        return "the caller's share fell on this model"
    if preference.places or plan.rules.targets is not None:
        return "no target that has a weight can take it"
    return f"it is first by {plan.strategy.name}"


async def keep(
    host: Host, tx: Transaction, known: Known, choice: Choice, selection_id: str = "", chosen: Key | None = None
) -> store.Selection:
    """Keeps what was chosen and why, by default the first of the candidates (there must be one), and tells it."""
    taken = next((item.option for item in choice.ranked if item.option.key == chosen), None)
    best, ask, now = taken or choice.candidates[0].option, choice.ask, host.clock.now()
    labels = ask.labels.plus(provider=best.provider_id, model=best.model)
    selection = store.Selection(
        selection_id or host.ids(), now, labels, ask.focus_area, choice.strategy, best.cost or 0, ask.size.total
    )
    await store.insert_selection(tx, selection)
    if known.settings.explained_selections:
        why = Explanation(choice.ranked, choice.weights, choice.reason, choice.policy_id, choice.cost_factor)
        kept = known.settings.explained_selections
        await selection_store.put_explanation(tx, selection.selection_id, explanation.to_bytes(why), kept)
    await host.tell(tx, events.selected(selection))
    return selection


async def remember(tx: Transaction, known: Known, ask: Ask, selection: store.Selection) -> None:
    """Notes what later requests want to know: the session's model, where a beginning is cached, what the prompt looked like."""
    model, now, settings = (selection.labels.provider_id, selection.labels.model), selection.time, known.settings
    if ask.session_id:
        await selection_store.note_session(tx, ask.session_id, model, now, now - settings.session_time)
    if ask.prefix_key:
        await selection_store.note_prefix(tx, ask.prefix_key, model, now, now - settings.prefix_time)
    if ask.prompt is not None:
        await selection_store.put_prompt(tx, selection.selection_id, ask.prompt, now, now - settings.learned_rating_time)


async def observe(host: Host, tx: Transaction, known: Known, selection_id: str, model: Key, failure: FailureKind | None) -> None:
    """Learns from how a call ended. That it was answered says nothing about how well; some failures say that it was not."""
    weight = known.settings.learned_failure_weight
    if failure not in _OF_THE_MODEL or not weight:
        return
    prompt = await advising.prompt_of(tx, selection_id)
    outcome_id = f"failure/{selection_id}/{model[0]}/{model[1]}"
    await advising.note_outcome(tx, known, Observed(outcome_id, host.clock.now(), model, 0.0, weight, prompt))


def refusal(ranked: Sequence[Ranked], model: str) -> errors.Refusal:
    """Why nothing is left: the commonest reason as metadata, and the sentence of the first candidate that has it."""
    commonest = routing.commonest_exclusion(ranked)
    if commonest is None:
        subject, what = (
            f"models/{model}",
            "no model that could take this can be called from here: it has no address, or no key that can be used",
        )
        return errors.failed_precondition(subject, what, reason=ErrorReason.ERROR_REASON_NO_CANDIDATE)
    example = next(item for item in ranked if item.exclusion is commonest)
    name, why = example.option.model, example.detail
    description = f"no model can take this request, mostly because of {commonest.name}, e.g. {name}: {why}"
    refuse = errors.exhausted if commonest is Exclusion.BUDGET_SPENT else errors.failed_precondition
    return refuse("candidates", description, reason=ErrorReason.ERROR_REASON_NO_CANDIDATE, commonest_exclusion=commonest.name)
