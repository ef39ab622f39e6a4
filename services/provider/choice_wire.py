"""Between messages and a choice of a model: what is asked, what is answered, and a choice that was made."""

from tooloo.provider.v1 import provider_pb2
from tooloo.provider.v1 import provider_service_pb2 as api

from mesh import answers
from services.provider import selection_wire, store, wire
from services.provider.explanation import Explanation
from services.provider.flows.selecting import Ask, Choice
from services.provider.labels import Labels
from services.provider.routing import Size, Strategy


def from_request(request: api.SelectProviderRequest, size: Size, labels: Labels) -> Ask:
    """What is asked for."""
    return Ask(
        size,
        request.query,
        request.focus_area,
        labels,
        _strategy(request),
        request.policy_id,
        request.alias,
        selection_wire.from_weights(request.weights) if request.HasField("weights") else None,
        request.quality_weight if request.HasField("quality_weight") else None,
        selection_wire.from_constraints(request.constraints, "constraints"),
        request.session_id,
        request.prefix_key,
        request.prefix_tokens,
        answers.request_id_of(request),
    )


def to_response(choice: Choice, selection: store.Selection | None) -> api.SelectProviderResponse:
    """The answer with what was chosen; `selection` None: it was not kept."""
    best = choice.candidates[0].option
    return api.SelectProviderResponse(
        selection_id=selection.selection_id if selection else "",
        provider_id=best.provider_id,
        model=best.model,
        estimated_cost=wire.to_money(best.cost or 0),
        estimated_tokens=choice.ask.size.total,
        strategy=provider_pb2.Strategy.ValueType(choice.strategy),
        cost_weight_factor=choice.cost_factor,
        candidates=[wire.to_candidate(candidate, choice.weights) for candidate in choice.ranked],
        policy_id=choice.policy_id,
        reason=choice.reason,
        quality_weight=choice.quality_weight,
        embedding=choice.ask.prompt.embedding if choice.ask.prompt else "",
    )


def to_selection(selection: store.Selection, why: Explanation | None = None) -> api.GetSelectionResponse:
    """A choice that was made, with its grounds when they are known."""
    message = api.GetSelectionResponse(
        selection_id=selection.selection_id,
        create_time=wire.to_timestamp(selection.time),
        provider_id=selection.labels.provider_id,
        model=selection.labels.model,
        focus_area=selection.focus_area,
        user_id=selection.labels.user_id,
        strategy=provider_pb2.Strategy.ValueType(selection.strategy),
        estimated_cost=wire.to_money(selection.cost),
        estimated_tokens=selection.tokens,
    )
    if why is not None:
        message.candidates.extend(wire.to_candidate(ranked, why.weights) for ranked in why.ranked)
        message.reason, message.policy_id, message.cost_weight_factor = why.reason, why.policy_id, why.cost_factor
    return message


def _strategy(request: api.SelectProviderRequest) -> Strategy | None:
    """What the request says itself; None leaves it to the policy."""
    if request.strategy:
        return Strategy(request.strategy)
    if request.prefer_free:
        return Strategy.FREE_FIRST_HIGH_QUALITY if request.high_quality else Strategy.FREE_FIRST
    return Strategy.HIGH_QUALITY if request.high_quality else None
