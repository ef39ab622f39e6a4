"""Steps that several journeys take: calls that must succeed, a training session, what was told, a service that is killed."""

import asyncio
from contextlib import aclosing
from typing import Any

import httpx

from tests.support.mesh import Mesh, eventually

Json = dict[str, Any]
_STREAM_SECONDS = 120


async def post(client: httpx.AsyncClient, path: str, body: Json, **headers: str) -> Json:
    """The answer of a call that changes something, at e.g. "training/start"; it raises unless that is 200."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return _answer_of(await client.post(f"/api/v1/{path}", json=body, headers=named))


async def get(client: httpx.AsyncClient, path: str, **params: Any) -> Json:
    """The answer of a call that reads; it raises unless that is 200."""
    return _answer_of(await client.get(f"/api/v1/{path}", params=params))


def _answer_of(answer: httpx.Response) -> Json:
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        # an error of its own: `eventually` asks again while something is being started
        answer.raise_for_status()
    assert answer.status_code == 200, f"{answer.request.url.path}: {answer.status_code} {answer.text}"
    content: Json = answer.json()
    return content


async def train(client: httpx.AsyncClient, user: str, focus_area: str, scores: list[float]) -> Json:
    """A whole session with a score for each round; the answer to its last feedback."""
    begun = await post(client, "training/start", {"userId": user, "focusArea": focus_area, "roundCount": len(scores)})
    answer: Json = {"nextRoundId": begun["roundId"]}
    for score in scores:
        feedback = {"userId": user, "sessionId": begun["sessionId"], "roundId": answer["nextRoundId"], "score": score}
        answer = await post(client, "coach/feedback", feedback)
    return answer


async def told(mesh: Mesh, event_type: str, count: int = 1, **data: Any) -> list[Json]:
    """The events of a type whose data has these fields, once there are `count`; AssertionError when there are more."""

    async def matching() -> list[Json]:
        return [event for event in await mesh.events(event_type) if data.items() <= event["data"].items()]

    found = await eventually(matching, lambda events: len(events) >= count)
    assert len(found) == count, found
    return found


async def streamed(mesh: Mesh, event_type: str, after: int, **data: Any) -> Json:
    """The first event of a type after a position, with these fields in its data, as the SSE stream brings it."""
    async with asyncio.timeout(_STREAM_SECONDS), aclosing(mesh.follow(event_type, after=after)) as events:
        async for event in events:
            if data.items() <= event["data"].items():
                return event
    raise AssertionError(f"the stream ended without the {event_type} that was looked for")


async def all_heard(mesh: Mesh, service: str) -> None:
    """Waits until a service has handled every event that stands in the log now."""
    head = await mesh.head()
    async with mesh.rest() as client:
        await eventually(lambda: get(client, f"subscriptions/{service}"), lambda it: int(it["subscription"]["ackFloor"]) >= head)


async def whole(mesh: Mesh) -> None:
    """Waits until every process serves, for the sake of the next test, after one that kills some and waits for less."""

    def serve(processes: list[Json]) -> bool:
        return all(each["pid"] and each["state"] == "SERVING_STATE_SERVING" for each in processes)

    await eventually(mesh.processes, serve, 60)


async def kill_and_await(mesh: Mesh, service: str) -> None:
    """Kills a service's process as a crash would, and waits until the supervisor's new one serves."""
    killed = await mesh.kill(service)

    def serves_again(processes: list[Json]) -> bool:
        mine = [each for each in processes if each["service"] == service]
        return all(each["pid"] not in (0, killed) and each["state"] == "SERVING_STATE_SERVING" for each in mine)

    await eventually(mesh.processes, serves_again)
