"""Selection as its callers meet it: policies, demands, affinity, dry runs, and why each was made."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.type.money_pb2 import Money
from tooloo.provider.v1 import provider_pb2
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1 import selection_pb2 as named

from mesh import testing
from mesh.clock import ManualClock
from services.provider.__main__ import build
from tests.integration.selection_bench import OUT, START, Caller, caller, refused, settings

__all__ = ["caller", "settings"]


@pytest.mark.parametrize(
    ("strategy", "model"),
    [
        (provider_pb2.STRATEGY_CHEAPEST, "small"),
        (provider_pb2.STRATEGY_FASTEST, "quick"),
        (provider_pb2.STRATEGY_BEST, "big"),
    ],
)
async def test_a_strategy_can_be_asked_for(caller: Caller, strategy: provider_pb2.Strategy.ValueType, model: str) -> None:
    """The answer says which it was and why, and shows every model once."""
    answer = await caller.select(query="hello", strategy=strategy)
    assert (answer.model, answer.strategy) == (model, strategy)
    assert provider_pb2.Strategy.Name(strategy).removeprefix("STRATEGY_") in answer.reason
    assert sorted(candidate.model for candidate in answer.candidates) == ["big", "quick", "small"]


async def test_demands_put_models_out_with_a_reason(caller: Caller) -> None:
    """Of a request and of a policy: both hold."""
    await caller.policy(constraints=named.Constraints(data_policy=named.DATA_POLICY_NO_TRAINING))
    answer = await caller.select(query="hello", policy_id="p", constraints=named.Constraints(capabilities=["tools"]))
    assert (answer.model, answer.policy_id) == ("big", "p")
    reasons = {candidate.model: candidate.exclusion for candidate in answer.candidates if candidate.exclusion}
    assert reasons == {"small": OUT.EXCLUSION_REASON_CAPABILITY, "quick": OUT.EXCLUSION_REASON_CAPABILITY}
    answer = await caller.select(query="hello", policy_id="p", constraints=named.Constraints(forbidden=["acme/big"]))
    reasons = {candidate.model: candidate.exclusion for candidate in answer.candidates if candidate.exclusion}
    assert reasons == {"big": OUT.EXCLUSION_REASON_NOT_ALLOWED, "quick": OUT.EXCLUSION_REASON_DATA_POLICY}
    cheap = named.Constraints(max_cost=Money(currency_code="USD", nanos=1), regions=["eu"])
    code, reason = await refused(caller.select(query="hello", constraints=cheap))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_CANDIDATE")


async def test_the_slider_turns_from_cheap_to_good(caller: Caller) -> None:
    """At 0 the cheapest, at 1 the best; in between the chosen quality never falls."""
    chosen = []
    for step in range(11):
        answer = await caller.select(query="hello", strategy=provider_pb2.STRATEGY_LEARNED, quality_weight=step / 10, dry_run=True)
        assert answer.quality_weight == pytest.approx(step / 10)
        chosen.append(answer.candidates[0].expected_quality)
    assert chosen == sorted(chosen)
    assert (chosen[0], chosen[-1]) == (0.6, 0.8)


async def test_a_dry_run_keeps_and_tells_nothing(caller: Caller) -> None:
    """The same choice, no id, no event, no session."""
    answer = await caller.select(query="hello", session_id="s", dry_run=True, strategy=provider_pb2.STRATEGY_BEST)
    assert (answer.model, answer.selection_id) == ("big", "")
    assert not [event for event in await caller.bench.told() if event.type == "provider.selected"]
    assert (await caller.select(query="hello", session_id="s", strategy=provider_pb2.STRATEGY_CHEAPEST)).model == "small"


async def test_a_session_stays_with_its_model(caller: Caller) -> None:
    """Over a restart too; not when the model is forbidden, and not after the setting's time."""
    best, cheapest = provider_pb2.STRATEGY_BEST, provider_pb2.STRATEGY_CHEAPEST
    assert (await caller.select(query="a", session_id="s", strategy=best)).model == "big"
    await caller.bench.restart()
    kept = await caller.select(query="b", session_id="s", strategy=cheapest)
    assert (kept.model, kept.reason) == ("big", "its session is with this model")
    forbidden = named.Constraints(forbidden=["acme/big"])
    assert (await caller.select(query="c", session_id="s", strategy=best, constraints=forbidden)).provider_id in ("acme", "brim")
    caller.clock.advance(timedelta(hours=1, seconds=1))
    assert (await caller.select(query="d", session_id="s", strategy=cheapest)).model == "small"


async def test_a_cached_beginning_makes_a_model_cheaper(caller: Caller) -> None:
    """For five minutes, and only for the model that was sent it."""
    asked: dict[str, Any] = {"query": "x" * 3500, "estimated_tokens": 1100, "prefix_key": "system/1", "prefix_tokens": 900}
    forced = named.Constraints(allowed=["acme/big"])
    before = await caller.select(**asked, constraints=forced)
    after = await caller.select(**asked, dry_run=True)
    big = next(candidate for candidate in after.candidates if candidate.model == "big")
    others = [candidate.cached_input_tokens for candidate in after.candidates if candidate.model != "big"]
    assert (big.cached_input_tokens, others) == (900, [0, 0])
    # 900 of 1,000 input tokens at 0.2 instead of 2 for a million
    assert before.estimated_cost.nanos - big.estimated_cost.nanos == 900 * 1800
    caller.clock.advance(timedelta(minutes=5, seconds=1))
    later = await caller.select(**asked, dry_run=True)
    assert {candidate.cached_input_tokens for candidate in later.candidates} == {0}


async def test_why_a_selection_was_made_is_kept(caller: Caller) -> None:
    """Over a restart: every candidate as it was weighed then, the same as in the answer."""
    await caller.policy(constraints=named.Constraints(capabilities=["tools"]))
    answer = await caller.select(query="hello", policy_id="p", user_id="ada", focus_area="python")
    await caller.bench.restart()
    kept = await caller.providers.GetSelection(api.GetSelectionRequest(selection_id=answer.selection_id))
    assert [candidate.exclusion != 0 for candidate in kept.candidates] == [False, True, True]
    assert list(kept.candidates) == list(answer.candidates)
    assert (kept.reason, kept.policy_id, kept.cost_weight_factor) == (answer.reason, "p", 1.0)


async def test_selections_are_listed_newest_first(caller: Caller) -> None:
    """Page by page, by user and by provider, without their candidates."""
    quick, good = provider_pb2.STRATEGY_FASTEST, provider_pb2.STRATEGY_BEST
    made = [(await caller.select(user_id=user, strategy=how)) for user, how in [("ada", quick), ("bob", good), ("ada", good)]]
    ids = [answer.selection_id for answer in made]
    newest = await caller.providers.ListSelections(api.ListSelectionsRequest(page_size=2))
    rest = await caller.providers.ListSelections(api.ListSelectionsRequest(page_size=2, page_token=newest.next_page_token))
    assert [each.selection_id for each in [*newest.selections, *rest.selections]] == ids[::-1]
    assert (rest.next_page_token, len(newest.selections[0].candidates)) == ("", 0)
    of_ada = await caller.providers.ListSelections(api.ListSelectionsRequest(user_id="ada"))
    assert [each.selection_id for each in of_ada.selections] == [ids[2], ids[0]]
    of_acme = await caller.providers.ListSelections(api.ListSelectionsRequest(user_id="ada", provider_id="acme"))
    assert [each.selection_id for each in of_acme.selections] == [ids[2]]
    code, reason = await refused(caller.providers.ListSelections(api.ListSelectionsRequest(page_token="forged")))  # no secret
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_only_the_newest_are_explained(tmp_path: Path, settings: dict[str, str]) -> None:
    """As many as the setting; older selections stay without their candidates."""
    settings["TOOLOO_PROVIDER_EXPLAINED_SELECTIONS"] = "2"
    async with testing.running("provider", build, tmp_path / "var", clock=ManualClock(START), settings=settings) as bench:
        caller = Caller(bench, ManualClock(START))
        ids = [(await caller.select(query="hello")).selection_id for _ in range(4)]
        found = [await caller.providers.GetSelection(api.GetSelectionRequest(selection_id=each)) for each in ids]
    assert [len(selection.candidates) for selection in found] == [0, 0, 3, 3]
