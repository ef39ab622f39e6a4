"""Starts the provider service: settings, registry, store, calls, handlers, a look at local providers."""

import os

from tooloo.provider.v1.provider_service_pb2_grpc import add_ProviderServiceServicer_to_server
from tooloo.provider.v1.selection_service_pb2_grpc import add_SelectionServiceServicer_to_server

from mesh import boot
from mesh.host import Host, Parts
from services.provider import events
from services.provider.flows import accounts, conditions, known
from services.provider.flows.advising import Advisor
from services.provider.selection_service import SelectionService
from services.provider.service import ProviderService
from services.provider.settings import ProviderSettings


async def build(host: Host) -> Parts:
    """What the service consists of."""
    knows = known.read(host.settings_of(ProviderSettings), os.environ)
    await accounts.put_default(host, knows.settings.default_budget)
    await conditions.look(host, knows)
    advisor = Advisor(host, knows)
    await advisor.refresh()
    return Parts(
        servicers=[
            (add_ProviderServiceServicer_to_server, ProviderService(host, knows, advisor)),
            (add_SelectionServiceServicer_to_server, SelectionService(host, knows)),
        ],
        handlers=events.handlers(host.clock, knows.settings.learned_outcomes),
        background=[lambda: conditions.watch(host, knows), advisor.watch],
        close=[advisor.close],
    )


if __name__ == "__main__":
    boot.run("provider", build)
