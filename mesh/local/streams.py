"""The two directions of a streaming call within one process: bounded, so that a slow reader slows the writer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

# messages under way in one direction; over a socket the window of HTTP/2 bounds them
WINDOW = 4


class Pipe:
    """Messages from one writer to one reader."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.closed = False

    async def put(self, item: Any) -> None:
        """Hands a message over, as soon as there is room; asyncio.InvalidStateError when the pipe is closed."""
        while len(self._items) >= WINDOW and not self.closed:
            self._writable.clear()
            await self._writable.wait()
        if self.closed:
            raise asyncio.InvalidStateError("the call has ended")
        self._items.append(item)
        self._readable.set()

    def close(self) -> None:
        """No more messages; those in it can still be read."""
        self.closed = True
        self._readable.set()
        self._writable.set()

    async def get(self) -> Any:
        """The next message; EOFError when the pipe is closed and empty."""
        while not self._items:
            if self.closed:
                raise EOFError
            self._readable.clear()
            await self._readable.wait()
        item = self._items.popleft()
        self._writable.set()
        return item


class Requests:
    """The requests of a stream as a handler reads them."""

    def __init__(self, pipe: Pipe, decode: Callable[[bytes], Any] | None) -> None:
        self._pipe = pipe
        self._decode = decode

    def __aiter__(self) -> Requests:
        """Itself."""
        return self

    async def __anext__(self) -> Any:
        """The next request, decoded."""
        try:
            body = await self._pipe.get()
        except EOFError:
            raise StopAsyncIteration from None
        return self._decode(body) if self._decode else body
