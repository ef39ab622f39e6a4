"""A careful caller: the same request again until it is answered, and now and then one that it gives up at a random moment."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from google.rpc import error_details_pb2

from mesh.reconnect import refusal_of
from tests.robustness.traffic import LONG

T = TypeVar("T")
# what a caller may see while the service, its disk or its store is away; anything else that the service says is a fault
_PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED}
_AGAIN_SECONDS = 0.02
_SHORTEST_LIFE, _LONGEST_LIFE = 0.0005, 0.02
_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.use_local_subchannel_pool", 1),
]


class Unexpected(Exception):
    """An answer that no fault excuses; it is noted, and its piece of work ends here."""


class Caller:
    """Calls one service; counts what it was answered and refused."""

    def __init__(self, address: str, chance: random.Random) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        # while it is set every other call is given up at a random moment
        self.gives_up = False
        self.answered = 0
        self.refused: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self._chance = chance

    async def call(self, method: Callable[..., Any], request: Any) -> Any:
        """The answer, however often it has to be asked for; Unexpected when the service refuses what it should not."""
        async with asyncio.timeout(LONG):
            while True:
                try:
                    answer = await self._once(method, request)
                except grpc.aio.AioRpcError as error:
                    self._note(error)
                else:
                    if answer is not None:
                        self.answered += 1
                        return answer
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _once(self, method: Callable[..., Any], request: Any) -> Any:
        """One attempt; None when it was given up."""
        call = method(request, timeout=LONG)
        if self.gives_up and self._chance.random() < 0.5:
            life = self._chance.uniform(_SHORTEST_LIFE, _LONGEST_LIFE)
            asyncio.get_running_loop().call_later(life, call.cancel)
        try:
            return await call
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task and task.cancelling():
                raise
            return None

    def _note(self, error: grpc.aio.AioRpcError) -> None:
        info = [detail for detail in refusal_of(error).details if isinstance(detail, error_details_pb2.ErrorInfo)]
        reason = info[0].reason if info else ""
        self.refused[reason] += 1
        # a connection that breaks in the middle shows under many codes, but without a reason of the mesh
        if error.code() in _PASSING or reason == error.code().name:
            return
        self.unexpected.append(f"{error.code().name} {reason}: {error.details()}")
        raise Unexpected(self.unexpected[-1])
