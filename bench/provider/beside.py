"""The bursts of the stress at the HTTP doors of ours and of LiteLLM's proxy, one aimock at the far end of both.

LiteLLM's budgets are counted in its memory here (bench/provider/litellm.py says why). A restart would begin from nothing: neither
outage nor kill is compared.
"""

import asyncio
import contextlib
import functools
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx

from bench.provider import overhead
from bench.provider.customers import BURST, IN_PRICE, INPUT, LIMIT, MOST, OUT_PRICE, Customer, in_groups, open_accounts, warm_up
from bench.provider.customers import usual as usual_length
from bench.provider.litellm import with_budgets
from services.provider import money
from tests.peers.aimock import Mock, aimock
from tests.support.mesh import running_mesh

# what a far end may take for an answer, in the middle of what the in-process stress takes
_LATENCY_MS = "27"
_LENGTHS = 200
_GROUP = 5
# a prompt that tokenizers count about as the far end's usage says
_FILLING = "word " * (INPUT - 12)
_TIMEOUT_SECONDS = 120
_ATTEMPTS = 4
_SERVER_ERROR = 500
System = Callable[[Path, Mock, int], AbstractAsyncContextManager[tuple[int, list[Customer]]]]


@dataclass
class Row:
    """What one system let through: calls of each burst, and what each customer spent."""

    system: str
    affordable: list[int] = field(default_factory=list)
    oversized: list[int] = field(default_factory=list)
    customers: list[Customer] = field(default_factory=list)
    # calls that were made again because a connection broke or the answer was an error of the server
    again: int = 0

    @property
    def over(self) -> list[int]:
        """By how much those are over their limit that are."""
        return [customer.spent - LIMIT for customer in self.customers if customer.spent > LIMIT]


class Door:
    """A client of an OpenAI-compatible door, who names the customer in the ways of both systems."""

    def __init__(self, client: httpx.AsyncClient, chance: random.Random, lengths: Sequence[int]) -> None:
        self._client, self._chance, self._lengths = client, chance, lengths
        self.again = 0

    def usual(self, chance: random.Random) -> int:
        """Output tokens of a usual answer."""
        return chance.choice(self._lengths)

    def oversized(self, chance: random.Random) -> int:
        """One answer in five is as long as it may be."""
        return MOST if chance.random() < 0.2 else self.usual(chance)

    async def call(self, customer: Customer, output: int) -> bool:
        """One call that gives so many output tokens, whole or streamed; whether it was admitted."""
        body: dict[str, object] = {
            "model": "gpt-5-mini",
            "max_completion_tokens": MOST,
            "messages": [{"role": "user", "content": f"{_FILLING} answer with {output:04d} tokens"}],
        }
        if self._chance.random() < 0.5:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        headers = {"authorization": f"Bearer sk-{customer.name}", "x-tooloo-labels": f"customer={customer.name}"}
        answer = await self._answer(body, headers)
        if not answer.is_success:
            if "budget" not in answer.text.lower():
                raise RuntimeError(f"{answer.status_code}: {answer.text[:500]}")
            return False
        customer.spent += INPUT * IN_PRICE + output * OUT_PRICE
        return True

    async def _answer(self, body: dict[str, object], headers: dict[str, str]) -> httpx.Response:
        """As clients do: asks again when a connection breaks on the way here or there, which is no refusal."""
        for attempt in range(_ATTEMPTS):
            with contextlib.suppress(httpx.TransportError):
                answer = await self._client.post("/v1/chat/completions", json=body, headers=headers)
                if answer.status_code < _SERVER_ERROR or attempt == _ATTEMPTS - 1:
                    return answer
            self.again += 1
            await asyncio.sleep(0.1)
        raise RuntimeError(f"no answer in {_ATTEMPTS} attempts")

    async def burst(self, customer: Customer, length: Callable[[random.Random], int]) -> int:
        """Twenty calls at the same time; how many were admitted."""
        return sum(await asyncio.gather(*(self.call(customer, length(self._chance)) for _ in range(BURST))))


def fixtures(lengths: Sequence[int]) -> list[dict[str, object]]:
    """An answer a length: few words, whose usage says how long it was."""
    return [
        {
            "match": {"userMessage": f"with {length:04d} tokens"},
            "response": {
                "content": "An answer.",
                "usage": {"prompt_tokens": INPUT, "completion_tokens": length, "total_tokens": INPUT + length},
            },
        }
        for length in sorted({*lengths, MOST})
    ]


async def measure(system: str, port: int, known: Sequence[Customer], seed: int, seconds: float) -> Row:
    """An affordable burst and one with oversized answers for each customer, for as many as there is time for."""
    row, chance = Row(system), random.Random(seed)
    limits = httpx.Limits(max_connections=_GROUP * BURST)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=_TIMEOUT_SECONDS, limits=limits) as client:
        door = Door(client, chance, draw(seed))
        await warm_up(door.call, chance)
        end = time.monotonic() + seconds
        for begin in range(0, len(known), _GROUP):
            some = known[begin : begin + _GROUP]
            row.affordable += await in_groups([door.burst(customer, door.usual) for customer in some], _GROUP)
            row.oversized += await in_groups([door.burst(customer, door.oversized) for customer in some], _GROUP)
            row.customers += some
            row.again = door.again
            if time.monotonic() > end:
                break
    return row


def draw(seed: int) -> list[int]:
    """Lengths of usual answers, as the in-process stress has them."""
    chance = random.Random(seed)
    return [usual_length(chance) for _ in range(_LENGTHS)]


@asynccontextmanager
async def ours(folder: Path, mock: Mock, customers: int, *, worst_case: bool) -> AsyncIterator[tuple[int, list[Customer]]]:
    """The whole mesh; budgets are as in the in-process stress."""
    (folder / "registry.toml").write_text(overhead.REGISTRY.format(url=mock.url))
    env = {
        "TOOLOO_PROVIDER_REGISTRY_FILE": str(folder / "registry.toml"),
        "TOOLOO_PROVIDER_DEFAULT_BUDGET": "",
        "TOOLOO_PROVIDER_RESERVE_WORST_CASE": json.dumps(worst_case),
    }
    with running_mesh(folder / "var", env) as mesh:
        async with grpc.aio.insecure_channel(mesh.target) as channel:
            yield mesh.door_port, await open_accounts(channel, customers)


@asynccontextmanager
async def theirs(folder: Path, mock: Mock, customers: int, *, reserves: bool) -> AsyncIterator[tuple[int, list[Customer]]]:
    """LiteLLM's proxy, with a budget for each key."""
    with with_budgets(folder, mock.url, LIMIT / money.NANOS, reserves=reserves) as (port, _):
        yield port, [Customer(f"c{number}") for number in range(customers)]


async def rows(customers: int = 250, seed: int = 50438, seconds: float = 120.0, *, peers: bool = True) -> list[Row]:
    """Every system on the same far end, one after the other."""
    systems: dict[str, System] = {
        "ours": functools.partial(ours, worst_case=False),
        "ours, worst case": functools.partial(ours, worst_case=True),
    }
    if peers:
        systems["LiteLLM"] = functools.partial(theirs, reserves=True)
        systems["LiteLLM, no reserve"] = functools.partial(theirs, reserves=False)
    found = []
    for system, running in systems.items():
        with tempfile.TemporaryDirectory(prefix="tooloo-bench-") as name:
            folder = Path(name)
            async with (
                aimock(folder, fixtures(draw(seed)), "--chaos-latency", _LATENCY_MS) as mock,
                running(folder, mock, customers) as (port, known),
            ):
                found.append(await measure(system, port, known, seed, seconds))
    return found


def show(found: Sequence[Row]) -> bool:
    """Prints the table; gives whether ours lets an affordable burst through."""
    names = ("customers", "burst of 20: least", "mean", "oversized: mean", "customers over", "over cap $", "most $", "again")
    widths = (11, 20, 7, 17, 16, 12, 12, 7)
    print(f"{'system':21}" + "".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True)))
    for row in found:
        figures = (
            len(row.customers),
            min(row.affordable),
            f"{sum(row.affordable) / len(row.affordable):.1f}",
            f"{sum(row.oversized) / len(row.oversized):.1f}",
            len(row.over),
            money.show(sum(row.over)),
            money.show(max(row.over, default=0)),
            row.again,
        )
        print(f"{row.system:21}" + "".join(f"{figure!s:>{width}}" for figure, width in zip(figures, widths, strict=True)))
    return min(found[0].affordable) >= 18
