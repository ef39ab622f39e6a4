"""The documentation behind a real door: its policy lets the scripts of the site run, and its search finds what there is."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from gateway.handbook import events, site
from tests.browser.room import Room, room_in
from tests.door_bench import bench

PAGES = site.ROOT / "gateway" / "pages"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a door that has the built site."""
    folder = tmp_path_factory.mktemp("documented")
    assembled = site.assemble(folder / "source", site.reference(await events.listeners())).parent
    site.build(assembled / "zensical.toml")
    (assembled / "site").rename(folder / "site")
    async with bench(folder, pages=PAGES) as running:
        yield f"http://127.0.0.1:{running.door.port}"


@pytest_asyncio.fixture(loop_scope="session")
async def documents(browser: Browser, door: str) -> AsyncIterator[Room]:
    """A fresh browser context; complaints, of which a refused script is one, and requests to elsewhere fail the test."""
    async with room_in(browser, door) as opened:
        yield opened


async def test_what_is_typed_is_found(documents: Room) -> None:
    """The name of a call, typed into the search on another page: it leads to the page of its service, which has it."""
    page = documents.page
    await page.goto(f"{documents.url}/docs/")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("combobox", name="Search").fill("ListDeadLetters")
    await page.get_by_role("option").filter(has_text="ListDeadLetters").first.click()
    await expect(page).to_have_url(re.compile(r"/docs/reference/calls/bus\.html"))
    await expect(page.get_by_role("heading", name="ListDeadLetters")).to_be_visible()
