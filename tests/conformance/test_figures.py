"""Catalogue and figures, on every way."""

from tooloo.bus.v1 import bus_service_pb2 as pb

from tests.integration.bus_bench import BusBench, event


async def test_the_catalogue_lists_types_with_their_owners(bus: BusBench) -> None:
    """As the contracts say."""
    types = {entry.type: entry for entry in (await bus.stub.ListEventTypes(pb.ListEventTypesRequest())).event_types}
    assert types["service.started"].owner == "system"
    assert types["service.started"].message == "tooloo.system.v1.ServiceStarted"
    assert types["service.started"].description


async def test_the_figures_count_what_happened(bus: BusBench) -> None:
    """Positions, repeats, commits, size and every subscription."""
    again = event(1)
    await bus.publish(again)
    await bus.publish(again)
    await bus.subscribe("watcher")
    stats = await bus.stub.GetBusStats(pb.GetBusStatsRequest())
    assert (stats.first_position, stats.head_position, stats.published_events, stats.duplicates) == (1, 1, 1, 1)
    assert [one.name for one in stats.subscriptions] == ["watcher"]
    assert stats.size_bytes > 0
    assert stats.commits >= 1


async def test_the_figures_name_the_way(bus: BusBench, way: str) -> None:
    """What the log stands on."""
    stats = await bus.stub.GetBusStats(pb.GetBusStatsRequest())
    assert stats.way == ("jetstream" if "JetStream" in way else "sqlite")
