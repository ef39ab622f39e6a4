"""Starts the provider service: settings, registry, store, calls, handlers, a look at local providers."""

import os
from functools import partial

from tooloo.provider.v1.availability_service_pb2_grpc import add_AvailabilityServiceServicer_to_server
from tooloo.provider.v1.burst_service_pb2_grpc import add_BurstServiceServicer_to_server
from tooloo.provider.v1.compatibility_service_pb2_grpc import add_CompatibilityServiceServicer_to_server
from tooloo.provider.v1.completion_service_pb2_grpc import add_CompletionServiceServicer_to_server
from tooloo.provider.v1.provider_service_pb2_grpc import add_ProviderServiceServicer_to_server
from tooloo.provider.v1.registry_service_pb2_grpc import add_RegistryServiceServicer_to_server
from tooloo.provider.v1.report_service_pb2_grpc import add_ReportServiceServicer_to_server
from tooloo.provider.v1.reservation_service_pb2_grpc import add_ReservationServiceServicer_to_server
from tooloo.provider.v1.selection_service_pb2_grpc import add_SelectionServiceServicer_to_server

from mesh import boot
from mesh.host import Host, Parts
from mesh.owner import Owner
from services.provider import events
from services.provider.availability_service import AvailabilityService
from services.provider.burst_service import BurstService
from services.provider.compatibility_service import CompatibilityService
from services.provider.completion_service import CompletionService
from services.provider.flows import accounts, availability, conditions, known, orphans, sweeping
from services.provider.flows.advising import Advisor
from services.provider.flows.completing import Completing
from services.provider.flows.keyring import Keyring
from services.provider.flows.room import Room
from services.provider.registry_service import RegistryService
from services.provider.remote.calling import Remote
from services.provider.report_service import ReportService
from services.provider.reservation_service import ReservationService
from services.provider.selection_service import SelectionService
from services.provider.service import ProviderService
from services.provider.settings import ProviderSettings


async def build(host: Host) -> Parts:
    """What the service consists of."""
    knows = known.read(host.settings_of(ProviderSettings), os.environ, host.clock)
    settings = knows.settings
    await accounts.put_default(host, settings.default_budget)
    await conditions.look(host, knows)
    advisor = Advisor(host, knows)
    await advisor.refresh()
    keyring = await Keyring.open(host, knows)
    remote = Remote(
        host.clock,
        connections=settings.call_connections,
        keep_seconds=settings.call_keep_alive.total_seconds(),
        answer_bytes=settings.call_answer_bytes,
    )
    give_back = partial(orphans.give_back, host, knows)
    owner = await Owner.begin(host, give_back)
    completer = Completing(host, knows, keyring, advisor, remote, owner.id)
    room = Room(settings.large_requests_bytes)
    return Parts(
        servicers=[
            (add_ProviderServiceServicer_to_server, ProviderService(host, knows, advisor)),
            (add_CompletionServiceServicer_to_server, CompletionService(host, knows, completer, room)),
            (add_CompatibilityServiceServicer_to_server, CompatibilityService(host, completer, knows, room)),
            (add_RegistryServiceServicer_to_server, RegistryService(host, knows, keyring)),
            (add_SelectionServiceServicer_to_server, SelectionService(host, knows)),
            (add_AvailabilityServiceServicer_to_server, AvailabilityService(host, knows)),
            (add_ReservationServiceServicer_to_server, ReservationService(host, knows)),
            (add_BurstServiceServicer_to_server, BurstService(host, knows)),
            (add_ReportServiceServicer_to_server, ReportService(host, knows)),
        ],
        handlers=events.handlers(host.clock, settings.learned_outcomes),
        background=[
            lambda: conditions.watch(host, knows),
            lambda: availability.watch(host, knows),
            lambda: sweeping.sweep(host, knows, partial(owner.look, host, give_back)),
            advisor.watch,
            remote.warm,
        ],
        close=[completer.close, remote.close, advisor.close, owner.close],
    )


if __name__ == "__main__":
    boot.run("provider", build)
