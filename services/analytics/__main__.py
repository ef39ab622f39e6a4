"""The analytics process: settings and rules, then the service, its listener and its upkeep."""

from tooloo.analytics.v1 import analytics_service_pb2_grpc

from mesh import boot
from mesh.host import Host, Parts
from services.analytics.events import Listener
from services.analytics.flows.upkeep import Upkeep
from services.analytics.service import AnalyticsService
from services.analytics.settings import AnalyticsSettings


async def build(host: Host) -> Parts:
    """Puts the service together."""
    settings = host.settings_of(AnalyticsSettings)
    rules = settings.rules()
    upkeep = Upkeep(host, settings)
    return Parts(
        servicers=[
            (analytics_service_pb2_grpc.add_AnalyticsServiceServicer_to_server, AnalyticsService(host, settings, rules)),
        ],
        handlers={"*": Listener(host, rules).hear},
        background=[upkeep.keep_folding, upkeep.keep_forgetting, upkeep.keep_looking],
        # counts, sketches and badges come out the same in any order, and order would cost an acknowledgement per event
        ordered=False,
    )


if __name__ == "__main__":
    boot.run("analytics", build)
