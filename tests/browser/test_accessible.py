"""Every page and every tab of it, also one that comes later: axe looks in both themes, wide and narrow."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.filled import fill
from tests.browser.room import Room
from tests.support.mesh import ROOT, Mesh

PAGES = sorted(module.stem for module in (ROOT / "gateway" / "pages" / "pages").glob("*.js"))
# what a page shows of one thing, where no test of that page looks with axe
NEAR = ["mesh/provider", "calls/tooloo.bus.v1.EventBus/CreateSubscription"]


async def settled(page: Page) -> None:
    """Waits until the page has what it asked for."""
    await expect(page.locator("main .filler[role=status]")).to_have_count(0)
    await expect(page.locator("main [role=alert]")).to_have_count(0)


@pytest.mark.parametrize("address", [*PAGES, *NEAR])
async def test_axe_has_nothing_to_say(room: Room, mesh: Mesh, address: str) -> None:
    """One navigation; then each tab of the page or of its panel."""
    await fill(mesh)
    page = await room.open(address)
    await settled(page)
    await room.axe_everywhere()
    tabs = page.locator(":is(main, .near) > .tabs > [role=tab]")
    for at in range(1, await tabs.count()):
        await tabs.nth(at).click()
        await expect(tabs.nth(at)).to_have_attribute("aria-selected", "true")
        await settled(page)
        await room.axe_everywhere()


async def test_axe_has_nothing_to_say_of_what_stands_above_a_page(room: Room, mesh: Mesh) -> None:
    """The keys, a question, and a notice that something was refused."""
    await fill(mesh)
    page = await room.open("mesh/context")
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await room.axe_everywhere()
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Restart").click()
    question = page.get_by_role("dialog", name="Restart context?")
    await expect(question).to_be_visible()
    await room.axe_everywhere()
    room.allow("net::ERR_FAILED|Failed to load resource")
    await room.context.route("**/restart", lambda route: route.abort())
    await question.get_by_role("button", name="Restart").click()
    await expect(page.locator(".notice.bad")).to_be_visible()
    await room.axe()
