"""Load for a mesh that is being killed: callers that never give up, and the count of what they were promised."""

import asyncio
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.mesh import Mesh

# what a caller may see while the thing it calls is dead; anything else is a fault
_RETRY_STATUS = {429, 502, 503, 504}
_GIVE_UP_SECONDS = 120


@dataclass
class Promised:
    """What was acknowledged: tokens recorded, values logged (with their event ids), selections made; and calls made again."""

    tokens: int = 0
    usages: int = 0
    metric_events: list[str] = field(default_factory=list)
    selections: list[str] = field(default_factory=list)
    retried: int = 0
    unexpected: list[str] = field(default_factory=list)


class Load:
    """Callers in a closed loop, each with its own idempotency keys, until they are told to stop."""

    def __init__(self, mesh: Mesh, seed: int, user: str) -> None:
        self.promised = Promised()
        self.user = user
        self._mesh = mesh
        self._random = random.Random(seed)
        self._stop = asyncio.Event()

    async def run(self, callers: int) -> None:
        """Calls until stop(); returns when every call that was begun has its answer."""
        async with self._mesh.rest() as client:
            await asyncio.gather(*(self._caller(client, number) for number in range(callers)))

    def stop(self) -> None:
        """Lets every caller end after its current call."""
        self._stop.set()

    async def _caller(self, client: httpx.AsyncClient, number: int) -> None:
        calls = (self._track, self._log, self._select)
        while not self._stop.is_set():
            await calls[number % len(calls)](client)
            await asyncio.sleep(0.01)

    async def _track(self, client: httpx.AsyncClient) -> None:
        tokens = self._random.randint(1, 1000)
        body = {"providerId": "openai", "model": "gpt-5-mini", "inputTokens": tokens, "outputTokens": 0, "userId": self.user}
        if await self._call(client, "/api/v1/budget/track", body):
            self.promised.tokens += tokens
            self.promised.usages += 1

    async def _log(self, client: httpx.AsyncClient) -> None:
        answer = await self._call(client, "/api/v1/analytics/log", {"name": "kill_test", "value": 1, "labels": {"user": self.user}})
        if answer:
            self.promised.metric_events.append(answer["eventId"])

    async def _select(self, client: httpx.AsyncClient) -> None:
        body = {"query": "hello", "focusArea": "python", "estimatedTokens": 100, "userId": self.user}
        answer = await self._call(client, "/api/v1/providers/select", body)
        if answer:
            self.promised.selections.append(answer["selectionId"])

    async def _call(self, client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Calls until it is answered, always under the same key, as a careful caller does."""
        key = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        try:
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                while True:
                    answer = await self._once(client, path, body, key)
                    if answer is not None:
                        return answer
                    self.promised.retried += 1
                    await asyncio.sleep(0.1)
        except TimeoutError:
            self.promised.unexpected.append(f"{path}: no answer within {_GIVE_UP_SECONDS} s")
            return None

    async def _once(self, client: httpx.AsyncClient, path: str, body: dict[str, Any], key: str) -> dict[str, Any] | None:
        try:
            answer = await client.post(path, json=body, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            return None
        if answer.status_code in _RETRY_STATUS:
            return None
        if answer.is_error:
            self.promised.unexpected.append(f"{path}: {answer.status_code} {answer.text}")
            return {"eventId": "", "selectionId": ""}
        content: dict[str, Any] = answer.json()
        return content
