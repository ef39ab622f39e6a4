"""POST /v1/embeddings as OpenAI's official client meets it, through a real Envoy; Gemini is sent what Google's own client sends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import openai
import pytest
from google import genai
from google.genai import types

from envoy.settings import DoorSettings
from envoy.testing import door_on_free_ports, running_door
from mesh import catalogue, contracts
from mesh.clock import SystemClock
from services.provider import echo
from services.provider.remote.calling import Remote
from services.provider.target import Target
from services.provider.texts import Texts
from tests.integration.completing_bench import fails
from tests.integration.embedding_bench import GECKO, NOMIC, PER_TEXT, VEC, Makers, Shelf, makes, shelf_on, texts_of, vector_of
from tests.integration.remote_bench import Far, far_end
from tests.peers.aimock import aimock

# Google's client inherits from aiohttp's, which that library warns of
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")


@asynccontextmanager
async def door_on(folder: Path) -> AsyncIterator[tuple[str, Shelf, Makers]]:
    """The address of the door, the service behind it, and the far end."""
    async with shelf_on(folder) as (shelf, makers):
        door = door_on_free_ports(folder, {"provider": catalogue.service("provider").grpc_services}, DoorSettings())
        door.descriptors.write_bytes(contracts.descriptor_path().read_bytes())
        async with running_door(door, folder, {"provider": [Path(shelf.bench.address.removeprefix("unix:"))]}):
            yield f"http://127.0.0.1:{door.port}", shelf, makers


async def test_the_official_client(tmp_path: Path) -> None:
    """One after the other, since a door takes its time: vectors of every dialect, sizes, refusals, headers, repeats, models."""
    async with door_on(tmp_path) as (url, shelf, makers), openai_client(url) as client:
        await vectors_of_every_dialect(client)
        await token_ids(client, makers)
        await headers(client, shelf)
        await large_answers(client)
        listed = {model.id async for model in await client.models.list()}
        assert {VEC, GECKO, NOMIC, "local/hashed-words"} <= listed
        async with httpx.AsyncClient(base_url=url, timeout=60) as plain:
            await by_rest(plain)
        await asyncio.to_thread(without_asyncio, url)
        await refusals(client, makers, shelf)


def openai_client(url: str) -> openai.AsyncOpenAI:
    """The official client with its base URL changed, and a minute to connect."""
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="caller-key", max_retries=0, timeout=60)


def without_asyncio(url: str) -> None:
    """The same package without asyncio."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="caller-key", max_retries=0, timeout=60) as client:
        answer = client.embeddings.create(model="local/hashed-words", input="hello", dimensions=2)
    assert len(answer.data[0].embedding) == 2


async def vectors_of_every_dialect(client: openai.AsyncOpenAI) -> None:
    """As the client asks by itself (base64) and as numbers: the same vectors in order, and the usage."""
    for model, used in ((VEC, 2 * PER_TEXT), (GECKO, 2 * 2), (NOMIC, 2 * PER_TEXT)):
        packed = await client.embeddings.create(model=model, input=["hello", "there"], dimensions=5, user="ada")
        plain = await client.embeddings.create(model=model, input=["hello", "there"], dimensions=5, encoding_format="float")
        for answer in (packed, plain):
            assert [each.embedding for each in answer.data] == [vector_of("hello", 5), vector_of("there", 5)], model
            assert [(each.index, each.object) for each in answer.data] == [(0, "embedding"), (1, "embedding")]
            assert (answer.object, answer.model) == ("list", model.partition("/")[2])
            assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (used, used)
    one = await client.embeddings.create(model="vec", input="hello")
    assert [each.embedding for each in one.data] == [vector_of("hello")]


async def token_ids(client: openai.AsyncOpenAI, makers: Makers) -> None:
    """Go on to who speaks the dialect, as LangChain sends them; elsewhere they are refused by the name of the field."""
    answer = await client.embeddings.create(model=VEC, input=[[1, 2], [3]])
    assert [each.embedding for each in answer.data] == [vector_of([1, 2]), vector_of([3])]
    assert texts_of(makers.asked[-1]) == [[1, 2], [3]]
    with pytest.raises(openai.BadRequestError, match="input: the gemini dialect takes words"):
        await client.embeddings.create(model=GECKO, input=[[1, 2]])


async def headers(client: openai.AsyncOpenAI, shelf: Shelf) -> None:
    """Who answered and what it cost; labels of the request count; a repeat under the same key calls nobody and says the same."""
    given = {"x-tooloo-labels": "team=red", "idempotency-key": "once"}
    first = await client.embeddings.with_raw_response.create(model=GECKO, input="hello", extra_headers=given)
    again = await client.embeddings.with_raw_response.create(model=GECKO, input="hello", extra_headers=given)
    told = first.headers
    assert (told["x-tooloo-provider"], told["x-tooloo-model"], told["x-tooloo-estimated"]) == ("gem", "gecko", "true")
    assert told["x-tooloo-cost"] == "0.000001"
    assert told["x-tooloo-query-id"] == again.headers["x-tooloo-query-id"]
    assert first.parse().data == again.parse().data
    [row] = (await shelf.report(labels=["team=red"])).rows
    assert row.calls == 1
    stand_in = await client.embeddings.with_raw_response.create(model="hashed-words", input="hello")
    assert stand_in.headers["x-tooloo-notice"] == echo.VECTORS_NOTICE
    assert "x-tooloo-estimated" not in stand_in.headers


async def large_answers(client: openai.AsyncOpenAI) -> None:
    """More than the 4 MiB of a gRPC message comes in pieces, and is whole."""
    answer = await client.embeddings.create(
        model="local/hashed-words", input=[f"text {number}" for number in range(280)], dimensions=4096
    )
    assert len(answer.data) == 280
    assert {len(each.embedding) for each in answer.data} == {4096}


async def refusals(client: openai.AsyncOpenAI, makers: Makers, shelf: Shelf) -> None:
    """OpenAI's own exceptions, with our words in them."""
    with pytest.raises(openai.BadRequestError, match="name the model"):
        await client.embeddings.create(model="auto", input="hello")
    with pytest.raises(openai.BadRequestError, match="it makes no embeddings"):
        await client.embeddings.create(model="acme/big", input="hello")
    with pytest.raises(openai.BadRequestError, match=r"input\[1\]: must not be empty"):
        await client.embeddings.create(model=VEC, input=["hello", ""])
    with pytest.raises(openai.NotFoundError):
        await client.embeddings.create(model="nobody", input="hello")
    makers.script["oll"] = [fails(429, "retry-after: 600")] * 9
    with pytest.raises(openai.RateLimitError):
        await client.embeddings.create(model=NOMIC, input="hello")
    makers.script["gem"] = [makes([[1.0], [2.0]])] * 9
    with pytest.raises(openai.InternalServerError, match="2 vectors came for 1 texts") as caught:
        await client.embeddings.create(model=GECKO, input="hello")
    assert caught.value.status_code == 502
    await shelf.limit("0.000000001")
    with pytest.raises(openai.RateLimitError, match="budget") as spent:
        await client.embeddings.create(model=VEC, input="hello")
    assert spent.value.response.headers["x-should-retry"] == "false"


async def by_rest(plain: httpx.AsyncClient) -> None:
    """POST /api/v1/embeddings/create: a vector of 1536 numbers as JSON."""
    body = {"texts": ["hello"], "model": "local/hashed-words", "dimensions": 1536}
    answer = await plain.post("/api/v1/embeddings/create", json=body)
    assert answer.status_code == 200
    assert len(answer.json()["embeddings"][0]["values"]) == answer.json()["dimensions"] == 1536


async def test_another_far_end(tmp_path: Path) -> None:
    """aimock, which answers with numbers whatever is asked for, and tells no usage.

    Its Ollama answers /api/embed as the call before it did, which real ones do not.
    """
    fixture = {"match": {"inputText": "hello"}, "response": {"embedding": [0.25, -0.5, 1]}}
    async with aimock(tmp_path, [fixture]) as mock, Remote(SystemClock()) as remote:
        made = await remote.embed(Target("p", "m", "openai", f"{mock.url}/v1"), Texts(("hello", "hello again")))
    assert [item.tolist() for item in made.items] == [[0.25, -0.5, 1.0]] * 2
    assert made.estimated


async def test_we_send_what_googles_client_sends() -> None:
    """Path, key header and body for the same texts."""

    async def handler(far: Far) -> None:
        await far.answer(200, json.dumps({"embeddings": [{"values": [1, 2]}] * 2}).encode(), "content-type: application/json")

    async with far_end(handler) as server, Remote(SystemClock()) as remote:
        client = genai.Client(api_key="the-key", http_options=types.HttpOptions(base_url=server.url, api_version="v1beta")).aio
        config = types.EmbedContentConfig(output_dimensionality=2)
        await client.models.embed_content(model="gemini-embedding-001", contents=["hello", "there"], config=config)
        await remote.embed(Target("google", "gemini-embedding-001", "gemini", server.url, "the-key"), Texts(("hello", "there"), 2))
        await client.aclose()
    official, ours = server.seen
    assert ours.head.split("\r\n")[0] == official.head.split("\r\n")[0]
    assert "x-goog-api-key: the-key\r\n" in ours.head.lower()
    theirs = json.loads(official.body)
    for each in theirs["requests"]:
        each["content"].pop("role", None)
    assert json.loads(ours.body) == theirs
