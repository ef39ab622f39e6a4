"""Where a query goes when its model does not answer: chains by name and by reason, and what no chain leads past."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from tooloo.provider.v1 import provider_pb2, selection_pb2
from tooloo.provider.v1.budget_pb2 import Budget
from tooloo.provider.v1.registry_service_pb2 import ModelDefinition, RegisterModelRequest, SetModelEnabledRequest
from tooloo.provider.v1.registry_service_pb2_grpc import RegistryServiceStub
from tooloo.provider.v1.selection_service_pb2 import SetAliasRequest, SetSelectionPolicyRequest
from tooloo.provider.v1.selection_service_pb2_grpc import SelectionServiceStub

from tests.integration.completing_bench import BIG, MID, OPUS, SMALL, Desk, attempts_of, desk_on, fails, refused

LONG = {"code": "context_length_exceeded"}
POLICY = {"code": "content_filter"}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """The running service before its far end."""
    async with desk_on(tmp_path) as running:
        yield running


async def test_a_named_chain(desk: Desk) -> None:
    """It replaces what the selection would try next."""
    await desk.chain("cheap", general=[SMALL, OPUS])
    desk.far.script["big"] = [fails(500)] * 2
    assert attempts_of((await desk.ask("auto", fallback_chain="cheap")).account)[-1] == (SMALL, "")


async def test_the_default_chain(desk: Desk) -> None:
    """Who names a model has a way out only by a chain; the chain "default" is everybody's."""
    desk.far.script["big"] = [fails(404)]
    assert (await refused(desk.ask(BIG))).code is grpc.StatusCode.UNAVAILABLE
    await desk.chain("default", general=[SMALL])
    assert attempts_of((await desk.ask(BIG)).account) == [(SMALL, "")], "the model rests after its 404"
    desk.far.script["mid"] = [fails(404)]
    assert attempts_of((await desk.ask(MID)).account) == [(MID, "NOT_FOUND"), (SMALL, "")]


async def test_a_chain_for_what_is_too_long(desk: Desk) -> None:
    """CONTEXT_WINDOW goes where more fits: by its own chain, else to a candidate with a larger window."""
    await desk.chain("long", general=[SMALL], context_window=[OPUS])
    desk.far.script["big"] = [fails(400, **LONG)]
    opus = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}
    desk.far.script["opus"] = [lambda far: far.answer(200, json.dumps(opus).encode())]
    assert attempts_of((await desk.ask(BIG, fallback_chain="long")).account) == [(BIG, "CONTEXT_WINDOW"), (OPUS, "")]
    desk.far.script["big"] = [fails(400, **LONG)]
    assert attempts_of((await desk.ask("auto")).account) == [(BIG, "CONTEXT_WINDOW"), (MID, "")]


async def test_too_long_by_our_estimate(desk: Desk) -> None:
    """How long a text is in tokens its model knows: one that was named is asked, and what it says leads into the chain."""
    text = "long " * 4000
    assert (await desk.ask(SMALL, text=text)).account.model == "small"
    assert (await desk.ask("auto", text=text * 2)).account.model == "mid", "the best that it fits into by the estimate"
    await desk.chain("default", context_window=[MID])
    desk.far.script["small"] = [fails(400, **LONG)]
    assert attempts_of((await desk.ask(SMALL, text=text)).account) == [(SMALL, "CONTEXT_WINDOW"), (MID, "")]


async def test_no_way_out_leads_past_a_policy(desk: Desk) -> None:
    """What policy or operator keep out is not called: not by a chain, not by an alias's chain, not because a budget is thin."""
    constraints = selection_pb2.Constraints(forbidden=["brim"])
    policy = selection_pb2.SelectionPolicy(policy_id="ours", strategy=provider_pb2.STRATEGY_BEST, constraints=constraints)
    selections = SelectionServiceStub(desk.bench.channel)
    await selections.SetSelectionPolicy(SetSelectionPolicyRequest(policy=policy))
    alias = selection_pb2.Alias(alias="best", targets=[selection_pb2.Share(provider_id="acme", model="big", weight=1)])
    await selections.SetAlias(SetAliasRequest(alias=alias))
    await desk.chain("default", general=[MID, SMALL])
    for model in (BIG, "auto", "best"):
        desk.far.script["big"] = [fails(503)] * 2
        assert attempts_of((await desk.ask(model, policy_id="ours")).account)[-1] == (SMALL, ""), model
    await desk.limit("0.004", mode=Budget.MODE_DEGRADE)
    assert (await desk.ask("auto", policy_id="ours")).account.model == "small"
    assert "mid" not in desk.far.models


async def test_a_model_that_is_switched_off_is_in_no_chain(desk: Desk) -> None:
    """Its place in a chain is passed over."""
    await desk.chain("default", general=[MID, SMALL])
    off = SetModelEnabledRequest(provider_id="brim", model="mid", enabled=False)
    await RegistryServiceStub(desk.bench.channel).SetModelEnabled(off)
    desk.far.script["big"] = [fails(404)]
    assert attempts_of((await desk.ask(BIG)).account) == [(BIG, "NOT_FOUND"), (SMALL, "")]


async def test_a_model_without_a_price(desk: Desk) -> None:
    """It is refused by name, passed over by everything else, and never free."""
    riddle = ModelDefinition(provider_id="acme", model="riddle", context_window=9000, quality=1.0, tokens_per_second=100.0)
    await RegistryServiceStub(desk.bench.channel).RegisterModel(RegisterModelRequest(model=riddle))
    found = await refused(desk.ask("acme/riddle"))
    assert (found.code, found.metadata["commonest_exclusion"]) == (grpc.StatusCode.FAILED_PRECONDITION, "UNKNOWN_PRICE")
    await desk.chain("default", general=["acme/riddle", SMALL])
    assert (await desk.ask("auto")).account.model == "big"
    desk.far.script["big"] = [fails(404)]
    assert attempts_of((await desk.ask(BIG)).account) == [(BIG, "NOT_FOUND"), (SMALL, "")]
    assert "riddle" not in desk.far.models


async def test_a_chain_for_what_a_policy_refuses(desk: Desk) -> None:
    """CONTENT_POLICY goes to another provider."""
    desk.far.script["big"] = [fails(400, **POLICY)]
    assert attempts_of((await desk.ask("auto")).account) == [(BIG, "CONTENT_POLICY"), (MID, "")]
