"""Starts the integration service: settings, keys, flows, serve."""

import random

from tooloo.integration.v1 import integration_service_pb2_grpc

from mesh import boot
from mesh.host import Host, Parts
from mesh.owner import Owner
from mesh.settings import usable
from mesh.unbroken import Unbroken
from services.integration import events
from services.integration.flows import keys
from services.integration.flows.alone import Alone
from services.integration.flows.authorizing import Authorizing
from services.integration.flows.caring import Caring
from services.integration.flows.directory import Directory
from services.integration.flows.notifying import Notifying
from services.integration.flows.slacking import Slacking
from services.integration.flows.syncing import Syncing
from services.integration.flows.tokens import TokenKeeper
from services.integration.remote.outgoing import Outgoing
from services.integration.service import IntegrationService
from services.integration.settings import IntegrationSettings
from services.integration.store import leases


async def build(host: Host) -> Parts:
    """The service on its host."""
    settings = host.settings_of(IntegrationSettings)
    vault = await keys.open_vault(host, settings)
    outgoing, unbroken = Outgoing(settings.timeout, settings.answer_bytes), Unbroken()
    owner = await Owner.begin(host, leases.give_back)
    alone = Alone(host, unbroken, owner.id, settings.call_lease)
    directory = Directory(settings.providers(), settings, outgoing, host.clock)
    keeper = TokenKeeper(host, settings, owner.id, vault, directory, outgoing, unbroken)
    slacking = Slacking(host, settings, keeper, outgoing)
    notifying = Notifying(host, settings, owner.id, slacking, alone, random.SystemRandom().random)
    service = IntegrationService(
        host,
        directory,
        Authorizing(host, settings, vault, directory, outgoing, alone),
        Caring(host, directory, keeper, outgoing, alone),
        Syncing(host, settings, keeper, outgoing),
        notifying,
    )
    with usable(settings.env_name("notifications_file")):
        handlers = events.handlers(settings.rules(), notifying.enqueue)
    return Parts(
        servicers=[(integration_service_pb2_grpc.add_IntegrationServiceServicer_to_server, service)],
        handlers=handlers,
        background=[notifying.run],
        # what is under way still needs the way out
        close=[unbroken.close, outgoing.close, owner.close],
    )


if __name__ == "__main__":
    boot.run("integration", build)
