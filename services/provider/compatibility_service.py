"""The compatible doors' calls: bytes of another vendor's dialect in, the completer asked, bytes of that dialect out."""

import json
import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from tooloo.provider.v1 import compatibility_service_pb2 as api
from tooloo.provider.v1.compatibility_service_pb2_grpc import CompatibilityServiceServicer

from mesh import errors
from mesh.db import Transaction
from mesh.host import Host
from services.provider import callers, echo, money, selection_store, tokens
from services.provider.chat import Chat, Delta
from services.provider.completing_port import Ask, Completed, Completer, Started
from services.provider.dialects import catalogue
from services.provider.dialects.anthropic import reading as anthropic_reading
from services.provider.dialects.asked import Asked, AskedTexts, Unreadable
from services.provider.dialects.base import JSON, dump
from services.provider.dialects.doors import AnthropicDoor, Door, OpenAIDoor, StreamWriter
from services.provider.dialects.openai import embeddings
from services.provider.dialects.troubles import Trouble, of_failure, of_unreadable
from services.provider.failure import CallFailedError
from services.provider.flows.known import Known
from services.provider.texts import NO_VECTORS, Texts

log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]
Bodies = AsyncGenerator[HttpBody, None]
SSE = "text/event-stream; charset=utf-8"
# the door makes the HTTP status of an answer of it (envoy/filters.py)
STATUS = "x-tooloo-status"
_OK = 200
# well below what a gRPC message may have
_PIECE_BYTES = 256 * 1024
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# what a client may wait for by itself
_SOON = timedelta(minutes=1)
_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


def _no_number(word: str) -> object:
    raise ValueError(f"JSON has no {word}")


_DECODE = json.JSONDecoder(parse_constant=_no_number).decode


class CompatibilityService(CompatibilityServiceServicer):
    """Answers tooloo.provider.v1.CompatibilityService."""

    def __init__(self, host: Host, completer: Completer, known: Known) -> None:
        self._host = host
        self._completer = completer
        self._known = known
        self._openai, self._anthropic = OpenAIDoor(), AnthropicDoor()

    def CreateChatCompletion(self, request: HttpBody, context: Context) -> Bodies:
        """A chat completion, whole or as a stream."""
        return self._complete(self._openai, request, context)

    def CreateMessage(self, request: HttpBody, context: Context) -> Bodies:
        """A message, whole or as a stream."""
        return self._complete(self._anthropic, request, context)

    async def CreateEmbedding(self, request: HttpBody, context: Context) -> Bodies:
        """Vectors of texts, in as many messages as they need."""
        door = self._openai
        try:
            asked = embeddings.read(_parsed(request))
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
        await context.send_initial_metadata((*_headers(completed, "x-tooloo-cost", completed.cost), *said))
        made, used = completed.answer.vectors or NO_VECTORS, completed.usage.input_tokens
        data = bytearray()
        for piece in embeddings.write_answer(made, completed.model, used, packed=asked.packed):
            data += piece
            if len(data) > _PIECE_BYTES:
                yield HttpBody(content_type=JSON, data=bytes(data))
                data.clear()
        yield HttpBody(content_type=JSON, data=bytes(data))

    async def CountMessageTokens(self, request: HttpBody, context: Context) -> Bodies:
        """An estimate by characters; the header x-tooloo-estimated says so."""
        try:
            asked = anthropic_reading.read(_parsed(request), counting=True)
        except Unreadable as error:
            yield await self._refusal(self._anthropic, of_unreadable(error), context)
            return
        await context.send_initial_metadata((("x-tooloo-estimated", "true"),))
        yield _body({"input_tokens": tokens.of_chat(asked.chat)})

    async def ListCompatibleModels(self, request: api.ListCompatibleModelsRequest, context: Context) -> Bodies:
        """Models and aliases by id."""
        aliases = await self._host.db.read(self._names)
        yield _body(catalogue.listed(self._known.registry.models, aliases, request.limit, request.after_id))

    async def GetCompatibleModel(self, request: api.GetCompatibleModelRequest, context: Context) -> Bodies:
        """One model or alias."""
        aliases = await self._host.db.read(self._names)
        found = catalogue.find(self._known.registry.models, request.model, aliases)
        if found is None:
            message = f"there is no model {request.model!r}; GET /v1/models lists them"
            yield await self._refusal(self._openai, Trouble(404, "model_not_found", message, "model"), context)
            return
        yield _body(found)

    async def _names(self, tx: Transaction) -> list[str]:
        """The aliases; what else is known is made current on the way."""
        await self._known.look(tx)
        return [alias.alias for alias in await selection_store.list_aliases(tx, "", self._known.settings.max_aliases)]

    def _complete(self, door: Door, request: HttpBody, context: Context) -> Bodies:
        """The answer of one generator: each that hands on what another yields costs as much as a statement."""
        try:
            headers = callers.headers_of(context.invocation_metadata() or ())
            asked = door.read(_parsed(request), headers)
            ask = self._ask(asked, headers)
        except Unreadable as error:
            return self._refused(door, of_unreadable(error), context)
        return self._streamed(door, asked, ask, context) if asked.stream else self._whole(door, ask, context)

    async def _whole(self, door: Door, ask: Ask, context: Context) -> Bodies:
        try:
            completed = await self._completer.complete(ask)
        except Exception as error:  # noqa: BLE001 - in this dialect, too, everything unexpected ends here
            yield await self._refusal(door, self._trouble(error), context)
            return
        await context.send_initial_metadata(_headers(completed, "x-tooloo-cost", completed.cost))
        # a provider that told no usage is charged by estimate, and a client that counts should know no less
        answer = replace(completed.answer, usage=completed.usage)
        yield _body(door.answer(answer, completed.query_id, self._now(), completed.model))

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
                            sent, headers = True, _headers(started, "x-tooloo-estimated-cost", started.estimated_cost)
                            await context.send_initial_metadata(headers)
                        yield HttpBody(content_type=SSE, data=data)
        except Exception as error:  # noqa: BLE001 - see above
            trouble = self._trouble(error)
            if not sent or writer is None:
                yield await self._refusal(door, trouble, context)
                return
            yield HttpBody(content_type=SSE, data=writer.error(door.trouble(trouble, started.query_id)[1]))

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

    def _now(self) -> int:
        return int(self._host.clock.now().timestamp())

    async def _refused(self, door: Door, trouble: Trouble, context: Context) -> Bodies:
        yield await self._refusal(door, trouble, context)

    async def _refusal(self, door: Door, trouble: Trouble, context: Context) -> HttpBody:
        status, body = door.trouble(trouble, self._host.ids())
        metadata = [(STATUS, str(status))]
        if trouble.retry_after is not None:
            seconds = trouble.retry_after.total_seconds()
            metadata += [("retry-after", str(max(-int(-seconds // 1), 1))), ("retry-after-ms", str(int(seconds * 1000)))]
        if trouble.final:
            # the official clients would try again by themselves
            metadata.append(("x-should-retry", "false"))
        await context.send_initial_metadata(tuple(metadata))
        return _body(body)

    def _trouble(self, error: Exception) -> Trouble:
        if isinstance(error, CallFailedError):
            return of_failure(error.failure)
        if isinstance(error, errors.Refusal):
            return _of_refusal(error)
        if isinstance(error, TimeoutError):
            return Trouble(504, "timeout", "the time for this call is over")
        error_id = self._host.ids()
        log.error("a compatible door failed unexpectedly (id %s)", error_id, exc_info=error, extra={"error_id": error_id})
        return Trouble(500, "internal_error", f"something unexpected happened; the log has it under id {error_id}")


def _of_refusal(refusal: errors.Refusal) -> Trouble:
    status = _STATUSES.get(refusal.code, 500)
    if _for_now(refusal):
        status = 503
    waits = [detail.retry_delay.ToTimedelta() for detail in refusal.details if isinstance(detail, RetryInfo)]
    exhausted = refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    # waiting does not help soon against a budget that is spent: that is what OpenAI calls a quota
    final = exhausted and not any(wait <= _SOON for wait in waits)
    code = "insufficient_quota" if final else refusal.reason.lower()
    return Trouble(status, code, refusal.message, retry_after=waits[0] if waits else None, final=final)


def _for_now(refusal: errors.Refusal) -> bool:
    """Whether no model can answer because those that could are out for a while: nothing is wrong with the request then."""
    info = refusal.details[0]
    return isinstance(info, ErrorInfo) and info.metadata.get("commonest_exclusion") == "UNAVAILABLE"


def _parsed(request: HttpBody) -> object:
    try:
        text = request.data.decode("utf-8-sig")
        value = _DECODE(text)
        if _SURROGATE.search(text):
            dump(value)
    except UnicodeEncodeError as error:
        # the vendors refuse it, too
        raise Unreadable("", "the body is not valid JSON: half of a surrogate pair stands alone", "invalid_json") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable("", "the body is not valid JSON", "invalid_json") from error
    return value


def _bytes_of(piece: Delta | Completed, writer: StreamWriter | None) -> bytes:
    if writer is None:
        raise RuntimeError("a stream begins with Started")
    if isinstance(piece, Completed):
        return writer.write(Delta(usage=piece.usage)) + writer.end()
    return writer.write(piece)


def _headers(told: Started | Completed, cost_name: str, cost: int | None) -> tuple[tuple[str, str], ...]:
    found = [
        ("x-tooloo-query-id", told.query_id),
        ("x-tooloo-provider", told.provider_id),
        ("x-tooloo-model", told.model),
        (cost_name, money.show(cost) if cost is not None else ""),
    ]
    return tuple([(name, value) for name, value in found if value and value.isascii() and value.isprintable()])


def _body(value: object) -> HttpBody:
    return HttpBody(content_type=JSON, data=dump(value))
