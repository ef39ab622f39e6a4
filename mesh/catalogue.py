"""Which services the mesh has, and the ports callers know them by."""

from dataclasses import dataclass

DOOR_PORT = 3000


@dataclass(frozen=True)
class ServiceSpec:
    """One service: its name, the port it is known by, the gRPC services it answers and how it is run."""

    name: str
    title: str
    port: int
    grpc_services: tuple[str, ...]
    module: str | None
    scalable: bool = True


# In the order in which they are shown. The bus starts first, whatever the order.
SERVICES: tuple[ServiceSpec, ...] = (
    ServiceSpec("bus", "Event Bus", 3050, ("tooloo.bus.v1.EventBus",), "bus", scalable=False),
    ServiceSpec("learning", "Learning Service", 3001, ("tooloo.learning.v1.LearningService",), "services.learning"),
    ServiceSpec(
        "provider",
        "Provider Service",
        3200,
        (
            "tooloo.provider.v1.ProviderService",
            "tooloo.provider.v1.ReservationService",
            "tooloo.provider.v1.BurstService",
            "tooloo.provider.v1.ReportService",
            "tooloo.provider.v1.AvailabilityService",
            "tooloo.provider.v1.SelectionService",
            "tooloo.provider.v1.RegistryService",
            "tooloo.provider.v1.CompatibilityService",
            "tooloo.provider.v1.CompletionService",
        ),
        "services.provider",
    ),
    ServiceSpec(
        "orchestration", "Orchestration Service", 3100, ("tooloo.orchestration.v1.OrchestrationService",), "services.orchestration"
    ),
    ServiceSpec("analytics", "Analytics Service", 3300, ("tooloo.analytics.v1.AnalyticsService",), "services.analytics"),
    ServiceSpec("integration", "Integration Service", 3400, ("tooloo.integration.v1.IntegrationService",), "services.integration"),
    ServiceSpec("context", "Context Service", 3020, ("tooloo.context.v1.ContextService",), "services.context"),
    # answered by the process manager itself, so it has no module of its own
    ServiceSpec("system", "System Service", 3123, ("tooloo.system.v1.SystemService",), None, scalable=False),
)

# The port of each service by name: the defaults of the settings.
PORTS = {spec.name: spec.port for spec in SERVICES}

# Ports kept for services that later issues bring.
RESERVED_PORTS = {"product": 3006, "segmentation": 3007, "design": 3014}


def service(name: str) -> ServiceSpec:
    """The service of this name; KeyError when there is none."""
    for spec in SERVICES:
        if spec.name == name:
            return spec
    raise KeyError(name)


def owner_of(grpc_service: str) -> ServiceSpec:
    """The service that answers a gRPC service, e.g. "tooloo.bus.v1.EventBus"; KeyError when none does."""
    for spec in SERVICES:
        if grpc_service in spec.grpc_services:
            return spec
    raise KeyError(grpc_service)
