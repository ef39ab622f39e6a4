"""Starts the context service."""

from pathlib import Path

from tooloo.context.v1.context_service_pb2_grpc import add_ContextServiceServicer_to_server

from mesh import boot
from mesh.host import Host, Parts
from mesh.owner import Owner
from services.context import store_runs
from services.context.flows.keeping import Keeper
from services.context.flows.runs import Runs
from services.context.service import ContextService
from services.context.settings import ContextSettings


async def build(host: Host) -> Parts:
    """Puts the service together; relative paths begin at the folder where the mesh was started."""
    settings = host.settings_of(ContextSettings)
    keeper = Keeper(host, settings)
    owner = await Owner.begin(host, store_runs.end_runs_of)
    runs = Runs(host, settings, owner.id, keeper.wake)
    service = ContextService(host, settings, runs, Path.cwd())
    return Parts(
        servicers=[(add_ContextServiceServicer_to_server, service)],
        background=[keeper.sweep_forever, keeper.watch_forever],
        close=[runs.close, owner.close],
    )


if __name__ == "__main__":
    boot.run("context", build)
