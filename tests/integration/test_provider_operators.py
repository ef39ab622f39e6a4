"""What operators see of availability and change by hand: out and back, cooldowns and breakers, chains of fallbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tooloo.provider.v1 import availability_service_pb2 as api
from tooloo.provider.v1 import health_pb2, provider_pb2
from tooloo.provider.v1.availability_service_pb2_grpc import AvailabilityServiceStub

from mesh import testing
from mesh.clock import ManualClock
from mesh.ids import new_id
from services.provider.__main__ import build
from services.provider.failure import FailureKind
from services.provider.fallback import Candidate
from tests.integration.availability_bench import (
    BIG,
    NORMAL,
    OUT,
    SECOND,
    SMALL,
    START,
    UNAVAILABLE,
    House,
    environment,
    failed,
    house,
    refusal,
    succeeded,
)

__all__ = ["house"]


async def test_operators_take_out_and_put_back(house: House) -> None:
    """Drained: out with the reason, told; an end in time ends it by itself; restored: back. The same request_id changes nothing."""
    request = api.DrainAvailabilityRequest(provider_id="acme", model="big", reason="upgrade", request_id=new_id())
    entry = (await house.stub.DrainAvailability(request)).entry
    assert (entry.state, entry.priority, entry.cause) == (UNAVAILABLE, OUT, health_pb2.UNAVAILABLE_CAUSE_OPERATOR)
    assert entry.reason == "taken out of rotation: upgrade"
    assert await house.select() == ("gift", ["big"])
    restored = await house.stub.RestoreAvailability(api.RestoreAvailabilityRequest(provider_id="acme", model="big"))
    assert restored.entry.priority == NORMAL
    assert (await house.stub.DrainAvailability(request)).entry == entry
    assert await house.select() == ("big", [])
    until = Timestamp()
    until.FromDatetime(START + 60 * SECOND)
    await house.stub.DrainAvailability(api.DrainAvailabilityRequest(provider_id="acme", reason="strike", until=until))
    assert (await house.status()).state == UNAVAILABLE
    assert "strike" in (await house.status()).state_reason
    await house.sweep(60)
    assert await house.select() == ("big", [])
    model, operator = "providers/acme/models/big", health_pb2.UNAVAILABLE_CAUSE_OPERATOR
    assert [state for place, state in await house.health() if place == "providers/acme"][-2:] == [
        UNAVAILABLE, provider_pb2.PROVIDER_STATE_NOT_CONFIGURED,
    ]  # fmt: skip
    assert [place for place, _ in await house.health()].count("providers/acme") == 4
    assert await house.priorities() == [
        (model, OUT, operator), (model, NORMAL, 0), ("providers/acme", OUT, operator), ("providers/acme", NORMAL, 0),
    ]  # fmt: skip


async def test_each_line_of_what_is_troubled_says_why(house: House) -> None:
    """Also a provider that nobody took out: without a key, or with a part of it out, in the words of its status."""
    reasons = []
    for _ in range(2):
        found = await house.stub.ListAvailability(api.ListAvailabilityRequest(only_troubled=True))
        assert all(entry.reason for entry in found.entries)
        assert (found.entries[0].provider_id, found.entries[0].model) == ("acme", "")
        assert found.entries[0].reason == (await house.status()).state_reason
        reasons.append(found.entries[0].reason)
        await house.stub.DrainAvailability(api.DrainAvailabilityRequest(provider_id="acme", model="big", reason="upgrade"))
    assert reasons[0] == "no key: add one with AddProviderKey"
    assert reasons[1].startswith("providers/acme/models/big is out")


async def test_operators_clear_cooldowns_and_breakers(house: House) -> None:
    """Of a provider with all that is part of it; afterwards one failure does not open it again."""
    for _ in range(5):
        await house.note(failed())
    await house.note(failed(SMALL, FailureKind.NOT_FOUND), failed(SMALL, FailureKind.UNAUTHENTICATED))
    assert await house.select() == ("gift", ["big", "small"])
    await house.stub.ResetAvailability(api.ResetAvailabilityRequest(provider_id="acme"))
    await house.note(failed())
    assert await house.select() == ("big", [])
    answer = await house.stub.ListAvailability(api.ListAvailabilityRequest(only_troubled=True, provider_id="acme"))
    assert [entry.model for entry in answer.entries if entry.priority != NORMAL] == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"provider_id": "nobody"}, "RESOURCE_NOT_FOUND"),
        ({"provider_id": "acme", "model": "none"}, "RESOURCE_NOT_FOUND"),
        ({"provider_id": ""}, "INVALID_FIELD"),
        ({"provider_id": "acme", "until": Timestamp(seconds=1)}, "INVALID_FIELD"),
        ({"provider_id": "acme", "reason": ""}, "INVALID_FIELD"),
    ],
)
async def test_what_operators_name_must_be_there(house: House, fields: dict[str, Any], reason: str) -> None:
    """Unknown providers and models, an end in the past, no reason."""
    request = api.DrainAvailabilityRequest(**{"reason": "because", **fields})
    assert (await refusal(house.stub.DrainAvailability(request)))[1] == reason
    if "until" not in fields and "reason" not in fields:
        named = {name: value for name, value in fields.items() if name != "until"}
        assert (await refusal(house.stub.ResetAvailability(api.ResetAvailabilityRequest(**named))))[1] == reason
        assert (await refusal(house.stub.RestoreAvailability(api.RestoreAvailabilityRequest(**named))))[1] == reason


async def test_everything_is_listed_with_its_figures(house: House) -> None:
    """Providers, models and keys in order, page by page; windows with failures by class and quantiles; calls on their way."""
    await house.note(*[succeeded()] * 3, failed(), failed(kind=FailureKind.RATE_LIMITED, key="k2"))
    await house.enter("running", Candidate(BIG, ("k1",)))
    listed: list[health_pb2.AvailabilityEntry] = []
    request = api.ListAvailabilityRequest(page_size=2)
    while True:
        answer = await house.stub.ListAvailability(request)
        listed += answer.entries
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert [(entry.provider_id, entry.model, entry.key_id) for entry in listed] == [
        ("acme", "", ""), ("acme", "", "k1"), ("acme", "", "k2"), ("acme", "big", ""), ("acme", "big", "k2"),
        ("acme", "mid", ""), ("acme", "small", ""),
        ("brim", "", ""), ("brim", "gift", ""),
    ]  # fmt: skip
    big = listed[3]
    assert (big.window.calls, big.in_flight, big.failures_in_row) == (5, 1, 1)
    assert {item.kind: item.count for item in big.window.failures} == {
        health_pb2.FAILURE_KIND_SERVER_ERROR: 1, health_pb2.FAILURE_KIND_RATE_LIMITED: 1,
    }  # fmt: skip
    assert big.window.latency_p50.ToTimedelta() / (2 * SECOND) == pytest.approx(1, abs=0.1)
    assert big.window.first_token_p95.ToTimedelta() / (SECOND / 2) == pytest.approx(1, abs=0.1)
    assert listed[4].cause == health_pb2.UNAVAILABLE_CAUSE_COOLDOWN
    troubled = await house.stub.ListAvailability(api.ListAvailabilityRequest(only_troubled=True, provider_id="acme"))
    assert ("big", "k2") in [(entry.model, entry.key_id) for entry in troubled.entries]
    assert (await refusal(house.stub.ListAvailability(api.ListAvailabilityRequest(provider_id="nobody"))))[
        1
    ] == "RESOURCE_NOT_FOUND"


async def test_chains_are_set_read_listed_and_deleted(house: House) -> None:
    """With both kinds of targets; replaced keeps when it was made; a limit; names that are not there."""
    chain = health_pb2.FallbackChain(chain_id="default", description="for all")
    chain.general.add(provider_id="brim", model="gift")
    chain.context_window.add(alias="long")
    made = (await house.stub.SetFallbackChain(api.SetFallbackChainRequest(chain=chain))).chain
    house.clock.advance(SECOND)
    chain.content_policy.add(provider_id="acme", model="big")
    again = (await house.stub.SetFallbackChain(api.SetFallbackChainRequest(chain=chain))).chain
    assert (again.create_time, len(again.content_policy)) == (made.create_time, 1)
    assert again.update_time != made.update_time
    for name in ("b", "c"):
        await house.stub.SetFallbackChain(api.SetFallbackChainRequest(chain=health_pb2.FallbackChain(chain_id=name)))
    first = await house.stub.ListFallbackChains(api.ListFallbackChainsRequest(page_size=2))
    rest = await house.stub.ListFallbackChains(api.ListFallbackChainsRequest(page_size=2, page_token=first.next_page_token))
    assert [item.chain_id for item in [*first.chains, *rest.chains]] == ["b", "c", "default"]
    assert (await house.stub.GetFallbackChain(api.GetFallbackChainRequest(chain_id="default"))).chain == again
    await house.stub.DeleteFallbackChain(api.DeleteFallbackChainRequest(chain_id="b"))
    for call in (
        house.stub.GetFallbackChain(api.GetFallbackChainRequest(chain_id="b")),
        house.stub.DeleteFallbackChain(api.DeleteFallbackChainRequest(chain_id="b")),
    ):
        assert await refusal(call) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
    for wrong in (
        health_pb2.FallbackTarget(),
        health_pb2.FallbackTarget(provider_id="a"),
        health_pb2.FallbackTarget(provider_id="a", model="m", alias="x"),
    ):
        bad = health_pb2.FallbackChain(chain_id="d", general=[wrong])
        assert (await refusal(house.stub.SetFallbackChain(api.SetFallbackChainRequest(chain=bad))))[1] == "INVALID_FIELD"


async def test_there_is_a_limit_on_chains(tmp_path: Path) -> None:
    """The second is one too many; the first may still be replaced."""
    settings = {**environment(tmp_path), "TOOLOO_PROVIDER_MAX_FALLBACK_CHAINS": "1"}
    async with testing.running("provider", build, tmp_path / "var", clock=ManualClock(START), settings=settings) as bench:
        stub = AvailabilityServiceStub(bench.channel)
        for _ in range(2):
            await stub.SetFallbackChain(api.SetFallbackChainRequest(chain=health_pb2.FallbackChain(chain_id="a")))
        refused = refusal(stub.SetFallbackChain(api.SetFallbackChainRequest(chain=health_pb2.FallbackChain(chain_id="b"))))
        assert await refused == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
