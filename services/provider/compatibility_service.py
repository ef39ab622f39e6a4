"""The compatible doors' calls: bytes of another vendor's dialect in, the completer asked, bytes of that dialect out."""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import grpc
from google.api.httpbody_pb2 import HttpBody
from msgspec.structs import replace
from tooloo.provider.v1 import compatibility_service_pb2 as api
from tooloo.provider.v1.compatibility_service_pb2_grpc import CompatibilityServiceServicer

from mesh import errors
from mesh.db import Transaction
from mesh.host import Host
from services.provider import callers, echo, selection_store, tokens
from services.provider import compatibility_wire as wire
from services.provider.chat import Chat, Delta, Deltas
from services.provider.completing_port import Ask, Completed, Completer, Started
from services.provider.dialects import catalogue
from services.provider.dialects.anthropic import reading as anthropic_reading
from services.provider.dialects.asked import Asked, AskedTexts, Unreadable
from services.provider.dialects.base import JSON
from services.provider.dialects.doors import AnthropicDoor, Door, OpenAIDoor, ResponsesDoor, StreamWriter
from services.provider.dialects.openai import embeddings
from services.provider.dialects.troubles import Trouble, of_failure, of_unreadable
from services.provider.failure import CallFailedError
from services.provider.flows import targets
from services.provider.flows.known import Known
from services.provider.flows.room import LARGE, Room
from services.provider.texts import NO_VECTORS, Texts

log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]
Bodies = AsyncGenerator[HttpBody, None]
# well below what a gRPC message may have
_PIECE_BYTES = 256 * 1024


class CompatibilityService(CompatibilityServiceServicer):
    """Answers tooloo.provider.v1.CompatibilityService."""

    def __init__(self, host: Host, completer: Completer, known: Known, room: Room) -> None:
        self._host = host
        self._completer = completer
        self._known = known
        self._room = room
        self._openai, self._responses, self._anthropic = OpenAIDoor(), ResponsesDoor(), AnthropicDoor()

    def CreateChatCompletion(self, request: HttpBody, context: Context) -> Bodies:
        """A chat completion, whole or as a stream."""
        return self._complete(self._openai, request, context)

    def CreateResponse(self, request: HttpBody, context: Context) -> Bodies:
        """A response, whole or as a stream."""
        return self._complete(self._responses, request, context)

    def CreateMessage(self, request: HttpBody, context: Context) -> Bodies:
        """A message, whole or as a stream."""
        return self._complete(self._anthropic, request, context)

    def CreateEmbedding(self, request: HttpBody, context: Context) -> Bodies:
        """Vectors of texts, in as many messages as they need."""
        data = request.data
        return self._bounded(self._openai, len(data), self._embedded(data, context), context)

    async def _embedded(self, data: bytes, context: Context) -> Bodies:
        door = self._openai
        try:
            asked = embeddings.read(wire.parsed(data))
            ask = self._ask(asked, callers.headers_of(context.invocation_metadata() or ()))
            completed = await self._completer.complete(ask)
        except Unreadable as error:
            yield await self._refusal(door, of_unreadable(error), context)
            return
        except Exception as error:  # noqa: BLE001 - in this dialect, too, everything unexpected ends here
            yield await self._refusal(door, self._trouble(error), context)
            return
        notice = echo.notice_of(self._known.registry, completed.provider_id)
        said = [("x-tooloo-estimated", "true")] if completed.usage_estimated else []
        said += [("x-tooloo-notice", notice)] if notice else []
        await context.send_initial_metadata((*wire.headers(completed, "x-tooloo-cost", completed.cost), *said))
        made, used = completed.answer.vectors or NO_VECTORS, completed.usage.input_tokens
        written = bytearray()
        for piece in embeddings.write_answer(made, completed.model, used, packed=asked.packed):
            written += piece
            if len(written) > _PIECE_BYTES:
                yield HttpBody(content_type=JSON, data=bytes(written))
                written.clear()
        yield HttpBody(content_type=JSON, data=bytes(written))

    async def CountMessageTokens(self, request: HttpBody, context: Context) -> Bodies:
        """An estimate by characters; the header x-tooloo-estimated says so."""
        try:
            asked = anthropic_reading.read(wire.parsed(request.data), counting=True)
        except Unreadable as error:
            yield await self._refusal(self._anthropic, of_unreadable(error), context)
            return
        await context.send_initial_metadata((("x-tooloo-estimated", "true"),))
        yield wire.body_of({"input_tokens": tokens.of_chat(asked.chat)})

    async def ListCompatibleModels(self, request: api.ListCompatibleModelsRequest, context: Context) -> Bodies:
        """Models and aliases by id."""
        aliases = await self._host.db.read(self._names)
        models, limit = self._known.registry.models, request.limit
        yield wire.body_of(catalogue.listed(models, aliases, limit, request.after_id, request.before_id))

    async def GetCompatibleModel(self, request: api.GetCompatibleModelRequest, context: Context) -> Bodies:
        """One model or alias."""
        aliases = await self._host.db.read(self._names)
        found = catalogue.find(self._known.registry.models, request.model, aliases)
        if found is None:
            message = f"there is no model {request.model!r}; GET /v1/models lists them"
            yield await self._refusal(self._openai, Trouble(404, "model_not_found", message, "model"), context)
            return
        yield wire.body_of(found)

    async def _names(self, tx: Transaction) -> list[str]:
        """The aliases; what else is known is made current on the way."""
        await self._known.look(tx)
        return [alias.alias for alias in await selection_store.list_aliases(tx, "", self._known.settings.max_aliases)]

    def _complete(self, door: Door, request: HttpBody, context: Context) -> Bodies:
        """The answer of one generator: each that hands on what another yields costs as much as a statement."""
        data = request.data
        return self._bounded(door, len(data), self._answered(door, data, context), context)

    def _bounded(self, door: Door, size: int, bodies: Bodies, context: Context) -> Bodies:
        """The same bodies; those of a large request only while there is room for it."""
        return self._in_room(door, size, bodies, context) if size > LARGE else bodies

    async def _in_room(self, door: Door, size: int, bodies: Bodies, context: Context) -> Bodies:
        try:
            async with aclosing(bodies):
                with self._room.taken(size):
                    async for body in bodies:
                        yield body
        except errors.Refusal as error:
            yield await self._refusal(door, wire.of_refusal(error), context)

    def _answered(self, door: Door, data: bytes, context: Context) -> Bodies:
        try:
            headers = callers.headers_of(context.invocation_metadata() or ())
            asked = door.read(wire.parsed(data), headers)
            ask = self._ask(asked, headers)
        except Unreadable as error:
            return self._refused(door, of_unreadable(error), context)
        return self._streamed(door, asked, ask, context) if asked.stream else self._whole(door, asked, ask, context)

    async def _whole(self, door: Door, asked: Asked, ask: Ask, context: Context) -> Bodies:
        try:
            completed = await self._completer.complete(ask)
        except Exception as error:  # noqa: BLE001 - in this dialect, too, everything unexpected ends here
            yield await self._refusal(door, self._trouble(error), context)
            return
        dropped = self._left_out(door, asked, completed)
        await context.send_initial_metadata(wire.headers(completed, "x-tooloo-cost", completed.cost, dropped))
        # a provider that told no usage is charged by estimate, and a client that counts should know no less
        answer = replace(completed.answer, usage=completed.usage)
        for piece in wire.in_pieces(wire.body_of(door.answer(asked, answer, completed.query_id, self._now(), completed.model))):
            yield piece

    async def _streamed(self, door: Door, asked: Asked, ask: Ask, context: Context) -> Bodies:
        """Headers leave with the first piece: until then a failure still has a status of its own."""
        writer: StreamWriter | None = None
        started = Started("", "", "")
        sent = False
        try:
            async with aclosing(self._completer.stream(ask)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Started):
                        started = piece
                        writer = door.writer(asked, piece.query_id, self._now(), piece.model)
                        continue
                    if data := _bytes_of(piece, writer):
                        if not sent:
                            sent, dropped = True, self._left_out(door, asked, started)
                            cost = started.estimated_cost
                            await context.send_initial_metadata(wire.headers(started, "x-tooloo-estimated-cost", cost, dropped))
                        for part in wire.in_pieces(HttpBody(content_type=wire.SSE, data=data)):
                            yield part
        except Exception as error:  # noqa: BLE001 - see above
            trouble = self._trouble(error)
            if not sent or writer is None:
                yield await self._refusal(door, trouble, context)
                return
            yield HttpBody(content_type=wire.SSE, data=writer.error(door.trouble(trouble, started.query_id)[1]))

    def _ask(self, asked: Asked | AskedTexts, headers: Mapping[str, str]) -> Ask:
        if isinstance(asked, AskedTexts):
            content: Chat | Texts = asked.texts
            session, stream = "", False
        else:
            content, session, stream = asked.chat, callers.session_of(headers), asked.stream
        settings = self._known.settings
        labels = callers.labels_of(headers, asked.user, most=settings.max_labels, longest=settings.max_label_length)
        return Ask(
            content,
            asked.model,
            labels,
            session,
            callers.request_id_of(headers, labels),
            stream,
            policy_id=callers.named(headers, callers.POLICY),
            fallback_chain=callers.named(headers, callers.CHAIN),
        )

    def _left_out(self, door: Door, asked: Asked, told: Started | Completed) -> str:
        return door.left_out(asked, targets.left_out(self._known, asked.chat, told.provider_id, told.model))

    def _now(self) -> int:
        return int(self._host.clock.now().timestamp())

    async def _refused(self, door: Door, trouble: Trouble, context: Context) -> Bodies:
        yield await self._refusal(door, trouble, context)

    async def _refusal(self, door: Door, trouble: Trouble, context: Context) -> HttpBody:
        status, body = door.trouble(trouble, self._host.ids())
        metadata = [(wire.STATUS, str(status))]
        if trouble.retry_after is not None:
            seconds = trouble.retry_after.total_seconds()
            metadata += [("retry-after", str(max(-int(-seconds // 1), 1))), ("retry-after-ms", str(int(seconds * 1000)))]
        if trouble.final:
            # the official clients would try again by themselves
            metadata.append(("x-should-retry", "false"))
        await context.send_initial_metadata(tuple(metadata))
        return wire.body_of(body)

    def _trouble(self, error: Exception) -> Trouble:
        if isinstance(error, CallFailedError):
            return of_failure(error.failure)
        if isinstance(error, errors.Refusal):
            return wire.of_refusal(error)
        if isinstance(error, TimeoutError):
            return Trouble(504, "timeout", "the time for this call is over")
        error_id = self._host.ids()
        log.error("a compatible door failed unexpectedly (id %s)", error_id, exc_info=error, extra={"error_id": error_id})
        return Trouble(500, "internal_error", f"something unexpected happened; the log has it under id {error_id}")


def _bytes_of(piece: Deltas | Completed, writer: StreamWriter | None) -> bytes:
    if writer is None:
        raise RuntimeError("a stream begins with Started")
    if isinstance(piece, Completed):
        return writer.write(Delta(usage=piece.usage)) + writer.end()
    return b"".join(map(writer.write, piece))
