"""kill -9 of the process manager itself: nothing is left behind, and the next start goes on with what was acknowledged."""

from pathlib import Path

import psutil

from tests.support.mesh import Mesh, eventually


async def test_a_killed_manager_leaves_nothing_running_and_nothing_lost(tmp_path: Path) -> None:
    """Its children end with it, its ports are free again, and a session that was begun before can be finished after."""
    mesh = Mesh(tmp_path / "var")
    try:
        mesh.start()
        body = {"userId": "ada", "focusArea": "python", "roundCount": 1}
        async with mesh.rest() as client:
            started = (await client.post("/api/v1/training/start", json=body)).raise_for_status().json()
        children = psutil.Process(mesh.pid).children(recursive=True)
        assert len(children) >= 8
        mesh.kill_manager()

        async def running() -> int:
            return sum(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)

        await eventually(running, lambda count: count == 0, 30)
        mesh.start()
        feedback = {"userId": "ada", "sessionId": started["sessionId"], "roundId": started["roundId"], "score": 1.0}
        async with mesh.rest() as client:
            answer = (await client.post("/api/v1/coach/feedback", json=feedback)).raise_for_status().json()
        assert answer["completed"]
    finally:
        mesh.close()
