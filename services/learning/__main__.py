"""The learning service as a process: curriculum, calls, what it listens for."""

from pathlib import Path

from tooloo.learning.v1.learning_service_pb2_grpc import add_LearningServiceServicer_to_server

from mesh import boot
from mesh.host import Host, Parts
from services.learning.curriculum import Curriculum, parse
from services.learning.events import handlers
from services.learning.service import LearningService
from services.learning.settings import LearningSettings
from services.learning.zones import zone_of

CHECKOUT = Path(__file__).resolve().parents[2]


def read_curriculum(folder: Path) -> Curriculum:
    """The curriculum of a folder of TOML files; a relative one is looked for in the checkout."""
    files = sorted((CHECKOUT / folder).glob("*.toml"))
    return Curriculum(parse(file.read_text(encoding="utf-8"), file.name) for file in files)


async def build(host: Host) -> Parts:
    """The parts of the service."""
    settings = host.settings_of(LearningSettings)
    zone_of(settings.time_zone)  # a wrong setting should be told at the start, not at the first overview
    curriculum = read_curriculum(settings.curriculum_folder)
    service = LearningService(host, settings, curriculum)
    return Parts(servicers=[(add_LearningServiceServicer_to_server, service)], handlers=handlers(curriculum, host.clock))


if __name__ == "__main__":
    boot.run("learning", build)
