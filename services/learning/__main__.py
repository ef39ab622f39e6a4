"""The learning service as a process: curriculum, calls, what it listens for."""

from tooloo.learning.v1.learning_service_pb2_grpc import add_LearningServiceServicer_to_server

from mesh import boot
from mesh.host import Host, Parts
from services.learning.events import handlers
from services.learning.service import LearningService
from services.learning.settings import LearningSettings


async def build(host: Host) -> Parts:
    """The parts of the service."""
    settings = host.settings_of(LearningSettings)
    curriculum = settings.curriculum
    service = LearningService(host, settings, curriculum)
    return Parts(servicers=[(add_LearningServiceServicer_to_server, service)], handlers=handlers(curriculum, host.clock))


if __name__ == "__main__":
    boot.run("learning", build)
