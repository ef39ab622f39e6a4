"""What learning hears of providers: selections once and in order, and scores counted to whom they belong."""

from __future__ import annotations

from datetime import UTC, timedelta
from uuid import uuid4

import pytest
from tooloo.event.v1.event_pb2 import Event
from tooloo.learning.v1 import learning_events_pb2
from tooloo.provider.v1.provider_events_pb2 import ProviderQueryCompleted, ProviderSelected

from tests.integration.learning_bench import DAY, START, Bench, bench

__all__ = ["bench"]


async def test_provider_selections_are_heard_once(bench: Bench) -> None:
    """A selection is counted by domain, and its event counts once however often it comes."""
    selected = ProviderSelected(selection_id="s1", provider_id="anthropic", model="claude", focus_area="Python")
    assert await bench.running.hear(selected, event_id=str(uuid4()))
    again = str(uuid4())
    assert await bench.running.hear(selected, event_id=again)
    assert not await bench.running.hear(selected, event_id=again)
    (use,) = (await bench.overview()).providers_by_domain
    assert (use.domain, use.provider_id, use.model, use.selections) == ("python", "anthropic", "claude", 2)
    assert not use.HasField("mean_score")


async def test_scores_are_counted_to_the_provider_selected_last(bench: Bench) -> None:
    """How well a provider serves a domain is the mean score of the rounds that followed its selection, for their own learner."""
    await bench.running.hear(ProviderSelected(provider_id="old", model="m", focus_area="python"))
    bench.clock.advance(timedelta(minutes=1))
    await bench.running.hear(ProviderSelected(provider_id="new", model="m", focus_area="python"))
    await bench.play(0.4, 0.8)
    uses = {use.provider_id: use for use in (await bench.overview()).providers_by_domain}
    assert uses["new"].feedbacks == 2
    assert uses["new"].mean_score == pytest.approx(0.6)
    assert uses["new"].last_select_time.ToDatetime(UTC) == START + timedelta(minutes=1)
    assert uses["old"].feedbacks == 0
    assert all(not use.HasField("mean_score") for use in (await bench.overview("eve")).providers_by_domain)
    given = learning_events_pb2.CoachFeedbackGiven()
    (event, _) = [event for event in await bench.running.told() if event.type == "coach.feedback.given"]
    assert event.data.Unpack(given)
    assert (given.provider_id, given.model) == ("new", "m")
    # by which others know the domain
    assert list(given.domain_aliases) == ["py", "python3", "python-programming"]


async def test_scores_are_not_counted_to_the_provider_of_another_user(bench: Bench) -> None:
    """A selection for one user says nothing about the rounds of another."""
    await bench.running.hear(ProviderSelected(provider_id="hers", model="m", focus_area="python", user_id="eve"))
    await bench.play(0.9)
    assert not (await bench.overview("ada")).providers_by_domain
    (use,) = (await bench.overview("eve")).providers_by_domain
    assert use.feedbacks == 0


async def test_scores_are_counted_to_the_model_that_answered(bench: Bench) -> None:
    """One was selected, but could not answer, and another one did: the score is that one's, which was not selected."""
    await bench.running.hear(ProviderSelected(provider_id="chosen", model="m", focus_area="python"))
    bench.clock.advance(timedelta(seconds=1))
    await bench.running.hear(ProviderQueryCompleted(query_id="q", provider_id="answered", model="m", focus_area="python"))
    await bench.play(0.4)
    uses = {use.provider_id: use for use in (await bench.overview()).providers_by_domain}
    assert (uses["answered"].feedbacks, uses["answered"].selections) == (1, 0)
    assert (uses["chosen"].feedbacks, uses["chosen"].selections) == (0, 1)


async def test_selections_that_arrive_late_do_not_become_the_latest(bench: Bench) -> None:
    """What counts is when a selection was made, not when it was heard."""
    early = Event(id=str(uuid4()), type="provider.selected", source="provider", subject="selections/1", position=2)
    early.time.FromDatetime(START - timedelta(hours=1))
    early.data.Pack(ProviderSelected(provider_id="one", model="m", focus_area="python"))
    await bench.running.hear(ProviderSelected(provider_id="one", model="m", focus_area="python"))
    assert await bench.running.hear_event(early)
    (use,) = (await bench.overview()).providers_by_domain
    assert use.selections == 2
    assert use.last_select_time.ToDatetime(UTC) == START


async def test_a_clock_that_was_ahead_earns_no_scores(bench: Bench) -> None:
    """Selections that were made while the clock was a day ahead are before those made since it was put right."""
    bench.clock.advance(DAY)
    for provider in ("old", "again"):
        await bench.running.hear(ProviderSelected(provider_id=provider, model="m", focus_area="python"))
    bench.clock.advance(-DAY)
    await bench.running.hear(ProviderSelected(provider_id="new", model="m", focus_area="python"))
    await bench.play(0.4)
    bench.clock.advance(timedelta(minutes=1))
    await bench.running.hear(ProviderSelected(provider_id="again", model="m", focus_area="python"))
    await bench.play(0.8)
    uses = {use.provider_id: use for use in (await bench.overview()).providers_by_domain}
    assert {name: use.feedbacks for name, use in uses.items()} == {"old": 0, "new": 1, "again": 1}


async def test_scores_long_after_a_selection_are_not_counted(bench: Bench) -> None:
    """A selection earns scores for a day, not for ever."""
    await bench.running.hear(ProviderSelected(provider_id="p", model="m", focus_area="python"))
    bench.clock.advance(2 * DAY)
    await bench.play(0.9)
    (use,) = (await bench.overview()).providers_by_domain
    assert use.feedbacks == 0


async def test_a_selection_without_focus_area_is_kept_apart(bench: Bench) -> None:
    """It says nothing about a domain, so it is counted under "generic"."""
    await bench.running.hear(ProviderSelected(provider_id="p", model="m"))
    (use,) = (await bench.overview()).providers_by_domain
    assert use.domain == "generic"
