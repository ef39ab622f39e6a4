"""The bus as a process: opens its log, takes up its subscriptions, serves."""

from bus.handlers import SELF_VALIDATING, add_to_server
from bus.log import Log
from bus.service import EventBusService
from bus.settings import BusSettings
from bus.subscriptions import Subscriptions
from mesh import boot
from mesh.host import Host, Parts


async def build(host: Host) -> Parts:
    """The bus on the host's data folder; its log is a file of its own."""
    settings = host.settings_of(BusSettings)
    log = await Log.open(host.data_folder / "log.db", settings, host.clock)
    subscriptions = Subscriptions(log, settings, host.clock)
    await subscriptions.start()
    service = EventBusService(log, subscriptions, settings)
    return Parts(
        servicers=[(add_to_server, service)],
        close=[subscriptions.stop, log.close],
        drain=[service.drain],
        self_validating=SELF_VALIDATING,
        open_streams=settings.max_followers + settings.max_subscriptions * settings.max_members,
    )


if __name__ == "__main__":
    boot.run("bus", build)
