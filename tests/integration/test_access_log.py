"""The access log of a real Envoy is begun anew when it has become large: no line is lost, old files go, reading goes on over it."""

from pathlib import Path

import httpx
import pytest

from envoy.testing import door_on_free_ports, running_door
from gateway import logfiles
from gateway.logfiles import Budget, read_back
from gateway.loglines import Filter
from gateway.rotating import AccessLog, reopening
from gateway.settings import SystemSettings
from mesh.logfile import shift
from tests.support.mesh import eventually


def lines(folder: Path) -> list[str]:
    """The paths that the access logs name, newest first, read as ReadLogs does."""
    files = logfiles.find(folder)
    places = {file.mark: file.size for file in files if file.mark}
    records, _ = read_back(files, places, Filter(process="access"), 1000, Budget(10**7))
    return [str(record.fields["path"]) for record in records]


async def test_a_large_access_log_is_begun_anew(tmp_path: Path) -> None:
    """Calls before, between and after; one that fails to reach Envoy is made up for at the next look."""
    door = door_on_free_ports(tmp_path, {"learning": ("tooloo.learning.v1.LearningService",)})
    settings = SystemSettings(access_log_bytes=64 * 1024, access_log_files=2)
    reopens: list[bool] = []

    async def unreachable_at_first() -> None:
        reopens.append(True)
        if len(reopens) == 1:
            raise httpx.ConnectError("not now")
        await reopening(door.admin_port)()

    access_log = AccessLog(door.access_log, unreachable_at_first, settings)
    paths = [f"/nothing/{number}{'x' * 400}" for number in range(300)]
    async with running_door(door, tmp_path, {}), httpx.AsyncClient(base_url=f"http://127.0.0.1:{door.port}", timeout=60) as client:

        async def written() -> list[str]:
            return sorted(lines(tmp_path))

        await access_log.look()
        assert not reopens, "it is not large yet"
        for part in (paths[:200], paths[200:250], paths[250:]):
            for path in part:
                await client.get(path)
            done = paths[: paths.index(part[-1]) + 1]
            await eventually(written, lambda found, done=done: found == sorted(done))  # type: ignore[misc] # bound now, not later
            await access_log.look()
    assert len(reopens) == 2
    assert sorted(path.name for path in tmp_path.glob("access*")) == ["access.1.jsonl", "access.jsonl"]


@pytest.mark.parametrize("times", [1, 5])
def test_the_oldest_go(tmp_path: Path, times: int) -> None:
    """As many as the setting says are kept."""
    path = tmp_path / "access.jsonl"
    for number in range(times):
        path.write_text(str(number))
        shift(path, 2)
    kept = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert kept == ({"access.1.jsonl": "0"} if times == 1 else {"access.1.jsonl": "4", "access.2.jsonl": "3"})
