"""One mesh for all generated traffic, with a far end that knows no repository."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from tests.fuzz.world import TREE, Known, furnish
from tests.peers import web
from tests.support.mesh import Mesh, running_mesh

CASES = int(os.environ.get("TOOLOO_FUZZ_CASES", "300"))
# the same each time: what comes before a change lands is no lottery; `make fuzz` takes another one each time
SEED = int(os.environ.get("TOOLOO_FUZZ_SEED", "") or 20261126)


@pytest.fixture(scope="package")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A whole mesh that may index a small tree only and reaches nothing outside this machine."""
    print(f"\nseed {SEED}; again with TOOLOO_FUZZ_SEED={SEED}")
    with web.serving(lambda seen: web.Reply(404, b'{"message": "Not Found"}')) as outside:
        env = {"TOOLOO_CONTEXT_ROOTS": str(TREE), "TOOLOO_INTEGRATION_GITHUB_API_URL": outside.url}
        with running_mesh(tmp_path_factory.mktemp("fuzz") / "var", env) as running:
            yield running
            _check_logs(running)


def _check_logs(mesh: Mesh) -> None:
    """Nothing went wrong that no answer told of, and no service died."""
    for log in (mesh.folder / "log").glob("*.jsonl"):
        wrong = [line for line in log.read_text().splitlines() if '"level": "ERROR"' in line]
        assert not wrong, f"{log.name}:\n" + "\n".join(wrong)
    restarted = [each for each in asyncio.run(mesh.processes()) if each["restarts"]]
    assert not restarted, restarted


@pytest.fixture(scope="package")
def known(mesh: Mesh) -> Known:
    """Values that lead somewhere, by the name of their field."""
    return furnish(mesh)


@pytest.fixture
def cases() -> int:
    """How many cases a test should make at least."""
    return CASES


@pytest.fixture
def seed() -> int:
    """What the cases are made from."""
    return SEED
