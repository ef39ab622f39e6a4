"""Queries and their answers to messages of the contract and back."""

from array import array
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from msgspec.structs import replace
from tooloo.provider.v1 import chat_pb2, health_pb2
from tooloo.provider.v1 import completion_service_pb2 as api

from services.provider import chat_wire
from services.provider import kept as kept_answers
from services.provider.chat import Answer, Delta, Deltas, Finish, Message
from services.provider.completing_port import Completed, QueryFailedError, Started
from services.provider.failure import Failure
from services.provider.query import Query, Tried
from services.provider.texts import NO_VECTORS, Vectors
from services.provider.wire import to_money, to_timestamp


def to_response(completed: Completed) -> api.CompleteResponse:
    """The whole answer."""
    return api.CompleteResponse(
        message=chat_wire.to_answer(completed.answer),
        finish_reason=chat_pb2.FinishReason.ValueType(completed.answer.finish),
        account=to_account(completed),
    )


def to_embedded(completed: Completed, notice: str = "") -> api.EmbedResponse:
    """The vectors."""
    made = completed.answer.vectors or NO_VECTORS
    vectors = [api.Embedding(values=vector) for vector in made.items]
    return api.EmbedResponse(embeddings=vectors, dimensions=made.dimensions, account=to_account(completed), notice=notice)


def to_events(event: Started | Deltas | Completed) -> list[api.StreamCompleteResponse]:
    """What pieces of an answer show; nothing for those that only count."""
    if isinstance(event, Started):
        started = api.QueryStarted(query_id=event.query_id, provider_id=event.provider_id, model=event.model)
        return [api.StreamCompleteResponse(started=started)]
    if isinstance(event, Completed):
        whole = to_response(event)
        return [api.StreamCompleteResponse(completed=api.QueryCompleted(finish_reason=whole.finish_reason, account=whole.account))]
    return [message for delta in event for message in _shown(delta)]


def _shown(delta: Delta) -> list[api.StreamCompleteResponse]:
    """One message for each of its fields, in the order in which an answer puts them together (assembling.py)."""
    shown = []
    if delta.reasoning:
        shown.append(api.StreamCompleteResponse(reasoning=delta.reasoning))
    if delta.signature:
        shown.append(api.StreamCompleteResponse(reasoning_signature=delta.signature))
    if delta.text:
        shown.append(api.StreamCompleteResponse(text=delta.text))
    if delta.tool_call is not None:
        call = delta.tool_call
        piece = api.ToolCallDelta(
            index=call.index, call_id=call.call_id, name=call.name, arguments=call.arguments, signature=call.signature
        )
        shown.append(api.StreamCompleteResponse(tool_call=piece))
    return shown


def to_failed(error: QueryFailedError) -> api.StreamCompleteResponse:
    """The end of a stream that broke off."""
    failure = error.failure
    failed = api.QueryFailed(failure=to_kind(failure), detail=failure.detail, account=to_account(error.query))
    return api.StreamCompleteResponse(failed=failed)


def to_kind(failure: Failure) -> health_pb2.FailureKind.ValueType:
    """Class of a failure."""
    return health_pb2.FailureKind.ValueType(failure.kind)


def to_account(told: Completed | Query) -> api.QueryAccount:
    """What a query used and cost."""
    return api.QueryAccount(
        query_id=told.query_id,
        provider_id=told.provider_id,
        model=told.model,
        usage=chat_wire.to_usage(told.usage),
        usage_estimated=told.usage_estimated,
        cost=None if told.cost is None else to_money(told.cost),
        attempts=map(_attempt, told.tried),
    )


def _attempt(tried: Tried) -> api.QueryAttempt:
    return api.QueryAttempt(
        provider_id=tried.provider_id,
        model=tried.model,
        key_id=tried.key_id,
        failure=health_pb2.FailureKind.ValueType(tried.kind or 0),
        detail=tried.detail,
        latency=_duration(tried.latency),
    )


def _duration(length: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(length)
    return duration


def to_query(query: Query) -> api.GetQueryResponse:
    """A query as it stands."""
    return api.GetQueryResponse(
        account=to_account(query),
        state=api.GetQueryResponse.State.ValueType(query.state),
        create_time=to_timestamp(query.created),
        end_time=None if query.ended is None else to_timestamp(query.ended),
    )


def kept(answer: Answer) -> bytes:
    """An answer as it is kept for a caller who may ask again."""
    if answer.vectors is not None:
        return api.EmbedResponse(embeddings=[api.Embedding(values=vector) for vector in answer.vectors.items]).SerializeToString()
    return kept_answers.write(answer)


def told(query: Query, answer: Answer) -> Completed:
    """A query that was answered."""
    return Completed(
        query.query_id, query.provider_id, query.model, answer, query.cost, query.usage, query.usage_estimated, query.tried
    )


def told_again(query: Query, *, vectors: bool = False) -> Completed:
    """A query that was answered before, with the answer that was kept: `vectors`, or what a model said."""
    if vectors:
        kept = api.EmbedResponse.FromString(query.answer).embeddings
        made = Vectors(tuple(array("f", each.values) for each in kept), query.usage, query.model, query.usage_estimated)
        return told(query, Answer((), Finish.STOP, query.usage, query.model, vectors=made))
    if kept_answers.is_kept(query.answer):
        return told(query, replace(kept_answers.read(query.answer), usage=query.usage, model=query.model))
    response = api.CompleteResponse.FromString(query.answer)
    message: Message = chat_wire.from_message(response.message)
    return told(query, Answer(message.parts, Finish(response.finish_reason), query.usage, query.model))
