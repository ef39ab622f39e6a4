"""Availability as callers and replicas meet it: breakers, cooldowns, trials, operators, restarts, kills, on real SQLite files."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from tooloo.provider.v1 import availability_service_pb2 as api
from tooloo.provider.v1 import health_pb2, provider_pb2
from tooloo.provider.v1 import provider_service_pb2 as provider_api
from tooloo.provider.v1.availability_service_pb2_grpc import AvailabilityServiceStub
from tooloo.provider.v1.provider_events_pb2 import ProviderHealthChanged, ProviderPriorityChanged
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from mesh import testing
from mesh.clock import ManualClock
from mesh.db import Database, Transaction
from mesh.ids import new_id
from services.provider import store
from services.provider.__main__ import build
from services.provider.availability import Availability, Outcome, Resource
from services.provider.failure import Failure, FailureKind
from services.provider.fallback import Candidate, Target
from services.provider.flows import availability
from services.provider.flows import known as knowledge
from services.provider.flows.known import Known
from services.provider.settings import ProviderSettings
from tests.support.mesh import ROOT

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.provider.v1.availability_service_pb2_grpc import AvailabilityServiceAsyncStub
    from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceAsyncStub

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)
REGISTRY = """
[tiers]
good = { quality = 0.9, tokens_per_second = 100 }
fair = { quality = 0.7, tokens_per_second = 100 }
plain = { quality = 0.5, tokens_per_second = 100 }
[providers.acme]
models.big = { tier = "good", context_window = 8000, price = { input = "1", output = "1" } }
models.mid = { tier = "plain", context_window = 8000, price = { input = "1", output = "1" } }
models.small = { tier = "plain", context_window = 8000, price = { input = "1", output = "1" } }
[providers.brim]
models.gift = { tier = "fair", context_window = 8000, price = { input = "1", output = "1" } }
"""
BIG, MID, SMALL, GIFT = Target("acme", "big"), Target("acme", "mid"), Target("acme", "small"), Target("brim", "gift")
KEYS = {"acme": ("k1", "k2"), "brim": ("k3",)}
AVAILABLE, DEGRADED, UNAVAILABLE = (
    provider_pb2.PROVIDER_STATE_AVAILABLE,
    provider_pb2.PROVIDER_STATE_DEGRADED,
    provider_pb2.PROVIDER_STATE_UNAVAILABLE,
)
NORMAL, TRIAL, OUT = health_pb2.PRIORITY_NORMAL, health_pb2.PRIORITY_TRIAL, health_pb2.PRIORITY_OUT


def environment(folder: Path) -> dict[str, str]:
    """Settings with a registry of four models; nobody sweeps but the test."""
    (folder / "providers.toml").write_text(REGISTRY)
    (folder / "prices.json").write_text(json.dumps({"providers": {}}))
    return {
        "TOOLOO_PROVIDER_REGISTRY_FILE": str(folder / "providers.toml"),
        "TOOLOO_PROVIDER_PRICES_FILE": str(folder / "prices.json"),
        "TOOLOO_PROVIDER_DEFAULT_BUDGET": "",
        "TOOLOO_PROVIDER_REQUIRE_KEY": "never",
        "TOOLOO_PROVIDER_AVAILABILITY_SWEEP": "1h",
    }


class House:
    """A replica with what its calls do, and a caller of it."""

    def __init__(self, bench: testing.Bench, clock: ManualClock) -> None:
        self.bench = bench
        self.clock = clock

    @property
    def known(self) -> Known:
        """The registry, with keys that nobody had to seal."""
        known = knowledge.read(self.bench.host.settings_of(ProviderSettings), {})
        object.__setattr__(known, "keys_of", lambda provider_id: KEYS.get(provider_id, ()))
        return known

    @property
    def stub(self) -> AvailabilityServiceAsyncStub:
        """The calls about availability."""
        return AvailabilityServiceStub(self.bench.channel)

    @property
    def provider(self) -> ProviderServiceAsyncStub:
        """The provider service's other calls."""
        return ProviderServiceStub(self.bench.channel)

    async def note(self, *outcomes: Outcome, call_id: str = "") -> None:
        """A settlement with these attempts."""
        await self.bench.host.db.write(lambda tx: availability.note(self.bench.host, tx, self.known, call_id, outcomes))

    async def seen(self) -> Availability:
        """What can be used now."""
        return await self.bench.host.db.read(lambda tx: availability.read(self.bench.host, tx, self.known))

    async def enter(self, call_id: str, *candidates: Candidate) -> list[tuple[str, tuple[str, ...]]]:
        """A call begins: the models that it may try, with keys."""

        async def work(tx: Transaction) -> tuple[Candidate, ...]:
            seen = await availability.read(self.bench.host, tx, self.known)
            return await availability.enter(tx, seen, call_id, candidates, timedelta(minutes=5))

        return [(item.target.model, item.keys) for item in await self.bench.host.db.write(work)]

    async def sweep(self, seconds: float = 0) -> None:
        """Time passes, then it is looked what that changed."""
        self.clock.advance(seconds * SECOND)
        await availability.sweep(self.bench.host, self.known)

    async def health(self) -> list[tuple[str, int]]:
        """(subject, state) of each provider.health.changed so far."""
        return [(subject, data.state) for subject, data in await self._told(ProviderHealthChanged())]

    async def priorities(self) -> list[tuple[str, int, int]]:
        """(subject, priority, cause) of each provider.priority.changed so far."""
        return [(subject, data.priority, data.cause) for subject, data in await self._told(ProviderPriorityChanged())]

    async def _told(self, kind: Any) -> list[tuple[str, Any]]:
        found = []
        for event in await self.bench.told():
            data = type(kind)()
            if event.data.Unpack(data):
                found.append((event.subject, data))
        return found

    async def status(self, provider_id: str = "acme") -> provider_pb2.Provider:
        """A provider as GetProviderStatus shows it."""
        request = provider_api.GetProviderStatusRequest(provider_id=provider_id)
        return (await self.provider.GetProviderStatus(request)).providers[0]

    async def select(self) -> tuple[str, list[str]]:
        """The best model of a selection, and those that are out because they are not available."""
        answer = await self.provider.SelectProvider(provider_api.SelectProviderRequest(high_quality=True))
        out = provider_pb2.EXCLUSION_REASON_UNAVAILABLE
        return answer.model, sorted(item.model for item in answer.candidates if item.exclusion == out)


def failed(target: Target = BIG, kind: FailureKind = FailureKind.SERVER_ERROR, key: str = "k1", **more: Any) -> Outcome:
    """An attempt that failed."""
    return Outcome(target, key, Failure(kind, "no", **more))


def succeeded(target: Target = BIG, key: str = "k1") -> Outcome:
    """An attempt that took two seconds, half a second to its first token."""
    return Outcome(target, key, None, 2 * SECOND, SECOND / 2, 100)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    info = ErrorInfo()
    status = rpc_status.from_call(cast(Any, raised.value))
    assert status is not None
    assert status.details[0].Unpack(info)
    return raised.value.code(), info.reason


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """One running replica."""
    clock = ManualClock(START)
    async with testing.running("provider", build, tmp_path / "var", clock=clock, settings=environment(tmp_path)) as bench:
        yield House(bench, clock)


async def test_a_breaker_opens_is_tried_once_and_closes_and_each_change_is_told_once(house: House) -> None:
    """Five failures: out of selection; after its time one trial and no second one; its success brings the model back."""
    for _ in range(5):
        await house.note(failed())
    assert await house.select() == ("gift", ["big"])
    await house.sweep(29.9)
    assert (await house.status()).state == DEGRADED
    assert (await house.status()).state_reason == "its last 5 calls failed"
    await house.sweep(0.2)
    assert (await house.select())[0] == "big"
    assert await house.select() == ("gift", ["big"])
    await house.note(succeeded())
    assert (await house.select())[0] == "big"
    await house.sweep()
    model = "providers/acme/models/big"
    assert [state for subject, state in await house.health() if subject == model] == [UNAVAILABLE, DEGRADED, AVAILABLE]
    breaker = health_pb2.UNAVAILABLE_CAUSE_BREAKER
    assert await house.priorities() == [(model, OUT, breaker), (model, TRIAL, 0), (model, NORMAL, 0)]


async def test_one_failure_of_few_opens_nothing(house: House) -> None:
    """Four in a row, a success, four more: neither five in a row nor half of ten."""
    for outcome in [*[failed()] * 4, succeeded()] * 2 + [succeeded()] * 8:
        await house.note(outcome)
    assert await house.select() == ("big", [])
    assert await house.priorities() == []


async def test_a_half_of_enough_calls_opens_it_and_counts_from_zero_after_it_closed(house: House) -> None:
    """Alternating failures: the tenth call opens it. When it has closed, what was before counts no more."""
    for number in range(10):
        assert await house.select() == ("big", [])
        await house.note(succeeded() if number % 2 == 0 else failed())
    assert await house.select() == ("gift", ["big"])
    await house.sweep(31)
    await house.note(succeeded())
    await house.note(failed())
    assert await house.select() == ("big", [])


async def test_windows_reach_over_buckets_and_forget(house: House) -> None:
    """A call a bucket: ten of them count, also after a restart; five failures in ten open a breaker; later nothing is left."""
    for number in range(14):
        house.clock.advance(30 * SECOND)
        await house.note(succeeded(SMALL))
        assert await house.select() == ("big", [])
        await house.note(failed() if number % 2 else succeeded())
        assert await house.select() == (("gift", ["big"]) if number == 9 else ("big", []))
    await house.bench.restart()
    listed = (await house.stub.ListAvailability(api.ListAvailabilityRequest(provider_id="acme"))).entries
    windows = {entry.model: entry.window for entry in listed if not entry.key_id and entry.model}
    assert (windows["small"].calls, windows["big"].calls, windows["big"].failures[0].count) == (10, 10, 5)
    house.clock.advance(timedelta(minutes=5))
    listed = (await house.stub.ListAvailability(api.ListAvailabilityRequest(provider_id="acme"))).entries
    assert [entry.window.calls for entry in listed] == [0] * len(listed)
    await house.note(succeeded(SMALL))
    kept = await house.bench.host.db.read(lambda tx: tx.fetch_all("SELECT * FROM health_bucket WHERE model = 'small'"))
    assert len(kept) <= 1


async def test_a_failed_trial_opens_it_again_for_longer(house: House) -> None:
    """30 s at most the first time, 30 to 60 s the second."""
    for _ in range(5):
        await house.note(failed())
    first = (await house.seen()).out(BIG)
    await house.sweep(30)
    await house.note(failed())
    second = (await house.seen()).out(BIG)
    assert first is not None
    assert second is not None
    assert first.until is not None
    assert second.until is not None
    assert 15 * SECOND <= first.until - START <= 30 * SECOND
    assert 30 * SECOND <= second.until - house.clock.now() <= 60 * SECOND


async def test_a_prober_that_crashes_does_not_block_for_ever(house: House) -> None:
    """The trial's lease ends, the next call is the trial; one that says nothing gives its lease back at once."""
    for _ in range(5):
        await house.note(failed())
    house.clock.advance(30 * SECOND)
    candidates = (Candidate(BIG, ("k1",)), Candidate(GIFT, ("k3",)))
    assert await house.enter("lost", *candidates) == [("big", ("k1",)), ("gift", ("k3",))]
    assert await house.enter("two", *candidates) == [("gift", ("k3",))]
    house.clock.advance(timedelta(minutes=2))
    assert (await house.enter("three", *candidates))[0] == ("big", ("k1",))
    await house.note(failed(kind=FailureKind.CANCELLED), call_id="three")
    assert (await house.enter("four", *candidates))[0] == ("big", ("k1",))


async def test_429_leads_to_the_next_key_and_the_rest_outlives_the_call(house: House) -> None:
    """litellm#32574, aisix#46: the limited key rests for that model as long as it was asked, for every call and replica."""
    candidates = (Candidate(BIG, ("k1", "k2")), Candidate(SMALL, ("k1",)))
    await house.note(failed(kind=FailureKind.RATE_LIMITED, retry_after=20 * SECOND), call_id="one")
    assert await house.enter("two", *candidates) == [("big", ("k2",)), ("small", ("k1",))]
    await house.note(failed(kind=FailureKind.RATE_LIMITED, key="k2"), call_id="two")
    assert await house.enter("three", *candidates) == [("small", ("k1",))]
    # without Retry-After it is the setting: 5 s
    await house.sweep(5)
    assert await house.enter("four", *candidates) == [("big", ("k2",)), ("small", ("k1",))]
    await house.sweep(15)
    assert (await house.enter("five", *candidates))[0] == ("big", ("k1", "k2"))
    model, cooldown = "providers/acme/models/big", health_pb2.UNAVAILABLE_CAUSE_COOLDOWN
    assert await house.priorities() == [(model, OUT, cooldown), (model, NORMAL, 0)]
    assert [told for told in await house.health() if told[0].startswith(model)] == [
        (f"{model}/keys/k1", UNAVAILABLE), (f"{model}/keys/k2", UNAVAILABLE),
        (f"{model}/keys/k2", AVAILABLE), (f"{model}/keys/k1", AVAILABLE),
    ]  # fmt: skip


async def test_a_retry_after_of_a_month_is_cut(house: House) -> None:
    """At most the setting: an hour."""
    await house.note(failed(kind=FailureKind.RATE_LIMITED, retry_after=timedelta(days=30)))
    out = (await house.seen()).key_out(BIG, "k1")
    assert out is not None
    assert out.until == START + timedelta(hours=1)


async def test_a_refused_key_is_out_with_every_model_until_it_is_changed(house: House) -> None:
    """401 and 402 take the key; whoever changes it resets it; when the last one is out, the provider is."""
    await house.note(failed(kind=FailureKind.UNAUTHENTICATED), failed(kind=FailureKind.QUOTA_EXHAUSTED, key="k2"))
    assert await house.enter("one", Candidate(BIG, ("k1", "k2")), Candidate(SMALL, ("k1",)), Candidate(GIFT, ("k3",))) == [
        ("gift", ("k3",))
    ]
    assert ("providers/acme", OUT, health_pb2.UNAVAILABLE_CAUSE_COOLDOWN) in await house.priorities()
    assert ("providers/acme", UNAVAILABLE) in await house.health()
    await house.stub.ResetAvailability(api.ResetAvailabilityRequest(provider_id="acme", key_id="k1"))
    assert (await house.enter("two", Candidate(BIG, ("k1", "k2"))))[0] == ("big", ("k1",))


async def test_an_unknown_model_rests_and_the_others_do_not(house: House) -> None:
    """404."""
    await house.note(failed(kind=FailureKind.NOT_FOUND))
    assert await house.select() == ("gift", ["big"])
    await house.sweep(601)
    assert (await house.select())[0] == "big"


@pytest.mark.parametrize(
    "kind", [FailureKind.BAD_REQUEST, FailureKind.CONTEXT_WINDOW, FailureKind.CONTENT_POLICY, FailureKind.CANCELLED]
)
async def test_what_is_the_requests_own_doing_changes_nothing(house: House, kind: FailureKind) -> None:
    """A hundred of them: nothing is out, nothing is told, uptime stays."""
    for _ in range(10):
        await house.note(*[failed(kind=kind)] * 10)
    assert await house.select() == ("big", [])
    assert (await house.health(), await house.priorities()) == ([], [])
    assert (await house.status()).models[0].uptime == 0.99


async def test_a_provider_of_which_every_model_fails_is_out_as_a_whole(house: House) -> None:
    """Unreachable with both models that were called: the provider's own breaker opens, also for the third; a success ends that."""
    for target in (BIG, SMALL):
        for _ in range(5):
            await house.note(failed(target, FailureKind.UNREACHABLE))
    status = await house.status()
    assert (status.state, await house.select()) == (UNAVAILABLE, ("gift", ["big", "mid", "small"]))
    assert "UNREACHABLE" in status.state_reason
    breaker = health_pb2.UNAVAILABLE_CAUSE_BREAKER
    assert ("providers/acme", OUT, breaker) in await house.priorities()
    await house.sweep(31)
    await house.note(succeeded())
    assert (await house.select())[0] == "big"
    whole = [(priority, cause) for place, priority, cause in await house.priorities() if place == "providers/acme"]
    assert whole == [(OUT, breaker), (TRIAL, 0), (NORMAL, 0)]
    assert (await house.status("brim")).state == provider_pb2.PROVIDER_STATE_NOT_CONFIGURED


async def test_a_provider_of_which_one_model_works_is_not_out(house: House) -> None:
    """Two of the three that were called lately fail: those two are out."""
    await house.note(succeeded(MID))
    for target in (BIG, SMALL):
        for _ in range(5):
            await house.note(failed(target, FailureKind.UNREACHABLE))
    assert await house.select() == ("gift", ["big", "small"])
    assert (await house.status()).state == DEGRADED


async def test_limits_in_a_row_rest_longer_until_a_success_and_late_successes_end_no_rest(house: House) -> None:
    """5 s, then 10 s; after a success 5 s again."""
    limited, call = failed(kind=FailureKind.RATE_LIMITED), Candidate(BIG, ("k1",))
    for rest in (5, 10):
        await house.note(limited)
        await house.note(succeeded())
        await house.sweep(rest - 0.1)
        assert await house.enter("early", call) == []
        await house.sweep(0.1)
        assert await house.enter("late", call) == [("big", ("k1",))]
    await house.note(succeeded())
    await house.note(limited)
    await house.sweep(5)
    assert await house.enter("again", call) == [("big", ("k1",))]


async def test_a_failure_that_comes_late_changes_nothing_while_it_is_open(house: House) -> None:
    """Calls that were on their way when it opened neither lengthen nor end it, however they end."""
    for _ in range(5):
        await house.note(failed())
    before = (await house.seen()).out(BIG)
    await house.note(failed(), succeeded(), failed())
    assert (await house.seen()).out(BIG) == before


async def test_state_survives_a_restart_and_recovery_is_told_after_it(house: House) -> None:
    """What was out is out; the end that passed while it was down is told by the first sweep, once."""
    for _ in range(5):
        await house.note(failed())
    await house.note(failed(GIFT, FailureKind.RATE_LIMITED, "k3", retry_after=60 * SECOND))
    before = await house.seen()
    await house.bench.restart()
    assert replace(await house.seen(), figures={}) == replace(before, figures={})
    told = len(await house.health())
    await house.bench.stop()
    house.clock.advance(timedelta(minutes=2))
    await house.bench.start()
    await house.sweep()
    await house.sweep()
    assert sorted(subject for subject, _ in (await house.health())[told:]) == [
        "providers/acme/models/big", "providers/brim", "providers/brim/models/gift/keys/k3",
    ]  # fmt: skip


async def test_replicas_see_each_others_news_at_once_and_tell_each_change_once(tmp_path: Path) -> None:
    """Two replicas on one file: five failures over both open it for both; both sweep, one tells."""
    settings, clock = environment(tmp_path), ManualClock(START)
    async with AsyncExitStack() as stack:
        one, two = [
            House(
                await stack.enter_async_context(
                    testing.running("provider", build, tmp_path / "var", clock=clock, settings=settings)
                ),
                clock,
            )
            for _ in range(2)
        ]
        for replica in (one, two, one, two, one):
            assert (await replica.select())[0] == "big"
            await replica.note(failed())
        assert await one.select() == await two.select() == ("gift", ["big"])
        clock.advance(30 * SECOND)
        await asyncio.gather(one.sweep(), two.sweep(), one.sweep(), two.sweep())
        candidates = (Candidate(BIG, ("k1",)), Candidate(GIFT, ("k3",)))
        entered = await asyncio.gather(*(replica.enter(new_id(), *candidates) for replica in (one, two) * 5))
        assert sum(found[0][0] == "big" for found in entered) == 1
        await two.note(succeeded())
        await asyncio.gather(one.sweep(), two.sweep())
        model = "providers/acme/models/big"
        assert [priority for _, priority, _ in await one.priorities()] == [OUT, TRIAL, NORMAL]
        assert [state for subject, state in await one.health() if subject == model] == [UNAVAILABLE, DEGRADED, AVAILABLE]


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from mesh import testing
from mesh.clock import ManualClock
from services.provider.__main__ import build
from tests.integration.test_provider_availability import START, House, environment, failed

async def main(folder: Path, writes: int, when: str) -> None:
    clock = ManualClock(START)
    async with testing.running("provider", build, folder / "var", clock=clock, settings=environment(folder)) as bench:
        house, left = House(bench, clock), writes
        write = bench.host.db.write
        async def deadly(work):
            nonlocal left
            left -= 1
            async def dying(tx):
                result = await work(tx)
                if left == 0 and when == "inside":
                    os.kill(os.getpid(), signal.SIGKILL)
                return result
            result = await write(dying)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        bench.host.db.write = deadly
        for _ in range(10):
            await house.note(failed())

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
"""


@pytest.mark.parametrize(("writes", "when", "noted"), [(4, "after", 4), (5, "inside", 4), (5, "after", 5)])
async def test_a_kill_leaves_what_was_noted_with_its_events_or_neither(tmp_path: Path, writes: int, when: str, noted: int) -> None:
    """Killed (-9) after the note that opens a breaker: it is open and that was told; inside it: neither; the next one opens it."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'build' / 'api'}"}
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(tmp_path), str(writes), when, cwd=ROOT, env=env, stderr=asyncio.subprocess.PIPE
    )
    _, said = await killed.communicate()
    assert killed.returncode == -signal.SIGKILL, said.decode()
    clock = ManualClock(START)
    async with testing.running("provider", build, tmp_path / "var", clock=clock, settings=environment(tmp_path)) as bench:
        house = House(bench, clock)
        assert len(await house.priorities()) == (1 if noted == 5 else 0)
        assert (await house.select())[0] == ("gift" if noted == 5 else "big")
        await house.note(failed())
        assert len(await house.priorities()) == 1
        assert (await house.select())[0] == "gift"


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


async def test_calls_on_their_way_are_counted_until_they_end_or_are_lost(house: House) -> None:
    """For the least busy model: settled calls count no more, lost ones until their lease ends."""
    for name in ("one", "two", "lost"):
        await house.enter(name, Candidate(BIG, ("k1",)))
    await house.note(succeeded(), call_id="one")
    figures = (await house.seen()).figures[BIG]
    assert (figures.in_flight, figures.latency, figures.first_token) == (2, 2 * SECOND, SECOND / 2)
    await house.note(call_id="two")
    assert (await house.seen()).figures[BIG].in_flight == 1
    await house.sweep(301)
    assert (await house.seen()).figures[BIG].in_flight == 0
    assert await house.bench.host.db.read(lambda tx: tx.fetch_all("SELECT * FROM in_flight")) == []


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


async def test_what_is_over_is_forgotten(house: House) -> None:
    """The table holds only what makes a difference."""
    for _ in range(5):
        await house.note(failed())
    await house.note(failed(GIFT, FailureKind.RATE_LIMITED, "k3"))
    await house.sweep(31)
    await house.note(succeeded())
    await house.sweep(3600)
    await house.sweep(3600)
    assert (await house.seen()).conditions == {}


async def test_an_older_database_is_carried_over(tmp_path: Path) -> None:
    """What was seen of models and providers before this version counts on."""
    real, old = ROOT / "services" / "provider" / "schema", tmp_path / "schema"
    old.mkdir()
    for path in sorted(real.glob("*.sql")):
        if path.name < "0005":
            (old / path.name).write_text(path.read_text())
    file = tmp_path / "var" / "provider" / "provider.db"
    database = await Database.open(file, [("provider", old)])

    async def fill(tx: Transaction) -> None:
        await tx.execute(
            "INSERT INTO model_health (provider_id, model, uptime, tokens_per_second, outcomes) VALUES ('acme', 'big', 0.5, 7, 9)"
        )
        await tx.execute("INSERT INTO provider_health (provider_id, failures_in_row, reachable) VALUES ('acme', 3, 0)")

    await database.write(fill)
    await database.close()
    database = await Database.open(file, [("provider", real)])
    models, providers = await database.read(store.model_healths), await database.read(store.provider_healths)
    await database.close()
    seen = models["acme", "big"]
    assert (seen.uptime, seen.tokens_per_second, seen.outcomes) == (0.5, 7, 9)
    assert (providers["acme"][0].failures_in_row, providers["acme"][0].told) == (3, None)


def test_a_key_of_a_model_is_part_of_both() -> None:
    """So a reset of either reaches it."""
    part = Resource("acme", "big", "k1")
    assert all(part.within(whole) for whole in (Resource("acme"), Resource("acme", "big"), Resource("acme", "", "k1"), part))
    assert not any(part.within(whole) for whole in (Resource("brim"), Resource("acme", "small"), Resource("acme", "", "k2")))
