"""What journeys and browser tests share: one mesh a session, for starting it is the expensive part."""

from collections.abc import Iterator

import pytest

from tests.support.mesh import Mesh, running_mesh


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A whole mesh, started as `make dev` starts it; users who share it must not disturb each other anyway."""
    with running_mesh(tmp_path_factory.mktemp("mesh") / "var") as running:
        yield running
