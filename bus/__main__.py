"""The bus as a process: opens its log, takes up its subscriptions, serves."""

from contextlib import AsyncExitStack

from tooloo.bus.v1.bus_service_pb2_grpc import add_EventBusServicer_to_server

from bus.core import open_core
from bus.jetstream.settings import NatsSettings
from bus.service import SELF_VALIDATING
from bus.settings import BusSettings
from mesh import boot
from mesh.host import Host, Parts


async def build(host: Host) -> Parts:
    """The bus on the host's data folder, or on what the setting `way` names; its log is a file of its own."""
    async with AsyncExitStack() as stack:
        settings, nats = host.settings_of(BusSettings), host.settings_of(NatsSettings)
        opening = open_core(settings, host.clock, host.data_folder / "log.db", nats=nats)
        core = await stack.enter_async_context(opening)
        return Parts(
            servicers=[(add_EventBusServicer_to_server, core.service)],
            close=[stack.pop_all().aclose],
            drain=[core.service.drain],
            self_validating=SELF_VALIDATING,
        )


if __name__ == "__main__":
    boot.run("bus", build)
