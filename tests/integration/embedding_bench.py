"""A provider service before a far end that makes vectors in every dialect that has them: scripted, and what it was asked."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from array import array
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration
from tooloo.provider.v1 import completion_service_pb2 as api

from mesh import testing
from services.provider.__main__ import build
from tests.integration.completing_bench import Desk, FarEnd
from tests.integration.remote_bench import Far, far_end

# acme and brim serve the same model "vec"; acme takes three texts in a call
REGISTRY = """
[providers.acme]
base_url = "{url}/acme"
timeouts.connect = "60s"
batch_texts = 3
models.vec = {{ quality = 0.5, tokens_per_second = 1000, context_window = 1000, capabilities = ["embeddings"], upstream = "vec-1", price = {{ input = "1" }} }}
models.other = {{ quality = 0.9, tokens_per_second = 1000, context_window = 1000, capabilities = ["embeddings"], price = {{ input = "1" }} }}
models.big = {{ quality = 0.9, tokens_per_second = 100, context_window = 8000, price = {{ input = "1", output = "10" }} }}
[providers.brim]
base_url = "{url}/brim"
timeouts.connect = "60s"
models.vec = {{ quality = 0.5, tokens_per_second = 1000, context_window = 1000, capabilities = ["embeddings"], price = {{ input = "2" }} }}
[providers.gem]
dialect = "gemini"
base_url = "{url}/gem"
timeouts.connect = "60s"
models.gecko = {{ quality = 0.5, tokens_per_second = 1000, context_window = 1000, capabilities = ["embeddings"], price = {{ input = "0.5" }} }}
[providers.oll]
dialect = "ollama"
base_url = "{url}/oll"
timeouts.connect = "60s"
models.nomic = {{ quality = 0.5, tokens_per_second = 1000, context_window = 1000, capabilities = ["embeddings"], price = {{ input = "3" }} }}
[providers.local]
dialect = "echo"
local = true
models.echo = {{ quality = 0.0, tokens_per_second = 1000, context_window = 100000 }}
models.hashed-words = {{ quality = 0.0, tokens_per_second = 1000, context_window = 100000, capabilities = ["embeddings"] }}
"""  # noqa: E501 - a model is a line
VEC, OTHER, GECKO, NOMIC = "acme/vec", "acme/other", "gem/gecko", "oll/nomic"
# how many numbers a vector has when nobody asks for another number
SIZE = 4
# tokens that the far end counts for a text, where it tells any
PER_TEXT = 5
Reply = Callable[[Far], Awaitable[None]]


def vector_of(text: object, size: int = SIZE) -> list[float]:
    """The vector of a text at the far end: exact in 32 bits and in few digits, another one for each text."""
    code = zlib.crc32(json.dumps(text).encode())
    return [(code >> place) % 256 / 256 for place in range(size)]


def provider_of(far: Far) -> str:
    """Which provider was called."""
    return far.head.split()[1].split("/")[1]


def texts_of(far: Far) -> list[Any]:
    """The texts, or the ids of their tokens, that were sent."""
    body = json.loads(far.body)
    if "requests" in body:
        return [each["content"]["parts"][0]["text"] for each in body["requests"]]
    return list(body["input"])


def makes(
    vectors: Sequence[Sequence[float]] | None = None, *, usage: bool = True, plain: bool = False, backwards: bool = False
) -> Reply:
    """Answers with these vectors, by default with those of the texts; `plain`: as numbers although base64 is asked for."""

    async def reply(far: Far) -> None:
        body, texts = json.loads(far.body), texts_of(far)
        asked = body["requests"][0].get("outputDimensionality") if "requests" in body else body.get("dimensions")
        made = [vector_of(text, asked or SIZE) for text in texts] if vectors is None else vectors
        told = PER_TEXT * len(texts) if usage else 0
        if "requests" in body:
            answer: dict[str, Any] = {"embeddings": [{"values": each} for each in made]}
        elif "encoding_format" in body:
            written = [each if plain else base64.b64encode(array("f", each).tobytes()).decode() for each in made]
            data = [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(written)]
            answer = {"object": "list", "data": data[::-1] if backwards else data, "model": body["model"]}
            answer["usage"] = {"prompt_tokens": told, "total_tokens": told}
        else:
            answer = {"model": body["model"], "embeddings": made, "prompt_eval_count": told}
        await far.answer(200, json.dumps(answer).encode(), "content-type: application/json")

    return reply


@dataclass
class Makers(FarEnd):
    """Answers by provider: the replies of `script` one after the other, then `makes()`."""

    script: dict[str, list[Reply]] = field(default_factory=lambda: defaultdict(list))

    async def answer(self, far: Far) -> None:
        """Answers one request."""
        self.asked.append(far)
        self.arrived.set()
        replies = self.script[provider_of(far)]
        await (replies.pop(0) if replies else makes())(far)

    @property
    def calls(self) -> list[tuple[str, list[Any]]]:
        """Whom was sent what, in order."""
        return [(provider_of(far), texts_of(far)) for far in self.asked]


class Shelf(Desk):
    """The service under test with a short name for the call."""

    async def embed(self, *texts: str, model: str = VEC, seconds: float = 0, **fields: Any) -> api.EmbedResponse:
        """The vectors of texts."""
        timeout = Duration(nanos=int(seconds * 1e9)) if seconds else None
        request = api.EmbedRequest(texts=texts or ("hello",), model=model, timeout=timeout, **fields)
        answer: api.EmbedResponse = await self.stub.Embed(request)
        return answer


def vectors_of(answer: api.EmbedResponse) -> list[list[float]]:
    """The vectors as lists."""
    return [list(each.values) for each in answer.embeddings]


def settings_of(url: str, folder: Path, **more: str) -> dict[str, str]:
    """Environment of a service whose providers are all at this address: retries are quick, nobody needs a key."""
    registry = folder / "registry.toml"
    registry.write_text(REGISTRY.format(url=url))
    chosen = {
        "registry_file": str(registry),
        "require_key": "never",
        "default_budget": "",
        "retry_base": "1ms",
        "retry_longest": "50ms",
        **more,
    }
    return {f"TOOLOO_PROVIDER_{name.upper()}": value for name, value in chosen.items()}


@asynccontextmanager
async def shelf_on(folder: Path, **settings: str) -> AsyncIterator[tuple[Shelf, Makers]]:
    """The service and its far end."""
    makers = Makers()
    async with far_end(makers.answer) as server:
        makers.url = server.url
        env = settings_of(server.url, folder, **settings)
        async with testing.running("provider", build, folder / "data", settings=env) as bench:
            yield Shelf(bench, makers), makers


async def waits(far: Far) -> None:
    """Says nothing until the caller hangs up."""
    await far.reader.read(1)
    raise ConnectionError


def held(go: asyncio.Event) -> Reply:
    """Answers when it may."""

    async def reply(far: Far) -> None:
        await go.wait()
        await makes()(far)

    return reply
