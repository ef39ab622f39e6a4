"""What a handler sees of a call that came from its own process, and how the call ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc

Pairs = Iterable[tuple[str, str | bytes]]
_OK = grpc.StatusCode.OK


@dataclass
class Outcome:
    """How a call ended, or stands while it lasts."""

    code: grpc.StatusCode = _OK
    details: str = ""
    trailing: tuple[tuple[str, str | bytes], ...] = ()
    initial: tuple[tuple[str, str | bytes], ...] = ()

    def error(self) -> grpc.aio.AioRpcError:
        """The error that the caller of a failed call gets."""
        return grpc.aio.AioRpcError(
            self.code, grpc.aio.Metadata(*self.initial), grpc.aio.Metadata(*self.trailing), self.details or None
        )


@dataclass
class LocalContext:
    """The servicer's side of a call: what grpc.aio.ServicerContext offers, as far as it means something without a socket."""

    metadata: tuple[tuple[str, str | bytes], ...] = ()
    deadline: float | None = None
    outcome: Outcome = field(default_factory=Outcome)
    opened: asyncio.Event | None = None
    ended: bool = False
    _callbacks: list[Callable[[Any], None]] = field(default_factory=list)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Pairs = ()) -> NoReturn:
        """Ends the call with a status; always raises."""
        self.outcome.code, self.outcome.details = code, details
        self.outcome.trailing = tuple(trailing_metadata) or self.outcome.trailing
        raise grpc.aio.AbortError

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """Ends the call with a status object; always raises."""
        await self.abort(status.code, status.details, status.trailing_metadata or ())

    async def send_initial_metadata(self, initial_metadata: Pairs) -> None:
        """Tells the caller the headers now."""
        self.outcome.initial = tuple(initial_metadata)
        if self.opened is not None:
            self.opened.set()

    def set_trailing_metadata(self, trailing_metadata: Pairs) -> None:
        """Sets what the caller gets beside the status."""
        self.outcome.trailing = tuple(trailing_metadata)

    def set_code(self, code: grpc.StatusCode) -> None:
        """Sets the status code."""
        self.outcome.code = code

    def set_details(self, details: str) -> None:
        """Sets the status message."""
        self.outcome.details = details

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """What the caller sent beside the request."""
        return self.metadata

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - asyncio.get_running_loop().time())

    def peer(self) -> str:
        """Who calls: this process."""
        return "local"

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Nothing: no transport authenticates this process to itself."""
        return {}

    def code(self) -> grpc.StatusCode:
        """The status code so far."""
        return self.outcome.code

    def details(self) -> str:
        """The status message so far."""
        return self.outcome.details

    def trailing_metadata(self) -> Pairs:
        """What goes out beside the status."""
        return self.outcome.trailing

    def cancelled(self) -> bool:
        """Whether the caller gave up."""
        return self.ended and self.outcome.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        """Whether the call has ended."""
        return self.ended

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Calls back when the call has ended."""
        self._callbacks.append(callback)

    def end(self) -> None:
        """Marks the call as ended."""
        self.ended = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)
