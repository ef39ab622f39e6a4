"""The orchestration service as a process: calls, the engine of runs, the scheduler of tasks, the classifier."""

from tooloo.orchestration.v1.orchestration_service_pb2_grpc import add_OrchestrationServiceServicer_to_server

from mesh import boot
from mesh.host import Host, Parts
from mesh.owner import Owner
from services.orchestration import events, store
from services.orchestration.flows import base
from services.orchestration.service import OrchestrationService
from services.orchestration.settings import OrchestrationSettings
from services.orchestration.workers.changes import Changes
from services.orchestration.workers.classifier import Classifier
from services.orchestration.workers.engine import Engine
from services.orchestration.workers.scheduler import Scheduler
from services.orchestration.workers.starter import Starter


async def build(host: Host) -> Parts:
    """The parts of the service."""
    settings = host.settings_of(OrchestrationSettings)
    changes = Changes()
    owner = await Owner.begin(host, store.release_leases)
    engine = Engine(host, settings, owner.id, changes)
    starter = Starter(host, settings, engine.wake)
    scheduler = Scheduler(host, settings, starter)
    classifier = Classifier(settings)
    service = OrchestrationService(base.Parts(host, settings, classifier, starter, engine, scheduler, changes))
    return Parts(
        servicers=[(add_OrchestrationServiceServicer_to_server, service)],
        handlers=events.handlers(starter.start_workflow),
        background=[engine.run, scheduler.run, classifier.prepare],
        close=[engine.close, owner.close],
    )


if __name__ == "__main__":
    boot.run("orchestration", build)
