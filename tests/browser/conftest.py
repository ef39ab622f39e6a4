"""One Chromium in front of one mesh for all these tests; without a Chromium they are left out by name."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.room import CHROMIUM, FLAGS, Room, room_in
from tests.support.mesh import Mesh, running_mesh

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves the tests of this folder out where there is no browser."""
    own = [item for item in items if HERE in item.path.parents]
    for item in own:
        # the browser lives on the session's loop
        item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
        if not CHROMIUM:
            item.add_marker(pytest.mark.skip(reason="no Chromium on this machine: apt-get install chromium"))


@pytest.fixture(scope="package")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A whole mesh, started as `make dev` starts it; users who share it must not disturb each other anyway."""
    with running_mesh(tmp_path_factory.mktemp("mesh") / "var") as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def room(browser: Browser, mesh: Mesh) -> AsyncIterator[Room]:
    """The control room in a fresh browser context; console errors and requests to elsewhere fail the test at its end."""
    async with room_in(browser, mesh.url) as opened:
        yield opened
