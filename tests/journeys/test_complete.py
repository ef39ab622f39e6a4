"""A conversation from end to end: by REST, as a stream, with the official client; charged, told, and counted by analytics."""

import asyncio
import json
from functools import partial
from typing import Any

import openai

from services.provider import echo
from tests.journeys.steps import Json, all_heard, get, post, told
from tests.support.mesh import Mesh, eventually

USER = "ada.completes"
ECHO = {"providerId": "local", "model": "echo"}


def _ask(text: str, **fields: Any) -> Json:
    return {"messages": [{"role": "ROLE_USER", "text": text}], "model": "local/echo", "userId": USER, **fields}


async def test_by_rest(mesh: Mesh) -> None:
    """With no key at all the echo answers and says what it is; the query can be looked up, and its events are in the log."""
    user = "alan.completes"
    async with mesh.rest() as client:
        answer = await post(client, "completions/create", _ask("hello there", userId=user))
        assert answer["message"]["text"] == f"{echo.NOTICE}hello there"
        assert answer["finishReason"] == "FINISH_REASON_STOP"
        account = answer["account"]
        assert {name: account[name] for name in ECHO} == ECHO
        assert account["usage"]["outputTokens"] > 0
        query = await get(client, f"completions/{account['queryId']}")
        assert (query["state"], query["account"]) == ("STATE_COMPLETED", account)
        [started] = await told(mesh, "provider.query.started", queryId=account["queryId"])
        [completed] = await told(mesh, "provider.query.completed", queryId=account["queryId"])
        assert started["subject"] == completed["subject"] == f"queries/{account['queryId']}"
        assert completed["data"]["usage"] == account["usage"]
        report = await get(client, "budget/report", userId=user, groupBy="model")
        # nothing is saved against models that nobody here has a key for
        assert [(row["key"], row["calls"], row["comparedCalls"]) for row in report["rows"]] == [("local/echo", "1", "0")]


async def test_as_a_stream(mesh: Mesh) -> None:
    """Server-sent events through the door, piece by piece, the account last."""
    wish = {"accept": "text/event-stream"}
    async with (
        mesh.rest(headers=wish) as client,
        client.stream("POST", "/api/v1/completions/stream", json=_ask("a b c")) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data: ")) async for line in answer.aiter_lines() if line.startswith("data: ")]
    assert {name: events[0]["started"][name] for name in ECHO} == ECHO
    assert "".join(event.get("text", "") for event in events) == f"{echo.NOTICE}a b c"
    assert sum("text" in event for event in events) > 3
    assert events[-1]["completed"]["account"]["queryId"] == events[0]["started"]["queryId"]


async def test_a_repeat_by_rest(mesh: Mesh) -> None:
    """The same request id gives the same answer and is one query."""
    body = _ask("once", requestId="01930000-0000-7000-8000-00000000c0de")
    async with mesh.rest() as client:
        first, second = await post(client, "completions/create", body), await post(client, "completions/create", body)
        assert first == second
        refused = await client.post("/api/v1/completions/create", json={**body, "sessionId": "other"})
        assert (refused.status_code, refused.json()["details"][0]["reason"]) == (409, "REQUEST_ID_REUSED")
        unknown = await client.post("/api/v1/completions/create", json=_ask("hi", model="no/such"))
        assert unknown.status_code == 404


async def test_with_the_official_client(mesh: Mesh) -> None:
    """Its base URL is changed and nothing else; whole and as a stream, and a model that is not there."""
    async with openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        asked: Any = [{"role": "user", "content": "ping"}]
        whole = await client.chat.completions.create(model="local/echo", messages=asked, user="grace.completes")
        assert whole.choices[0].message.content == f"{echo.NOTICE}ping"
        assert whole.usage is not None
        assert whole.usage.completion_tokens > 0
        stream = await client.chat.completions.create(model="auto", messages=asked, stream=True)
        words = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        assert "".join(words) == whole.choices[0].message.content
        assert "local/echo" in [model.id async for model in client.models.list()]
    await told(mesh, "provider.query.completed", userId="grace.completes")


async def test_analytics_knows_how_models_answer(mesh: Mesh) -> None:
    """Latency, cost and the share answered, by provider and model, a moment after the answer."""
    async with mesh.rest() as client:

        async def counted(name: str) -> Json:
            wanted = {"match": ["provider=local", "model=echo"]}
            answer = await client.get(f"/api/v1/analytics/metrics/{name}", params=wanted)
            return dict(answer.json()) if answer.status_code == 200 else {}

        await all_heard(mesh, "analytics")
        before = _sums(await counted("tooloo.query.answered"))
        await asyncio.gather(*(post(client, "completions/create", _ask(f"number {number}")) for number in range(5)))
        for name in ("tooloo.query.latency_seconds", "tooloo.query.cost_usd", "tooloo.query.answered"):
            found = await eventually(partial(counted, name), lambda it: _sums(it)[0] >= before[0] + 5)
            assert found["seriesCount"] == 1
    count, answered = _sums(found)
    assert count - before[0] == answered - before[1], "every one of them was answered"


def _sums(metric: Json) -> tuple[int, float]:
    """How many values a metric has, and their sum."""
    total = metric.get("total", {})
    return int(total.get("count", 0)), float(total.get("sum", 0))
