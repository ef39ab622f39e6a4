"""What a subscription keeps in memory between reading and delivery: only what is still to be delivered."""

from pathlib import Path

import pytest
from tooloo.bus.v1.bus_service_pb2 import PullRequest, PullResponse
from tooloo.bus.v1.subscription_pb2 import Subscription

from bus.core import open_core
from bus.settings import BusSettings
from mesh.clock import SystemClock
from tests.support.events import sample
from tests.support.waiting import until
from tests.unit.bus.test_deal_now import NAME, Reader, subscribed


async def test_what_was_settled_before_a_restart_takes_no_room(tmp_path: Path) -> None:
    """It would stay there for good, and all that follows would be read from the log one by one."""
    file, settings = tmp_path / "log.db", BusSettings()
    async with open_core(settings, SystemClock(), file) as core:
        await core.subscriptions.create(Subscription(name=NAME, order_by_subject=True))
        running = core.subscriptions.running(NAME)
        reader = Reader(running, credit_events=10)
        await core.log.publish([sample(number, f"s/{number}") for number in range(1, 6)])
        assert await reader.until(5) == [1, 2, 3, 4, 5]
        reader.say(ack=[2, 4, 5])
        await running.written()
        await reader.end()
    async with open_core(settings, SystemClock(), file) as core:
        running = core.subscriptions.running(NAME)
        reader = Reader(running, credit_events=10)
        assert await reader.until(2) == [1, 3]
        assert not running.dispatcher._bodies._events
        await reader.end()


@pytest.mark.parametrize("ordered", [False, True])
async def test_what_is_erased_while_it_waits_for_a_slow_member_is_not_sent(tmp_path: Path, ordered: bool) -> None:
    """Nor does it hold up anything; what else the member was to be sent comes, as a first delivery."""
    async with subscribed(tmp_path, order_by_subject=ordered) as (core, running):
        first = PullRequest(subscription=NAME, credit_events=10)
        member = running.join(first)
        running.handle(member, first)
        await core.log.publish([sample(1, "people/ada"), sample(2, "people/bob")])
        await until(lambda: running.dealer.in_flight == 2)
        assert await core.subscriptions.erase("people/ada") == 1
        got: list[tuple[int, int]] = []
        async for encoded in member.responses(running.stamp):
            response = PullResponse.FromString(encoded)
            got += zip(response.positions, response.attempts, strict=True)
            assert "people/ada" not in [event.subject for event in response.events]
            if got:
                break
        assert got == [(2, 1)]
        assert running.dealer.acks.floor == 1
