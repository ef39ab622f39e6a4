"""kill -9 under load, of the server, of publishers and of consumers: no promise breaks, and clients come back by themselves.

`make test` kills 25 times, `make chaos` as often as TOOLOO_CHAOS_KILLS says.
"""

import asyncio
from pathlib import Path

from bus import maintenance
from tests.robustness.actor import Actor
from tests.robustness.bus_process import bus_and_client
from tests.robustness.chance import dice, how_many
from tests.robustness.faults.kill import kill_at_random
from tests.robustness.record import Record, Wanted
from tests.robustness.traffic import (
    LONG,
    caught_up,
    follow_into,
    handle_into,
    in_background,
    make_subscription,
    publish_until,
    pull_into,
    read_log,
    standing,
)
from tests.robustness.validate import broken_promises

KILLS = how_many("TOOLOO_CHAOS_KILLS", 25)


async def test_kills_under_load_break_no_promise(tmp_path: Path) -> None:
    """Publishers, followers and members work while server, publisher and consumer are killed again and again."""
    chance = dice("kills")
    record = Record(longest_silence=LONG)
    stop = asyncio.Event()
    followers = [record.watch(), record.watch(Wanted(["service.stopped"], "s/1")), record.watch(Wanted(["budget.*"]))]
    members = record.membership()
    async with bus_and_client(tmp_path) as (bus, client):
        await make_subscription(client, "reader", filter={"types": ["*"]}, order_by_subject=True)
        publisher = Actor("publish", bus.address, tmp_path, chance.randrange(2**32))
        consumer = Actor("consume", bus.address, tmp_path, 0)
        publishing = [publish_until(stop, client, record.publisher(), chance, most) for most in (1, 5)]
        readers = [follow_into(client, watch) for watch in followers]
        async with (
            publisher,
            consumer,
            in_background(*readers, pull_into(client, "reader", members), handle_into(client, "reader", members)),
        ):
            async with in_background(*publishing) as publishers:
                killed = await kill_at_random(KILLS, chance, bus, client, [publisher, consumer])
                stop.set()
                async with asyncio.timeout(LONG):
                    await asyncio.gather(*publishers)
            await publisher.kill()
            record.log = await read_log(client)
            await consumer.kill()
            members.handled = sorted([*members.handled, *consumer.handled()], key=lambda one: one.at)
            await caught_up(record, client)
        record.publishers += publisher.published()
        assert await bus.stop() == 0
        print(f"killed {dict(killed)}; events, publishes, deliveries again: {standing(record)}")
        assert broken_promises(record) == {}
        assert maintenance.verify(bus.log_file) == []
