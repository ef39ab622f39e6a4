"""Ratings that selection learns from: by prompt, by model, from a coach, bounded, and known after a restart."""

import asyncio
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from tooloo.learning.v1.learning_events_pb2 import CoachFeedbackGiven
from tooloo.provider.v1 import provider_pb2
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1 import selection_pb2 as named
from tooloo.provider.v1 import selection_service_pb2 as selections

from mesh import testing
from mesh.clock import ManualClock
from mesh.ids import new_id
from services.provider.__main__ import build
from tests.integration.selection_bench import START, Caller, caller, refused, settings

__all__ = ["caller", "settings"]


async def rate(caller: Caller, query: str, model: str, *, up: bool) -> None:
    """Has a model chosen for a prompt and rates it."""
    allowed = named.Constraints(allowed=[f"acme/{model}"])
    chosen = await caller.select(query=query, strategy=provider_pb2.STRATEGY_LEARNED, constraints=allowed)
    rating = selections.RateSelectionRequest(selection_id=chosen.selection_id, thumbs_up=up)
    assert (await caller.selections.RateSelection(rating)).prompt_known


async def expected(caller: Caller, query: str) -> dict[str, float]:
    """Expected quality by model."""
    answer = await caller.select(query=query, strategy=provider_pb2.STRATEGY_LEARNED, dry_run=True)
    assert answer.embedding == "hashed-words-256"
    return {candidate.model: candidate.expected_quality for candidate in answer.candidates}


async def until_learned(caller: Caller, outcomes: int) -> None:
    """Waits until the learner knows so many outcomes."""
    async with asyncio.timeout(60):
        while True:
            answer = await caller.select(query="x", strategy=provider_pb2.STRATEGY_LEARNED, dry_run=True)
            if round(sum(candidate.quality_evidence for candidate in answer.candidates)) >= outcomes:
                return
            await asyncio.sleep(0.01)


async def until_above(caller: Caller, model: str, quality: float) -> None:
    """Waits until more is expected of a model than that."""
    async with asyncio.timeout(60):
        while True:
            if (await expected(caller, "something else"))[model] > quality:
                return
            await asyncio.sleep(0.01)


async def test_ratings_teach_which_model_suits_which_prompt(caller: Caller) -> None:
    """The big one fails at verses and shines at code, the small one the other way round; it is known after a restart too."""
    code, verse = "write a python function that sorts numbers", "compose a sonnet about the winter sea"
    for number in range(40):
        await rate(caller, f"{code} {number}", "big", up=True)
        await rate(caller, f"{code} {number}", "small", up=False)
        await rate(caller, f"{verse} {number}", "big", up=False)
        await rate(caller, f"{verse} {number}", "small", up=True)
    await until_learned(caller, 160)
    before = await expected(caller, f"{code} again")
    assert before["big"] - before["small"] > 0.3
    verses = await expected(caller, f"{verse} again")
    assert verses["small"] - verses["big"] > 0.3
    assert verses["quick"] == 0.6
    best = await caller.select(query=f"{verse} please", strategy=provider_pb2.STRATEGY_LEARNED, quality_weight=1.0)
    assert best.model == "small"
    await caller.bench.restart()
    assert await expected(caller, f"{code} again") == before


async def test_a_second_rating_replaces_the_first(caller: Caller) -> None:
    """Thumbs down, then a good score: one outcome, the later one."""
    chosen = await caller.select(query="hello", strategy=provider_pb2.STRATEGY_LEARNED)
    for rating in ({"thumbs_up": False}, {"score": 1.0}):
        await caller.selections.RateSelection(selections.RateSelectionRequest(selection_id=chosen.selection_id, **rating))
    await until_learned(caller, 1)
    await until_above(caller, chosen.model, {"big": 0.8, "small": 0.6, "quick": 0.6}[chosen.model])


async def test_a_rating_without_a_known_prompt_counts_for_the_model(caller: Caller) -> None:
    """After any strategy; an unknown selection is NOT_FOUND."""
    chosen = await caller.select(query="hello", strategy=provider_pb2.STRATEGY_BEST)
    answer = await caller.selections.RateSelection(selections.RateSelectionRequest(selection_id=chosen.selection_id, score=0.0))
    assert (answer.model, answer.prompt_known) == ("big", False)
    await until_learned(caller, 1)
    assert (await expected(caller, "hello"))["big"] == pytest.approx(0.8 * 10 / 11)
    unknown = selections.RateSelectionRequest(selection_id=new_id(), score=1.0)
    assert (await refused(caller.selections.RateSelection(unknown)))[0] == grpc.StatusCode.NOT_FOUND


async def test_status_shows_what_was_learned_beside_the_prior(caller: Caller) -> None:
    """Prior, learned quality and the outcomes behind it; of a model that nobody rated the prior alone; after a restart too."""

    async def models() -> dict[str, provider_pb2.Model]:
        answer = await caller.providers.GetProviderStatus(api.GetProviderStatusRequest())
        return {model.model: model for provider in answer.providers for model in provider.models}

    assert not any(model.HasField("learned_quality") for model in (await models()).values())
    for number in range(3):
        await rate(caller, f"a question {number}", "big", up=False)
    await until_learned(caller, 3)
    before = await models()
    big, small = before["big"], before["small"]
    assert (big.prior_quality, small.prior_quality) == (0.8, 0.6)
    assert big.learned_quality == pytest.approx(0.8 * 10 / 13)
    assert big.quality_outcomes == 3
    assert big.quality_evidence == pytest.approx(3.0)
    assert not small.HasField("learned_quality")
    assert small.quality_outcomes == 0
    await caller.bench.restart()
    assert await models() == before


async def test_coach_feedback_teaches_too(caller: Caller) -> None:
    """A score that learning tells counts for the model that served, once however often the event comes."""
    told = CoachFeedbackGiven(user_id="ada", score=0.0, provider_id="acme", model="big", domain="python")
    event_id = new_id()
    assert await caller.bench.hear(told, event_id=event_id)
    assert not await caller.bench.hear(told, event_id=event_id)
    await until_learned(caller, 1)
    assert (await expected(caller, "hello"))["big"] == pytest.approx(0.8 * 10 / 11)


async def test_the_memory_is_bounded(tmp_path: Path, settings: dict[str, str]) -> None:
    """Only the newest outcomes stay."""
    settings["TOOLOO_PROVIDER_LEARNED_OUTCOMES"] = "5"
    clock = ManualClock(START)
    async with testing.running("provider", build, tmp_path / "var", clock=clock, settings=settings) as bench:
        caller = Caller(bench, clock)
        for number in range(12):
            await rate(caller, f"prompt {number}", "big", up=number >= 7)
            clock.advance(timedelta(seconds=1))
        await until_learned(caller, 5)
        await until_above(caller, "big", 0.8)
        answer = await caller.select(query="x", strategy=provider_pb2.STRATEGY_LEARNED, dry_run=True)
        assert round(sum(candidate.quality_evidence for candidate in answer.candidates)) == 5
