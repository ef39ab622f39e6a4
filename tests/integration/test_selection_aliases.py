"""Names that stand for several models, and policies by name: shares, what may be a target, their whole life."""

import math
import random
from collections import Counter
from datetime import UTC, timedelta

import grpc
import pytest
from tooloo.provider.v1 import provider_pb2
from tooloo.provider.v1 import selection_pb2 as named
from tooloo.provider.v1 import selection_service_pb2 as selections

from mesh.ids import new_id
from tests.integration.selection_bench import OUT, START, Caller, caller, refused, settings

__all__ = ["caller", "settings"]


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
