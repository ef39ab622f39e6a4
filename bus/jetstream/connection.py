"""The wire to NATS: JetStream's requests, messages read by their place, and publishes that are stored whole (ADR-50)."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, Self

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus.jetstream.settings import NatsSettings
from bus.storage import Closed, DiskFull
from mesh.clock import to_us
from mesh.ids import new_id

log = logging.getLogger(__name__)
# one atomic batch holds at most so many messages (the server's default)
BATCH = 1000
EXPECTED_LAST = "Nats-Expected-Last-Sequence"
EXPECTED_LAST_OF_SUBJECT = "Nats-Expected-Last-Subject-Sequence"
MESSAGE_ID = "Nats-Msg-Id"
_NOT_FOUND = 404
_UNAVAILABLE = 503
_NO_RESPONDERS = "503"
# not so many servers of the cluster are there as replicas are wanted
_NO_PLACE = 10005
_WRONG_SEQUENCE = frozenset({10071, 10164})
_DUPLICATE = 10201
# insufficient resources, storage of the account or the stream, maximum bytes
_NO_ROOM = frozenset({10023, 10028, 10047, 10077})
_RECONNECT_SECONDS = 0.1


class Unreachable(Closed):
    """NATS does not answer; what was asked for may have happened."""


class WrongSequence(Exception):
    """Somebody else, or an earlier attempt of ours, wrote in between; nothing was stored."""


class DuplicateIds(Exception):
    """NATS remembers a message id of the batch; nothing was stored."""


class ApiError(Exception):
    """JetStream refused a request."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(f"JetStream: {error.get('description', error)} ({error.get('err_code', 0)})")
        self.code = int(error.get("code", 0))
        self.number = int(error.get("err_code", 0))


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be stored."""

    subject: str
    payload: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it is stored."""

    subject: str
    sequence: int
    payload: bytes
    time_us: int
    headers: Mapping[str, str]


class Connection:
    """A connection that comes back by itself. Unreachable when a request is not answered in time."""

    def __init__(self, client: Client, replies: _Replies, timeout: float) -> None:
        self._client = client
        self._replies = replies
        self._timeout = timeout

    @classmethod
    async def open(cls, settings: NatsSettings) -> Self:
        """Connects; Unreachable when no server answers."""
        seconds = settings.timeout.total_seconds()
        credentials = {"user_credentials": str(settings.credentials)} if settings.credentials.name else {}
        try:
            client = await nats.connect(
                list(settings.servers),
                name="tooloo bus",
                connect_timeout=seconds,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_SECONDS,
                error_cb=_quiet,
                **credentials,
            )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise Unreachable(f"no NATS server answers at {', '.join(settings.servers)}: {error}") from error
        return cls(client, await _Replies.open(client), seconds)

    async def close(self) -> None:
        """Ends the connection."""
        await self._client.close()

    @property
    def max_payload(self) -> int:
        """Largest message that the servers take, in bytes."""
        return self._client.max_payload

    @property
    def closed(self) -> bool:
        """Whether it was ended; one that is being made anew is not."""
        return self._client.is_closed

    async def api(self, call: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A request of JetStream's API, e.g. "STREAM.INFO.tooloo"; ApiError when it is refused."""
        message = await self._request(f"$JS.API.{call}", json.dumps(body).encode() if body else b"", {})
        try:
            return _answer(message.data)
        except ApiError as error:
            if error.code == _UNAVAILABLE or error.number == _NO_PLACE:
                raise Unreachable(str(error)) from error
            raise

    async def stored(self, stream: str, **which: Any) -> Incoming | None:
        """The message that `which` names (seq, next_by_subj, last_by_subj), from the stream's leader; None when there is none."""
        try:
            found = (await self.api(f"STREAM.MSG.GET.{stream}", which))["message"]
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return None
            raise
        headers = _headers(base64.b64decode(found.get("hdrs", "")))
        payload = base64.b64decode(found.get("data", ""))
        return Incoming(found["subject"], found["seq"], payload, _time_us(found["time"]), headers)

    async def fetch(self, stream: str, sequence: int, max_bytes: int, subject: str = ">") -> tuple[list[Incoming], bool]:
        """Messages from a sequence on, by any replica (direct get), and whether it has more of them; at most BATCH."""
        got = _Gathered()
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, cb=got.take)
        try:
            which = {"seq": sequence, "batch": BATCH, "max_bytes": max_bytes, "next_by_subj": subject}
            await self._client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(which).encode(), reply=inbox)
            async with asyncio.timeout(self._timeout):
                await got.done
        except (nats.errors.Error, TimeoutError) as error:
            raise Unreachable(f"the stream cannot be read now: {error}") from error
        finally:
            await _unsubscribe(subscription)
        return got.messages, got.pending > 0

    async def publish(self, messages: Sequence[Outgoing]) -> int:
        """Stores messages, all or none; gives the sequence of the last one. WrongSequence, DuplicateIds, DiskFull."""
        if not self._client.is_connected:
            raise Unreachable("the connection to NATS is being made anew")
        *others, last = messages
        try:
            headers = last.headers
            if others:
                batch = new_id()
                for number, message in enumerate(others, 1):
                    await self._client.publish(message.subject, message.payload, headers=_numbered(message, batch, number))
                headers = {**_numbered(last, batch, len(messages)), "Nats-Batch-Commit": "1"}
        except nats.errors.Error as error:
            raise Unreachable(f"NATS cannot be written to now: {error}") from error
        answer = await self._request(last.subject, last.payload, headers)
        try:
            stored = _answer(answer.data)
        except ApiError as error:
            raise _failure(error) from error
        if stored.get("duplicate"):
            # of a single message NATS says so in a good answer, with the sequence of the first one
            raise DuplicateIds(f"NATS has its id at {stored['seq']}")
        return int(stored["seq"])

    async def _request(self, subject: str, body: bytes, headers: dict[str, str]) -> Msg:
        with self._replies.expected() as (inbox, reply):
            try:
                await self._client.publish(subject, body, reply=inbox, headers=headers or None)
                async with asyncio.timeout(self._timeout):
                    message = await reply
            except (nats.errors.Error, TimeoutError) as error:
                raise Unreachable(f"NATS does not answer now: {error or type(error).__name__}") from error
        if (message.headers or {}).get("Status") == _NO_RESPONDERS:
            raise Unreachable(f"nobody answers at {subject} now")
        return message


class _Replies:
    """One inbox for all requests. The client's own request() may lose a cancellation on Python 3.11 (asyncio.wait_for does)."""

    def __init__(self, inbox: str) -> None:
        self._inbox = inbox
        self._numbers = count(1)
        self._waiting: dict[str, asyncio.Future[Msg]] = {}

    @classmethod
    async def open(cls, client: Client) -> Self:
        """Opens the inbox."""
        replies = cls(client.new_inbox())
        await client.subscribe(f"{replies._inbox}.*", cb=replies._take)
        return replies

    @contextmanager
    def expected(self) -> Iterator[tuple[str, asyncio.Future[Msg]]]:
        """Where the next answer shall go, and the future that gives it."""
        inbox = f"{self._inbox}.{next(self._numbers)}"
        reply = self._waiting[inbox] = asyncio.get_running_loop().create_future()
        try:
            yield inbox, reply
        finally:
            del self._waiting[inbox]

    async def _take(self, message: Msg) -> None:
        reply = self._waiting.get(message.subject)
        # an answer that nobody waits for any more came too late
        if reply is not None and not reply.done():
            reply.set_result(message)


class _Gathered:
    """The answers of a direct get, until the one that says that there are no more."""

    def __init__(self) -> None:
        self.messages: list[Incoming] = []
        self.pending = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def take(self, message: Msg) -> None:
        """Takes an answer."""
        headers = message.headers or {}
        if "Status" in headers:
            self.pending = int(headers.get("Nats-Num-Pending", "0"))
            if not self.done.done():
                self.done.set_result(None)
            return
        sequence, time_us = int(headers["Nats-Sequence"]), _time_us(headers["Nats-Time-Stamp"])
        self.messages.append(Incoming(headers["Nats-Subject"], sequence, message.data, time_us, headers))


async def _quiet(error: Exception) -> None:
    """What goes wrong with the connection shows in the requests that need it."""


async def _unsubscribe(subscription: Any) -> None:
    try:
        await subscription.unsubscribe()
    except nats.errors.Error:
        # the connection is gone, and with it the subscription
        return


def _numbered(message: Outgoing, batch: str, number: int) -> dict[str, str]:
    return {**message.headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}


def _answer(body: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(body)
    if error := answer.get("error"):
        raise ApiError(error)
    return answer


def _failure(error: ApiError) -> Exception:
    if error.number in _WRONG_SEQUENCE:
        return WrongSequence(str(error))
    if error.number == _DUPLICATE:
        return DuplicateIds(str(error))
    if error.number in _NO_ROOM:
        return DiskFull(str(error))
    # no leader, a batch whose first part went to another server, an id that is still being stored: nothing is decided
    log.warning("NATS refuses a publish for now: %s", error)
    return Unreachable(str(error))


def _headers(block: bytes) -> dict[str, str]:
    """The headers of a stored message: a status line, then `Name: value` lines."""
    lines = block.decode().split("\r\n")[1:]
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines) if name}


def _time_us(text: str) -> int:
    return to_us(datetime.fromisoformat(text))
