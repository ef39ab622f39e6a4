"""The bus as a process: opens its log, takes up its subscriptions, serves."""

from contextlib import AsyncExitStack

from bus.core import open_core
from bus.handlers import SELF_VALIDATING, add_to_server
from bus.jetstream.settings import NatsSettings
from bus.settings import BusSettings
from mesh import boot
from mesh.host import Host, Parts
from mesh.memory import keep_freed_memory


async def build(host: Host) -> Parts:
    """The bus on the host's data folder, or on what the setting `way` names; its log is a file of its own."""
    keep_freed_memory()
    settings = host.settings_of(BusSettings)
    async with AsyncExitStack() as stack:
        opening = open_core(settings, host.clock, host.data_folder / "log.db", nats=host.settings_of(NatsSettings))
        core = await stack.enter_async_context(opening)
        return Parts(
            servicers=[(add_to_server, core.service)],
            close=[stack.pop_all().aclose],
            drain=[core.service.drain],
            self_validating=SELF_VALIDATING,
            open_streams=settings.max_followers + settings.max_subscriptions * settings.max_members,
        )


if __name__ == "__main__":
    boot.run("bus", build)
