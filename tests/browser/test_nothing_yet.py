"""What the pages of data say on a mesh that has nothing yet, and when it does not answer; the answers are the browser's here."""

import json
import shlex
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import Route, expect

from tests.browser.room import Room
from tests.support.mesh import Mesh

EMPTY: dict[str, dict[str, object]] = {
    "/api/v1/runs": {"runs": []},
    "/api/v1/tasks": {"tasks": []},
    "/api/v1/workflows": {"workflows": []},
    "/api/v1/budget/report": {"rows": [], "total": {"key": "total"}},
    "/api/v1/budgets": {"budgets": []},
    "/api/v1/selections": {"selections": []},
    "/api/v1/learners": {"learners": []},
    "/api/v1/context/repositories": {"repositories": []},
}
# the address of each page that may have nothing, and the call that it tells
PAGES = {
    "runs": "dag/execute",
    "runs?tab=workflows": "workflows",
    "runs?tab=schedules": "task/schedule",
    "money": "budget/track",
    "money?tab=budgets": "budget/set",
    "money?tab=choices": "providers/select",
    "learning": "training/start",
    "badges": "training/start",
    "code": "context/analyze",
}


async def nothing(route: Route) -> None:
    """Answers lists with nothing, lets everything else through."""
    answer = EMPTY.get(urlsplit(route.request.url).path)
    if answer is None:
        await route.continue_()
    else:
        await route.fulfill(json={"nextPageToken": "", **answer})


async def test_an_empty_page_tells_a_call_that_works(room: Room, mesh: Mesh) -> None:
    """The line that it shows is a call that this mesh answers."""
    await room.context.route("**/api/v1/**", nothing)
    async with httpx.AsyncClient(timeout=60) as client:
        for address, path in PAGES.items():
            page = await room.open(address)
            line = await page.locator(".shell code").inner_text()
            _curl, _x, verb, url, _d, body = shlex.split(line)
            assert (verb, url) == ("POST", f"{mesh.url}/api/v1/{path}"), line
            answer = await client.post(url, content=body)
            assert answer.status_code == 200, (line, answer.text)
            assert json.loads(body)
    await room.shot("empty")
    await room.axe()


@pytest.mark.parametrize("address", ["runs", "money", "learning", "code"])
async def test_a_page_without_an_answer_says_so_and_tries_again(room: Room, address: str) -> None:
    """The error has a button that loads again."""
    room.allow("net::ERR_FAILED|Failed to load resource")
    down = "**/api/v1/**"
    await room.context.route(down, lambda route: route.abort())
    page = await room.open(address)
    await expect(page.get_by_role("alert")).to_contain_text("does not answer")
    asked = page.get_by_role("button", name="Try again")
    # at once, not when a pointer could: what the page asks by itself may answer first, and the button is gone
    async with page.expect_request(down):
        await asked.dispatch_event("click")
    await room.context.unroute(down)
    await page.evaluate("for (const button of document.querySelectorAll('[role=alert] button')) button.click()")
    await expect(page.get_by_role("alert")).to_have_count(0)
