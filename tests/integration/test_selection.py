"""Selection as its callers meet it: policies, aliases, demands, affinity, dry runs, ratings that are learned from, restarts."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.type.money_pb2 import Money
from grpc_status import rpc_status
from tooloo.learning.v1.learning_events_pb2 import CoachFeedbackGiven
from tooloo.provider.v1 import provider_pb2
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1 import selection_pb2 as named
from tooloo.provider.v1 import selection_service_pb2 as selections
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from tooloo.provider.v1.selection_service_pb2_grpc import SelectionServiceStub

from mesh import testing
from mesh.clock import ManualClock
from mesh.ids import new_id
from services.provider.__main__ import build

if TYPE_CHECKING:
    # these exist for type checkers only
    from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceAsyncStub
    from tooloo.provider.v1.selection_service_pb2_grpc import SelectionServiceAsyncStub

START = datetime(2026, 11, 25, 10, tzinfo=UTC)
REGISTRY = """
[tiers]
good = { quality = 0.8, tokens_per_second = 50 }
plain = { quality = 0.6, tokens_per_second = 100 }
[providers.acme]
key_environment = ["ACME_KEY"]
region = "eu"
data_policy = "zero_retention"
models = { big = { tier = "good", capabilities = ["tools"] }, small = { tier = "plain" } }
[providers.brim]
key_environment = ["BRIM_KEY"]
models = { quick = { tier = "plain", tokens_per_second = 300, context_window = 2000 } }
"""
PRICES = {"providers": {
    "acme": {
        "big": {"input": "2", "output": "10", "cached_input": "0.2", "context_window": 100000},
        "small": {"input": "0.5", "output": "1", "cached_input": "0.05", "context_window": 100000},
    },
    "brim": {"quick": {"input": "1", "output": "2"}},
}}  # fmt: skip
Select = api.SelectProviderRequest
OUT = provider_pb2.ExclusionReason


class Caller:
    """The service under test."""

    def __init__(self, bench: testing.Bench, clock: ManualClock) -> None:
        self.bench, self.clock = bench, clock

    @property
    def providers(self) -> ProviderServiceAsyncStub:
        """The calls of ProviderService."""
        return ProviderServiceStub(self.bench.channel)

    @property
    def selections(self) -> SelectionServiceAsyncStub:
        """The calls of SelectionService."""
        return SelectionServiceStub(self.bench.channel)

    async def select(self, **fields: Any) -> api.SelectProviderResponse:
        """Selects."""
        return await self.providers.SelectProvider(Select(**fields))

    async def policy(self, **fields: Any) -> named.SelectionPolicy:
        """Sets a policy."""
        request = selections.SetSelectionPolicyRequest(policy=named.SelectionPolicy(policy_id="p", **fields))
        return (await self.selections.SetSelectionPolicy(request)).policy

    async def alias(self, **weights: float) -> named.Alias:
        """Sets the alias "smart" to models of acme."""
        targets = [named.Share(provider_id="acme", model=model, weight=weight) for model, weight in weights.items()]
        return (await self.selections.SetAlias(selections.SetAliasRequest(alias=named.Alias(alias="smart", targets=targets)))).alias


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """A registry of three models, no embedding model, a learner that looks at once and does not explore."""
    (tmp_path / "providers.toml").write_text(REGISTRY)
    (tmp_path / "prices.json").write_text(json.dumps(PRICES))
    return {
        "TOOLOO_PROVIDER_REGISTRY_FILE": str(tmp_path / "providers.toml"),
        "TOOLOO_PROVIDER_PRICES_FILE": str(tmp_path / "prices.json"),
        "TOOLOO_PROVIDER_DEFAULT_BUDGET": "",
        "TOOLOO_PROVIDER_REQUIRE_KEY": "never",
        "TOOLOO_PROVIDER_EMBEDDING_FOLDER": str(tmp_path / "none"),
        "TOOLOO_PROVIDER_LEARNED_REFRESH": "10ms",
        "TOOLOO_PROVIDER_LEARNED_EXPLORATION": "0",
    }


@pytest.fixture
async def caller(tmp_path: Path, settings: dict[str, str]) -> AsyncIterator[Caller]:
    """The running service."""
    clock = ManualClock(START)
    async with testing.running("provider", build, tmp_path / "var", clock=clock, settings=settings) as bench:
        yield Caller(bench, clock)


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return caught.value.code(), info.reason


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


async def test_an_alias_shares_callers_by_weight(caller: Caller) -> None:
    """Within five standard deviations; a caller keeps its model over a restart; others are out with the reason."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    await caller.alias(big=3, small=1)
    users = [f"u{seed}-{number}" for number in range(400)]
    got = {user: (await caller.select(query="x", alias="smart", user_id=user, dry_run=True)).model for user in users}
    share = Counter(got.values())["small"]
    assert abs(share - 100) <= 5 * math.sqrt(400 * 0.25 * 0.75), share
    await caller.bench.restart()
    for user in users[:20]:
        answer = await caller.select(query="x", alias="smart", user_id=user)
        assert answer.model == got[user]
        out = {candidate.model: candidate.exclusion for candidate in answer.candidates if candidate.exclusion}
        assert out == {"quick": OUT.EXCLUSION_REASON_NOT_A_TARGET}


async def test_a_caller_whose_share_cannot_answer_gets_another_target(caller: Caller) -> None:
    """The one without a weight steps in last."""
    await caller.alias(big=1, small=0)
    assert (await caller.select(query="x", alias="smart", user_id="ada")).model == "big"
    forbidden = named.Constraints(forbidden=["acme/big"])
    answer = await caller.select(query="x", alias="smart", user_id="ada", constraints=forbidden)
    assert (answer.model, answer.reason) == ("small", "no target that has a weight can take it")


async def test_a_weighted_policy_shares_too(caller: Caller) -> None:
    """By its own shares; one without any is refused."""
    weighted = provider_pb2.STRATEGY_WEIGHTED
    code, _ = await refused(caller.policy(strategy=weighted))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    await caller.policy(strategy=weighted, shares=[named.Share(provider_id="brim", model="quick", weight=1)])
    assert (await caller.select(query="x", policy_id="p")).model == "quick"


@pytest.mark.parametrize("name", ["auto", "big"])
async def test_an_alias_that_no_call_could_mean(caller: Caller, name: str) -> None:
    """Calls to `auto` select, and calls to a model's name go to it: an alias of that name would look set and do nothing."""
    targets = [named.Share(provider_id="acme", model="small", weight=1)]
    code, _ = await refused(caller.selections.SetAlias(selections.SetAliasRequest(alias=named.Alias(alias=name, targets=targets))))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert not (await caller.selections.ListAliases(selections.ListAliasesRequest())).aliases


async def test_policies_and_aliases_are_kept_listed_and_deleted(caller: Caller) -> None:
    """Their whole life, over a restart; what is gone is NOT_FOUND, also when it is named in a request."""
    made = await caller.policy(display_name="Thrifty", quality_weight=0.25, strategy=provider_pb2.STRATEGY_LEARNED)
    smart = await caller.alias(big=1)
    await caller.bench.restart()
    assert (await caller.selections.GetSelectionPolicy(selections.GetSelectionPolicyRequest(policy_id="p"))).policy == made
    assert (await caller.selections.GetAlias(selections.GetAliasRequest(alias="smart"))).alias == smart
    assert list((await caller.selections.ListSelectionPolicies(selections.ListSelectionPoliciesRequest())).policies) == [made]
    caller.clock.advance(timedelta(hours=1))
    changed = await caller.policy(display_name="Thriftier")
    assert (changed.create_time, changed.update_time.ToDatetime(tzinfo=UTC)) == (made.create_time, START + timedelta(hours=1))
    other = named.Alias(alias="other", targets=smart.targets)
    await caller.selections.SetAlias(selections.SetAliasRequest(alias=other))
    first = await caller.selections.ListAliases(selections.ListAliasesRequest(page_size=1))
    second = await caller.selections.ListAliases(selections.ListAliasesRequest(page_size=1, page_token=first.next_page_token))
    assert [page.aliases[0].alias for page in (first, second)] == ["other", "smart"]
    delete = selections.DeleteAliasRequest(alias="smart", request_id=new_id())
    await caller.selections.DeleteAlias(delete)
    await caller.selections.DeleteAlias(delete)
    await caller.selections.DeleteSelectionPolicy(selections.DeleteSelectionPolicyRequest(policy_id="p"))
    for call in (
        caller.select(query="x", alias="smart"),
        caller.select(query="x", policy_id="p"),
        caller.selections.GetAlias(selections.GetAliasRequest(alias="smart")),
        caller.selections.DeleteSelectionPolicy(selections.DeleteSelectionPolicyRequest(policy_id="p")),
    ):
        code, _ = await refused(call)
        assert code == grpc.StatusCode.NOT_FOUND


async def test_an_alias_must_stand_for_models_that_there_are(caller: Caller) -> None:
    """NOT_FOUND for one that the registry does not know, INVALID_ARGUMENT without any weight."""
    assert (await refused(caller.alias(huge=1)))[0] == grpc.StatusCode.NOT_FOUND
    assert (await refused(caller.alias(big=0)))[0] == grpc.StatusCode.INVALID_ARGUMENT


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
    async with asyncio.timeout(20):
        while True:
            answer = await caller.select(query="x", strategy=provider_pb2.STRATEGY_LEARNED, dry_run=True)
            if round(sum(candidate.quality_evidence for candidate in answer.candidates)) >= outcomes:
                return
            await asyncio.sleep(0.01)


async def until_above(caller: Caller, model: str, quality: float) -> None:
    """Waits until more is expected of a model than that."""
    async with asyncio.timeout(20):
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
