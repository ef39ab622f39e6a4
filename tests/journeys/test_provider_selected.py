"""Selection: a model is chosen and explained, the choice goes over the bus, learning knows who served which domain how well."""

import asyncio

from tooloo.learning.v1.learning_service_pb2 import GetTrainingOverviewRequest
from tooloo.learning.v1.learning_service_pb2_grpc import LearningServiceStub
from tooloo.provider.v1.provider_service_pb2 import GetSelectionRequest
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from tests.journeys.steps import Json, all_heard, get, post, streamed, told, train
from tests.support.mesh import Mesh, eventually

USER = "ada.selects"
DOMAIN = "category-theory"
REQUEST = {
    "query": "What is a functor?",
    "focusArea": "Category theory",
    "estimatedTokens": 500,
    "highQuality": True,
    "userId": USER,
}


def uses(overview: Json, domain: str) -> list[Json]:
    """The models that served a domain; what others do on nobody's behalf shows in other domains."""
    return [each for each in overview["providersByDomain"] if each["domain"] == domain]


async def test_a_selection_is_heard_by_learning(mesh: Mesh) -> None:
    """The choice arrives on the event stream and in the learner's overview, with the same ids everywhere."""
    heard = asyncio.create_task(streamed(mesh, "provider.selected", await mesh.head(), userId=USER))
    async with mesh.rest() as client:
        chosen = await post(client, "providers/select", REQUEST)
        candidates = chosen["candidates"]
        assert (candidates[0]["providerId"], candidates[0]["model"]) == (chosen["providerId"], chosen["model"])
        assert all("parts" in each or each["exclusionDetail"] for each in candidates), "in with its parts, or out with the reason"
        event = await heard
        assert event["data"]["selectionId"] == chosen["selectionId"]
        assert event["data"]["estimatedCost"] == chosen["estimatedCost"]
        assert await told(mesh, "provider.selected", userId=USER) == [event], "the stream and the log show the same"

        overview = await eventually(lambda: get(client, "training/overview", userId=USER), lambda it: bool(uses(it, DOMAIN)))
    (use,) = uses(overview, DOMAIN)
    assert (use["domain"], use["providerId"], use["model"], use["selections"]) == (DOMAIN, chosen["providerId"], chosen["model"], 1)
    async with mesh.channel("provider") as own_port, mesh.channel() as door:
        kept = await ProviderServiceStub(own_port).GetSelection(GetSelectionRequest(selection_id=chosen["selectionId"]))
        assert (kept.provider_id, kept.model, kept.user_id) == (chosen["providerId"], chosen["model"], USER)
        same = await LearningServiceStub(door).GetTrainingOverview(GetTrainingOverviewRequest(user_id=USER))
    told_there = [(each.provider_id, each.selections) for each in same.providers_by_domain if each.domain == DOMAIN]
    assert told_there == [(chosen["providerId"], 1)]


async def test_feedback_comes_back_to_the_provider(mesh: Mesh) -> None:
    """The loop closes: bad scores after a choice lower that model's expected quality in that domain, and nobody else's."""
    user, topic = "grace.selects", "Knot theory"
    request = {**REQUEST, "userId": user, "focusArea": topic}
    async with mesh.rest() as client:
        # what others were scored before is known by then
        await all_heard(mesh, "provider")
        before = await post(client, "providers/select", request)
        await told(mesh, "provider.selected", userId=user)
        await all_heard(mesh, "learning")
        await train(client, user, topic, [0, 0, 0])
        (use,) = uses(await get(client, "training/overview", userId=user), "knot-theory")
        assert (use["feedbacks"], use["meanScore"]) == (3, 0)
        await told(mesh, "training.completed", userId=user)
        await all_heard(mesh, "provider")
        after = await post(client, "providers/select", request)
    was, now = _qualities(before), _qualities(after)
    served = (before["providerId"], before["model"])
    assert now[served] < was[served]
    assert {model: value for model, value in now.items() if model != served} == {
        model: value for model, value in was.items() if model != served
    }


def _qualities(selection: Json) -> dict[tuple[str, str], float]:
    return {
        (each["providerId"], each["model"]): each["parts"]["quality"]["value"]
        for each in selection["candidates"]
        if each["exclusion"] == "EXCLUSION_REASON_UNSPECIFIED"
    }
