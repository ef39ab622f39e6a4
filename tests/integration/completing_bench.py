"""A provider service with far ends of the test's own: scripted answers in OpenAI's and Anthropic's dialects, and what was asked."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.type.money_pb2 import Money
from grpc_status import rpc_status
from tooloo.provider.v1 import chat_pb2, provider_events_pb2
from tooloo.provider.v1 import completion_service_pb2 as api
from tooloo.provider.v1 import provider_service_pb2 as provider_api
from tooloo.provider.v1 import registry_service_pb2 as registry_api
from tooloo.provider.v1.availability_service_pb2 import SetFallbackChainRequest
from tooloo.provider.v1.availability_service_pb2_grpc import AvailabilityServiceStub
from tooloo.provider.v1.budget_pb2 import Budget, BudgetStanding
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceStub
from tooloo.provider.v1.health_pb2 import FailureKind, FallbackChain, FallbackTarget
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from tooloo.provider.v1.registry_service_pb2_grpc import RegistryServiceStub

from mesh import testing
from mesh.db import Transaction
from services.provider import money
from services.provider.__main__ import build
from tests.integration.remote_bench import Far, far_end

if TYPE_CHECKING:
    # exist for type checkers only
    from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceAsyncStub
    from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceAsyncStub

# acme/big is the best and the dearest, then brim/mid, then acme/small; opus and claude speak Anthropic's dialect
REGISTRY = """
[providers.acme]
base_url = "{url}"
timeouts.connect = "60s"
models.big = {{ quality = 0.9, tokens_per_second = 100, context_window = 8000, capabilities = ["tools", "vision"], price = {{ input = "1", output = "10", cached_input = "0.1" }} }}
models.small = {{ quality = 0.5, tokens_per_second = 100, context_window = 4000, capabilities = ["tools"], price = {{ input = "0.1", output = "1" }} }}
[providers.brim]
base_url = "{url}"
timeouts.connect = "60s"
models.mid = {{ quality = 0.7, tokens_per_second = 100, context_window = 90000, price = {{ input = "0.5", output = "5" }} }}
[providers.claude]
dialect = "anthropic"
base_url = "{url}"
timeouts.connect = "60s"
models.opus = {{ quality = 0.1, tokens_per_second = 100, context_window = 90000, price = {{ input = "3", output = "15", cached_input = "0.3", cache_write = "3.75" }} }}
[providers.local]
dialect = "echo"
local = true
models = {{ echo = {{ quality = 0.0, tokens_per_second = 1000, context_window = 100000 }} }}
"""  # noqa: E501 - a model is a line
BIG, SMALL, MID, OPUS = "acme/big", "acme/small", "brim/mid", "claude/opus"
WORDS = ("Hello", " there", " friend")
# 35 characters, so 10 tokens
TEN = "word " * 7
USED = (11, 7)
# 11 tokens of input at 1 and 7 of output at 10 nano units a thousandth
COST_OF_BIG = 11_000 + 70_000
Reply = Callable[[Far], Awaitable[None]]
Event = api.StreamCompleteResponse
ENDED = (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


def body_of(far: Far) -> dict[str, Any]:
    """What a request asked."""
    asked: dict[str, Any] = json.loads(far.body)
    return asked


def key_of(far: Far) -> str:
    """The key that a request carried."""
    return far.head.lower().partition("authorization: bearer ")[2].partition("\r\n")[0]


def event(data: object) -> bytes:
    """One event of a stream."""
    return f"data: {json.dumps(data)}\n\n".encode()


def chunk(text: str = "", usage: tuple[int, int] | None = None, finish: str | None = None, **delta: Any) -> bytes:
    """One piece of an answer in OpenAI's dialect, with choices in it."""
    choice = {"index": 0, "delta": {**({"content": text} if text else {}), **delta}, "finish_reason": finish}
    return event({"model": "m", "choices": [choice], **_usage(usage)})


def _usage(usage: tuple[int, int] | None, **details: Any) -> dict[str, Any]:
    return {} if usage is None else {"usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1], **details}}


def usage_alone(usage: tuple[int, int]) -> bytes:
    """The piece that OpenAI ends a stream with: usage, and no choices."""
    return event({"model": "m", "choices": [], **_usage(usage)})


DONE = b"data: [DONE]\n\n"


def says(words: Sequence[str] = WORDS, usage: tuple[int, int] | None = USED, **details: Any) -> Reply:
    """Answers with these words in OpenAI's dialect, whole or as a stream, and tells this usage (None: none)."""

    async def reply(far: Far) -> None:
        if not body_of(far).get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "".join(words)}, "finish_reason": "stop"}
            await far.answer(200, json.dumps({"model": "m", "choices": [choice], **_usage(usage, **details)}).encode())
            return
        told = [] if usage is None else [event({"model": "m", "choices": [], **_usage(usage, **details)})]
        await sends(*map(chunk, words), chunk(finish="stop"), *told, DONE)(far)

    return reply


def sends(*pieces: bytes, ends: bool = True) -> Reply:
    """Streams these pieces as they are; `ends` False: then cuts the connection."""

    async def reply(far: Far) -> None:
        await far.begin()
        for piece in pieces:
            await far.chunk(piece)
        if ends:
            await far.chunk(b"")
        else:
            far.writer.close()

    return reply


def fails(status: int, *headers: str, **error: Any) -> Reply:
    """Refuses with a status and an error in OpenAI's form."""
    return lambda far: far.answer(status, json.dumps({"error": {"message": f"status {status}", **error}}).encode(), *headers)


async def waits(far: Far) -> None:
    """Says nothing until the caller hangs up."""
    await far.reader.read(1)
    raise ConnectionError


def begins(*pieces: bytes, then: asyncio.Event | None = None, last: Sequence[bytes] = ()) -> Reply:
    """Streams these pieces and waits: for the event, to send the last pieces, or for the caller to hang up."""

    async def reply(far: Far) -> None:
        await far.begin()
        for piece in pieces:
            await far.chunk(piece)
        if then is None:
            await waits(far)
        else:
            await then.wait()
            await far.chunk(b"".join(last))
            await far.chunk(b"")

    return reply


@dataclass
class FarEnd:
    """Answers by model: the replies of `script` one after the other, then `says()`."""

    script: dict[str, list[Reply]] = field(default_factory=lambda: defaultdict(list))
    asked: list[Far] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def answer(self, far: Far) -> None:
        """Answers one request."""
        self.asked.append(far)
        self.arrived.set()
        replies = self.script[body_of(far)["model"]]
        await (replies.pop(0) if replies else says())(far)

    @property
    def models(self) -> list[str]:
        """Which models were called, in order."""
        return [body_of(far)["model"] for far in self.asked]

    @property
    def keys(self) -> list[str]:
        """With which keys."""
        return [key_of(far) for far in self.asked]


class Desk:
    """The service under test with short names for its calls, and the far end of all its providers."""

    def __init__(self, bench: testing.Bench, far: FarEnd) -> None:
        self.bench = bench
        self.far = far

    @property
    def stub(self) -> CompletionServiceAsyncStub:
        """The calls under test, on the channel of the present boot."""
        return CompletionServiceStub(self.bench.channel)

    @property
    def provider(self) -> ProviderServiceAsyncStub:
        """The calls around them."""
        return ProviderServiceStub(self.bench.channel)

    async def ask(self, model: str = BIG, text: str = "hello", **fields: Any) -> api.CompleteResponse:
        """A whole answer."""
        return await self.stub.Complete(asked(api.CompleteRequest, model, text, **fields))

    async def stream(self, model: str = BIG, text: str = "hello", **fields: Any) -> list[Event]:
        """All that a stream brings."""
        return [event async for event in self.stub.StreamComplete(asked(api.StreamCompleteRequest, model, text, **fields))]

    def streaming(
        self, model: str = BIG, text: str = "hello", **fields: Any
    ) -> grpc.aio.UnaryStreamCall[api.StreamCompleteRequest, Event]:
        """A stream to be read piece by piece."""
        return self.stub.StreamComplete(asked(api.StreamCompleteRequest, model, text, **fields))

    async def query(self, query_id: str) -> api.GetQueryResponse:
        """How a query stands."""
        return await self.stub.GetQuery(api.GetQueryRequest(query_id=query_id))

    async def limit(self, amount: str, budget_id: str = "b", mode: Budget.Mode.ValueType = Budget.MODE_DENY, **fields: Any) -> None:
        """Sets a budget."""
        budget = Budget(budget_id=budget_id, limit=usd(amount), mode=mode, **fields)
        await self.provider.SetBudget(provider_api.SetBudgetRequest(budget=budget))

    async def standing(self, budget_id: str = "b") -> BudgetStanding:
        """How a budget stands."""
        return (await self.provider.GetBudget(provider_api.GetBudgetRequest(budget_id=budget_id))).standing

    async def report(self, **fields: Any) -> provider_api.GetBudgetReportResponse:
        """What was spent."""
        return await self.provider.GetBudgetReport(provider_api.GetBudgetReportRequest(**fields))

    async def chain(self, chain_id: str, **causes: Sequence[str]) -> None:
        """Sets a fallback chain of models, by cause."""
        links = {
            cause: [FallbackTarget(provider_id=m.split("/")[0], model=m.split("/")[1]) for m in m_] for cause, m_ in causes.items()
        }
        chain = FallbackChain(chain_id=chain_id, **links)  # type: ignore[arg-type] # causes are names of fields
        await AvailabilityServiceStub(self.bench.channel).SetFallbackChain(SetFallbackChainRequest(chain=chain))

    async def add_key(self, provider_id: str, secret: str, weight: int = 1) -> str:
        """Gives a provider a key; its id."""
        request = registry_api.AddProviderKeyRequest(provider_id=provider_id, secret=secret, weight=weight)
        return (await RegistryServiceStub(self.bench.channel).AddProviderKey(request)).key.key_id

    async def count(self, what: str) -> int:
        """How many rows there are of: "open" reservations, "usage", "running" queries."""
        statement = {
            "open": "SELECT COUNT(*) AS found FROM reservation WHERE state = 1",
            "usage": "SELECT COUNT(*) AS found FROM usage",
            "running": "SELECT COUNT(*) AS found FROM query WHERE state = 1",
        }[what]

        async def work(tx: Transaction) -> int:
            row = await tx.fetch_one(statement)
            return int(row["found"]) if row else 0

        return await self.bench.host.db.read(work)

    async def query_ids(self) -> list[str]:
        """The queries so far, oldest first."""
        rows = await self.bench.host.db.read(lambda tx: tx.fetch_all("SELECT query_id FROM query ORDER BY created_us, query_id"))
        return [row["query_id"] for row in rows]

    async def at_rest(self) -> bool:
        """Whether nothing is under way any more: no open reservation, no running query."""
        return [await self.count(what) for what in ("open", "running")] == [0, 0]

    async def settled(self) -> None:
        """Waits until nothing is under way."""
        async with asyncio.timeout(60):
            while not await self.at_rest():  # noqa: ASYNC110 - the store has no event of its own
                await asyncio.sleep(0.01)

    async def told(self, event_type: str) -> list[Any]:
        """The data of every event of a type that was told."""
        found = []
        for each in await self.bench.told():
            if each.type == event_type:
                data = getattr(provider_events_pb2, each.data.type_url.rpartition(".")[2])()
                assert each.data.Unpack(data)
                found.append(data)
        return found

    async def restart(self) -> None:
        """Boots anew on the same files."""
        await self.bench.restart()


async def learned(desk: Desk) -> None:
    """Short answers so far, so that little is set aside; on a budget of their own."""
    for _ in range(25):
        await desk.ask(labels={"team": "before"})


def asked(kind: type[Message], model: str, text: str, **fields: Any) -> Any:
    """A request with one message of a user."""
    messages = fields.pop("messages", None) or [chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, text=text)]
    limit = fields.pop("most", 0)
    generation = fields.pop("generation", None) or chat_pb2.GenerationConfig(max_output_tokens=limit)
    timeout = fields.pop("seconds", None)
    request: Any = kind(messages=messages, generation=generation, model=model, **fields)
    if timeout is not None:
        request.timeout.FromTimedelta(timedelta(seconds=timeout))
    return request


def _link(model: str) -> FallbackTarget:
    provider_id, _, name = model.partition("/")
    return FallbackTarget(provider_id=provider_id, model=name)


def usd(text: str) -> Money:
    """An amount of the ledger's currency."""
    units, nanos = money.to_parts(money.parse(text))
    return Money(currency_code="USD", units=units, nanos=nanos)


def nanos(amount: Money) -> int:
    """Nano units of an amount."""
    return money.from_parts(amount.units, amount.nanos)


def words_of(events: Sequence[Event]) -> str:
    """The words of a stream."""
    return "".join(each.text for each in events)


def attempts_of(account: api.QueryAccount) -> list[tuple[str, str]]:
    """(model, failure or "") of every attempt."""
    kinds = [FailureKind.Name(each.failure).removeprefix("FAILURE_KIND_") if each.failure else "" for each in account.attempts]
    return [(f"{each.provider_id}/{each.model}", kind) for each, kind in zip(account.attempts, kinds, strict=True)]


@dataclass(frozen=True)
class Refused:
    """A call that was refused: its code, reason and metadata, and when to come again."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str]
    retry_after: timedelta | None


async def refused(call: Awaitable[object]) -> Refused:
    """How a call is refused; AssertionError when it is not."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    info, retry, wait = ErrorInfo(), RetryInfo(), None
    for detail in status.details:
        detail.Unpack(info)
        if detail.Unpack(retry):
            wait = retry.retry_delay.ToTimedelta()
    return Refused(caught.value.code(), info.reason, status.message, dict(info.metadata), wait)


def settings_for(url: str, folder: Path, **more: str) -> dict[str, str]:
    """Environment of a service whose providers are all at this address: quality decides, retries are quick, nobody needs a key."""
    registry = folder / "registry.toml"
    registry.write_text(REGISTRY.format(url=url))
    chosen = {
        "registry_file": str(registry),
        "require_key": "never",
        "default_budget": "",
        "weight_cost": "0",
        "weight_quality": "100",
        "weight_speed": "0",
        "weight_uptime": "0.001",
        "retry_base": "1ms",
        "retry_longest": "50ms",
        **more,
    }
    return {f"TOOLOO_PROVIDER_{name.upper()}": value for name, value in chosen.items()}


@asynccontextmanager
async def desk_on(folder: Path, mesh: Mapping[str, str] | None = None, **settings: str) -> AsyncIterator[Desk]:
    """The service and its far end; `settings` are those of the provider service, `mesh` more of its environment."""
    far = FarEnd()
    async with far_end(far.answer) as server:
        far.url = server.url
        env = {**settings_for(server.url, folder, **settings), **(mesh or {})}
        async with testing.running("provider", build, folder / "data", settings=env) as bench:
            yield Desk(bench, far)
