"""Calls to providers: a conversation out, an answer or its pieces in, and every way to fail as a Failure."""

import asyncio
import importlib
import logging
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace
from propcache.api import cached_property

from mesh.clock import Clock
from services.provider import echo
from services.provider.assembling import pieces
from services.provider.chat import Answer, Chat, Delta, Deltas, Usage
from services.provider.dialects import base
from services.provider.dialects.base import Dialect, Outgoing, Unsupported
from services.provider.dialects.halves import Joining, mended_answer
from services.provider.dialects.refusals import retry_after, without_keys
from services.provider.dialects.table import DIALECTS
from services.provider.failure import CallFailedError, Failure, FailureKind
from services.provider.remote.transport import ConnectError, CutError, ProtocolError, TransportError, WaitError
from services.provider.target import Target
from services.provider.texts import Batch, Texts, Vectors, flaw, split
from services.provider.tokens import of_texts

if TYPE_CHECKING:
    from services.provider.remote.http import Exchange, Pool

log = logging.getLogger(__name__)
_AGENT = "tooloo-provider"
_WARM_AFTER_SECONDS = 1.0
_MOST_ERROR_BYTES = 64 * 1024
# how long the end of a body may take after its content said that nothing follows
_DRAIN_SECONDS = 0.25
_REDIRECT, _ERROR = 300, 400
_KINDS = {
    ConnectError: FailureKind.UNREACHABLE,
    WaitError: FailureKind.TIMEOUT,
    CutError: FailureKind.UNREACHABLE,
    ProtocolError: FailureKind.MALFORMED,
}


class Remote:
    """Talks to providers. Addresses come from the registry, never from callers; nothing of a call is logged but how it failed."""

    def __init__(
        self, clock: Clock, *, connections: int = 256, keep_seconds: float = 30.0, answer_bytes: int = 32 * 1024 * 1024
    ) -> None:
        self._clock = clock
        self._limits = connections, keep_seconds
        self._most = answer_bytes

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes its connections."""
        await self.close()

    async def warm(self) -> None:
        """Loads what a call needs, in a thread and after the start, so that neither the start nor the first caller waits for it."""
        await asyncio.sleep(_WARM_AFTER_SECONDS)
        await asyncio.to_thread(importlib.import_module, "services.provider.remote.http")
        # what runs in the background runs for ever: one that ends would end the service
        await asyncio.get_running_loop().create_future()

    @property
    def busy(self) -> int:
        """Answers that are being read."""
        return self._pool.busy

    @cached_property
    def _pool(self) -> "Pool":
        # aiohttp and the list of certificates take a quarter of a second to load, which a start need not wait for
        from services.provider.remote.http import Pool  # noqa: PLC0415 - see above

        return Pool(*self._limits)

    async def complete(self, target: Target, chat: Chat) -> Answer:
        """The whole answer; CallFailedError when there is none."""
        if target.dialect == echo.DIALECT:
            return echo.answer(chat, target.model)
        dialect = DIALECTS[target.dialect]
        try:
            async with await self._post(dialect, target, chat, stream=False) as exchange:
                body = await exchange.body(target.timeouts.idle.total_seconds(), self._most)
        except TransportError as error:
            raise _failed(error) from error
        return mended_answer(dialect.answer(body))

    async def stream(self, target: Target, chat: Chat) -> AsyncGenerator[Deltas, None]:
        """The pieces of an answer as they come, together what came together; CallFailedError when it breaks.

        Leaving it early ends the connection.
        """
        if target.dialect == echo.DIALECT:
            for delta in echo.deltas(chat, target.model):
                yield (delta,)
            return
        dialect = DIALECTS[target.dialect]
        reader, joining, idle = dialect.reader(), Joining(), target.timeouts.idle.total_seconds()
        try:
            async with await self._post(dialect, target, chat, stream=True) as exchange:
                data = await exchange.read(idle)
                if dialect.streams_events and data.lstrip()[:1] == b"{":
                    # no event begins so: an error that came with status 200, or an answer of one who does not stream
                    whole = dialect.answer(data + await exchange.body(idle, self._most))
                    yield tuple(pieces(mended_answer(whole)))
                    return
                while data:
                    came: list[Delta] = []
                    try:
                        came.extend(map(joining.piece, reader.feed(data)))
                    except CallFailedError:
                        # what stands before the trouble came all the same
                        yield came
                        raise
                    yield came
                    data = b"" if reader.ended else await exchange.read(idle)
                await exchange.drain(_DRAIN_SECONDS)
        except CallFailedError as error:
            raise _without(target.key, error.failure) from None
        except CutError as error:
            raise base.broken() from error
        except TransportError as error:
            raise _failed(error) from error
        yield tuple(map(joining.piece, reader.end()))

    def batches(self, target: Target, texts: Texts, done: int = 0) -> Iterator[Texts]:
        """The texts after the first `done` in calls that the target takes."""
        usual = Batch() if target.dialect == echo.DIALECT else DIALECTS[target.dialect].batch
        return split(texts, target.manner.batch.or_else(usual), done)

    async def embed(self, target: Target, texts: Texts) -> Vectors:
        """The vectors of one batch, with what it used; CallFailedError when there are none, or not those that were asked for."""
        try:
            made = await self._vectors(target, texts)
        except Unsupported as error:
            raise CallFailedError(Failure(FailureKind.BAD_REQUEST, str(error), of_dialect=True)) from error
        if wrong := flaw(made, texts):
            raise base.malformed(wrong)
        if texts.dimensions and made.dimensions != texts.dimensions:
            detail = f"dimensions: {texts.dimensions} are asked for, and this model answers {made.dimensions}; leave the field out"
            raise CallFailedError(Failure(FailureKind.BAD_REQUEST, detail, of_dialect=True))
        if made.usage is None:
            made = replace(made, usage=Usage(of_texts(texts)), estimated=True)
        return made

    async def _vectors(self, target: Target, texts: Texts) -> Vectors:
        if target.dialect == echo.DIALECT:
            base.words_of(texts, echo.DIALECT)
            return echo.vectors(texts, target.model)
        dialect = DIALECTS[target.dialect]
        try:
            async with await self._sent(dialect, target, dialect.embedding(texts, target)) as exchange:
                body = await exchange.body(target.timeouts.idle.total_seconds(), self._most)
        except TransportError as error:
            raise _failed(error) from error
        return dialect.vectors(body)

    async def close(self) -> None:
        """Ends every connection."""
        if "_pool" in vars(self):
            await self._pool.close()

    async def _post(self, dialect: Dialect, target: Target, chat: Chat, *, stream: bool) -> "Exchange":
        try:
            outgoing = dialect.request(chat, target, stream=stream)
        except Unsupported as error:
            raise CallFailedError(Failure(FailureKind.BAD_REQUEST, str(error), of_dialect=True)) from error
        return await self._sent(dialect, target, outgoing)

    async def _sent(self, dialect: Dialect, target: Target, outgoing: Outgoing) -> "Exchange":
        limits = target.timeouts
        exchange = await self._pool.post(
            outgoing.url,
            {"user-agent": _AGENT, **outgoing.headers, **dialect.credentials(target)},
            outgoing.body,
            connect=limits.connect.total_seconds(),
            first_byte=limits.first_byte.total_seconds(),
            total=limits.total.total_seconds(),
        )
        if exchange.status >= _REDIRECT:
            async with exchange:
                raise await self._refused(dialect, target, exchange)
        return exchange

    async def _refused(self, dialect: Dialect, target: Target, exchange: "Exchange") -> CallFailedError:
        status = exchange.status
        if status < _ERROR:
            detail = "the provider redirects, which is not followed; correct its base_url"
            return CallFailedError(Failure(FailureKind.NOT_FOUND, detail, status))
        try:
            body = await exchange.body(target.timeouts.idle.total_seconds(), _MOST_ERROR_BYTES)
        except TransportError:
            body = b""
        # some quote the key that they refuse
        told = dialect.failure(status, exchange.headers, body.replace(target.key.encode(), b"[key]") if target.key else body)
        wait = retry_after(exchange.headers, self._clock.now()) or told.retry_after
        return CallFailedError(Failure(told.kind, told.detail, status, wait))


def _without(key: str, failure: Failure) -> CallFailedError:
    """The same failure, should its words quote the key."""
    return CallFailedError(replace(failure, detail=failure.detail.replace(key, "[key]") if key else failure.detail))


def _failed(error: TransportError) -> CallFailedError:
    return CallFailedError(Failure(_KINDS[type(error)], without_keys(str(error))))
