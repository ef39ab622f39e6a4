"""Starts the provider service: settings, registry, store, calls, handlers, a look at local providers."""

import os

from tooloo.provider.v1.compatibility_service_pb2_grpc import add_CompatibilityServiceServicer_to_server
from tooloo.provider.v1.provider_service_pb2_grpc import add_ProviderServiceServicer_to_server
from tooloo.provider.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server

from mesh import boot
from mesh.host import Host, Parts
from services.provider import events
from services.provider.compatibility_service import CompatibilityService
from services.provider.flows import accounts, conditions, known
from services.provider.flows.keyring import Keyring
from services.provider.flows.straight import Straight
from services.provider.registry_service import RegistryService
from services.provider.remote.calling import Remote
from services.provider.service import ProviderService
from services.provider.settings import ProviderSettings


async def build(host: Host) -> Parts:
    """What the service consists of."""
    knows = known.read(host.settings_of(ProviderSettings), os.environ)
    settings = knows.settings
    await accounts.put_default(host, settings.default_budget)
    await conditions.look(host, knows)
    keyring = await Keyring.open(host, knows)
    remote = Remote(
        host.clock,
        connections=settings.call_connections,
        keep_seconds=settings.call_keep_alive.total_seconds(),
        answer_bytes=settings.call_answer_bytes,
    )
    completer = Straight(host, knows, keyring, remote)
    return Parts(
        servicers=[
            (add_ProviderServiceServicer_to_server, ProviderService(host, knows)),
            (add_RegistryServiceServicer_to_server, RegistryService(host, knows, keyring)),
            (add_CompatibilityServiceServicer_to_server, CompatibilityService(host, completer, knows)),
        ],
        handlers=events.handlers(host.clock),
        background=[lambda: conditions.watch(host, knows)],
        close=[remote.close],
    )


if __name__ == "__main__":
    boot.run("provider", build)
