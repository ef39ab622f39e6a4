"""What an Envoy leaves in the machine's shared memory: one file while it runs, however often it was killed before, then none."""

import asyncio
import signal
from pathlib import Path

from envoy import binary
from envoy.testing import door_on_free_ports, running_door
from tests.support.mesh import Mesh

SERVICES = {"learning": ("tooloo.learning.v1.LearningService",)}


async def test_an_envoy_that_is_killed_and_started_again_has_one_file(tmp_path: Path) -> None:
    """The new one replaces it; beside it runs another one, which keeps its own."""
    door, other = door_on_free_ports(tmp_path / "one", SERVICES), door_on_free_ports(tmp_path / "other", SERVICES)
    for each in (door, other):
        each.pages_folder.parent.mkdir(exist_ok=True)
    own, others = binary.shared_memory(door.admin_port), binary.shared_memory(other.admin_port)
    async with running_door(other, tmp_path / "other", {}):
        async with running_door(door, tmp_path / "one", {}):
            assert own.exists()
        assert not own.exists()
        for _ in range(2):
            command = binary.command(tmp_path / "one" / "envoy.json", door.admin_port)
            process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
            while not own.exists():
                assert process.returncode is None
                await asyncio.sleep(0.02)
            process.kill()
            await process.wait()
            assert own.exists()
        async with running_door(door, tmp_path / "one", {}):
            assert own.exists()
        assert not own.exists()
        assert others.exists()
    assert not others.exists()


async def test_a_mesh_leaves_nothing_there(tmp_path: Path) -> None:
    """Its Envoy was killed and came again, the whole mesh was killed and came again; after a stop its file is gone."""
    mesh = Mesh(tmp_path / "var")
    own = binary.shared_memory(mesh.admin_port)
    try:
        mesh.start()
        assert own.exists()
        mesh.kill_manager()
        mesh.start()
        await mesh.kill("envoy", signal.SIGKILL)
    finally:
        mesh.close()
    assert not own.exists()
