"""A stream of publishes: requests go to the log as they come, answers come back when they are on disk, each for all before it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from tooloo.bus.v1.bus_service_pb2 import PublishStreamResponse

from bus.batches import Appended
from bus.storage import EventLog
from mesh import errors


@dataclass(slots=True)
class _Pending:
    """A request that is on its way to the disk."""

    sequence: int
    size: int
    done: asyncio.Future[Appended]


class Pipeline:
    """One stream. What waits for the disk is bounded in bytes: beyond that the stream is not read, and gRPC slows the sender."""

    def __init__(self, log: EventLog, max_bytes: int) -> None:
        self._log = log
        self._max_bytes = max_bytes
        self._bytes = 0
        self._pending: deque[_Pending] = deque()
        self._changed = asyncio.Event()
        self._eased = asyncio.Event()
        self._sequence = 0
        self._duplicates = 0
        self._ended = False
        self._failure: Exception | None = None

    async def answers(self, requests: AsyncIterator[bytes]) -> AsyncIterator[PublishStreamResponse]:
        """Takes requests and answers them in order; raises why one was refused after the answers to those before it.

        The stream is read on meanwhile, and an answer covers as many requests as it can.
        """
        reading = asyncio.create_task(self._take(requests))
        try:
            while True:
                while self._pending:
                    await self._first_done()
                    yield self._answer()
                if self._ended:
                    break
                self._changed.clear()
                await self._changed.wait()
            if self._failure:
                raise self._failure
        finally:
            reading.cancel()

    async def _take(self, requests: AsyncIterator[bytes]) -> None:
        """Takes requests until the stream ends or one is refused; those before it are still stored and answered."""
        try:
            async for raw in requests:
                if self._ended:
                    # nothing more is taken: the sender gets no answer for it and sends it again elsewhere
                    return
                self._submit(raw)
                self._changed.set()
                while self._bytes > self._max_bytes:
                    self._eased.clear()
                    await self._eased.wait()
        except Exception as error:  # noqa: BLE001 - the stream's other half raises it, after the answers that come before
            self._failure = error
        self._ended = True
        self._changed.set()

    async def _first_done(self) -> None:
        """Returns when the oldest request is on the disk, or is not: what went wrong with it is raised by its answer."""
        with suppress(Exception):
            await self._pending[0].done

    def end(self, failure: Exception) -> None:
        """Ends the stream with a refusal, once what was taken is answered."""
        self._failure = failure
        self._ended = True
        self._changed.set()

    def abandon(self) -> None:
        """Nobody waits for what is still on its way: it is stored or not, and a failure of it is no news to anyone."""
        for pending in self._pending:
            pending.done.add_done_callback(_looked_at)

    def _submit(self, raw: bytes) -> None:
        append, sequence = self._log.intake.stream_request(raw)
        if sequence != self._sequence + 1:
            raise errors.invalid("sequence", f"must be {self._sequence + 1}: it grows by one with each request, from 1")
        self._sequence = sequence
        self._pending.append(_Pending(sequence, len(raw), self._log.submit(append)))
        self._bytes += len(raw)

    def _answer(self) -> PublishStreamResponse:
        answer = PublishStreamResponse(durability=self._log.durability)
        while self._pending and self._pending[0].done.done():
            pending = self._pending[0]
            if pending.done.exception() and answer.sequence:
                # first what is stored, then why the next is not
                break
            appended = pending.done.result()
            self._pending.popleft()
            self._bytes -= pending.size
            self._duplicates += appended.duplicates
            answer.sequence, answer.last_position = pending.sequence, appended.positions[-1]
            answer.positions.extend(appended.positions)
        answer.duplicates = self._duplicates
        self._eased.set()
        return answer


def _looked_at(done: asyncio.Future[Appended]) -> None:
    """Asks for a failure, for asyncio writes down those that nobody asks for."""
    if not done.cancelled():
        done.exception()
