"""The calls that ask a model: a conversation or texts in, the query run, its answer, its pieces or vectors out."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta

import grpc
from tooloo.error.v1.error_reason_pb2 import ErrorReason
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceServicer

from mesh import answers, errors
from mesh.host import Host
from services.provider import callers, chat_wire, completion_wire, echo, query_store
from services.provider.completing_port import AUTO, Ask, Completed, Completer, QueryFailedError, Started
from services.provider.failure import Failure, FailureKind
from services.provider.flows import targets
from services.provider.flows.known import Known
from services.provider.flows.room import Room
from services.provider.selection_wire import from_constraints
from services.provider.strategies import Strategy
from services.provider.texts import Texts
from services.provider.wire import from_duration, from_labels

Context = grpc.aio.ServicerContext[object, object]
_Request = api.CompleteRequest | api.StreamCompleteRequest
# what the caller's conversation is the cause of: no other model and no later time would do better
_REFUSED = frozenset({FailureKind.BAD_REQUEST, FailureKind.CONTEXT_WINDOW, FailureKind.CONTENT_POLICY})
_SOON = timedelta(seconds=1)
_FLOAT_BYTES = 4


class CompletionService(CompletionServiceServicer):
    """Answers tooloo.provider.v1.CompletionService."""

    def __init__(self, host: Host, known: Known, completer: Completer, room: Room) -> None:
        self._host = host
        self._known = known
        self._completer = completer
        self._room = room
        # how many numbers the vectors of a model have, by what callers call it; of those whose answer was too large once
        self._dimensions: dict[str, int] = {}

    async def Complete(self, request: api.CompleteRequest, context: Context) -> api.CompleteResponse:
        """The whole answer."""
        ask = self._ask(request, context)
        try:
            with self._room.taken(ask.chat.picture_bytes):
                completed = await self._completer.complete(ask)
        except QueryFailedError as error:
            raise refusal(error) from error
        await self._tell_dropped(ask, completed, context)
        return completion_wire.to_response(completed)

    async def StreamComplete(
        self, request: api.StreamCompleteRequest, context: Context
    ) -> AsyncIterator[api.StreamCompleteResponse]:
        """The answer as it comes."""
        begun, ask = False, self._ask(request, context, stream=True)
        try:
            with self._room.taken(ask.chat.picture_bytes):
                async with aclosing(self._completer.stream(ask)) as events:
                    async for event in events:
                        begun = True
                        if isinstance(event, Started):
                            await self._tell_dropped(ask, event, context)
                        for message in completion_wire.to_events(event):
                            yield message
        except QueryFailedError as error:
            if not begun:
                raise refusal(error) from error
            yield completion_wire.to_failed(error)

    async def Embed(self, request: api.EmbedRequest, context: Context) -> api.EmbedResponse:
        """Vectors of texts."""
        count, most = len(request.texts), self._host.settings.max_message_bytes
        expected = request.dimensions or self._dimensions.get(request.model, 0)
        if count * expected * _FLOAT_BYTES > most:
            raise _too_large(count, expected, most)
        try:
            completed = await self._completer.complete(self._ask_for_vectors(request, context))
        except QueryFailedError as error:
            raise refusal(error, "texts") from error
        response = completion_wire.to_embedded(completed, echo.notice_of(self._known.registry, completed.provider_id))
        if response.ByteSize() > most:
            if request.model in self._known.registry.names:
                # the next one is refused before anything is paid for; what an alias stands for may change
                self._dimensions[request.model] = response.dimensions
            raise _too_large(count, response.dimensions, most)
        return response

    async def _tell_dropped(self, ask: Ask, told: Started | Completed, context: Context) -> None:
        if names := targets.left_out(self._known, ask.chat, told.provider_id, told.model):
            await context.send_initial_metadata(((callers.DROPPED, ", ".join(names)),))

    async def GetQuery(self, request: api.GetQueryRequest, context: Context) -> api.GetQueryResponse:
        """What was tried, used and spent."""
        query = await self._host.db.read(lambda tx: query_store.get(tx, request.query_id))
        if query is None:
            raise errors.not_found("query", request.query_id)
        return completion_wire.to_query(query)

    def _ask(self, request: _Request, context: Context, *, stream: bool = False) -> Ask:
        labels = from_labels(self._known.settings, request.labels, user=request.user_id)
        return Ask(
            chat_wire.from_chat(request.messages, request.tools, request.generation),
            request.model or AUTO,
            labels.values,
            request.session_id,
            answers.request_id_of(request),
            stream=stream,
            deadline=_deadline(request, context),
            focus_area=request.focus_area,
            policy_id=request.policy_id,
            fallback_chain=request.fallback_chain,
            strategy=Strategy(request.strategy) if request.strategy else None,
            quality_weight=request.quality_weight if request.HasField("quality_weight") else None,
            constraints=from_constraints(request.constraints, "constraints"),
        )

    def _ask_for_vectors(self, request: api.EmbedRequest, context: Context) -> Ask:
        labels = from_labels(self._known.settings, request.labels, user=request.user_id)
        return Ask(
            Texts(tuple(request.texts), request.dimensions or None),
            request.model,
            labels.values,
            request_id=answers.request_id_of(request),
            deadline=_deadline(request, context),
            policy_id=request.policy_id,
            fallback_chain=request.fallback_chain,
            constraints=from_constraints(request.constraints, "constraints"),
        )


def _too_large(count: int, dimensions: int, most: int) -> errors.Refusal:
    what = f"{count} vectors of {dimensions} numbers are more than the {most} bytes of a message"
    advice = "ask for fewer texts at once or for fewer dimensions, use POST /v1/embeddings, or raise the setting max_message_bytes"
    return errors.exhausted("max_message_bytes", f"{what}; {advice}", reason=ErrorReason.ERROR_REASON_TOO_LARGE)


def _deadline(request: _Request | api.EmbedRequest, context: Context) -> timedelta | None:
    """The shorter of what the request and what the call itself allow."""
    wished = from_duration(request.timeout, "timeout") if request.HasField("timeout") else None
    remaining = context.time_remaining()
    given = None if remaining is None else timedelta(seconds=max(remaining, 0.0))
    known = [length for length in (wished, given) if length is not None]
    return min(known, default=None)


def refusal(error: QueryFailedError, field: str = "messages") -> errors.Refusal:
    """A query that no model answered, as a Status: INVALID_ARGUMENT for what the conversation is the cause of, else UNAVAILABLE."""
    failure, query = error.failure, error.query
    told = {"query_id": query.query_id, "failure": failure.kind.name, "attempts": str(len(query.tried))}
    if failure.kind in _REFUSED:
        description = f"the provider refused the {'conversation' if field == 'messages' else field}: {_words(failure)}"
        reason = ErrorReason.ERROR_REASON_PROVIDER_REFUSED
        return errors.invalid(field, description, reason=reason)
    retry_after = failure.retry_after or _SOON
    reason = ErrorReason.ERROR_REASON_PROVIDER_FAILED
    return errors.unavailable("every model that was tried", retry_after=retry_after, reason=reason, detail=_words(failure), **told)


def _words(failure: Failure) -> str:
    return f"{failure.kind.name}: {failure.detail}" if failure.detail else failure.kind.name
