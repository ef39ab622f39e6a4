"""Page Mesh: the drawing, what moves in it, a service that goes and comes, and each service from near."""

import re

from playwright.async_api import expect

from mesh.catalogue import SERVICES
from tests.browser.room import Room, note, noted
from tests.support.mesh import Mesh


async def test_every_service_is_drawn(room: Room) -> None:
    """Whatever the catalogue has is there, by state in colour and word."""
    page = await room.open("mesh")
    for spec in SERVICES:
        await expect(page.locator(f".drawing a[data-service={spec.name}].good")).to_contain_text("serving")
    await expect(page.locator(".drawing a[data-service=envoy].good")).to_contain_text("Door")
    await expect(room.row("system").get_by_role("cell").nth(4)).to_contain_text(re.compile(r"[1-9].*B"))
    await room.shot("mesh")
    await room.shot("mesh-360", narrow=True)


async def test_calls_move_its_figures(room: Room, mesh: Mesh) -> None:
    """The rate of a service is no longer zero when it was called; dots travel, but not where motion is unwelcome."""
    page = await room.open("mesh")
    rate = room.row("learning").get_by_role("cell").nth(5)
    await expect(rate).to_have_text(re.compile(r"[\d.]+"))
    async with mesh.rest() as client:
        for _ in range(30):
            (await client.get("/api/v1/training/overview", params={"userId": "nobody"})).raise_for_status()
    await expect(rate).to_have_text(re.compile("[1-9]"))
    await expect(page.locator(".drawing .figure").first).to_have_text(re.compile(r"[1-9].*/s"))
    await expect(page.locator(".dot")).to_have_count(0)
    await page.emulate_media(reduced_motion="no-preference")
    await expect(page.locator(".dot").first).to_be_attached()


async def test_a_service_that_is_killed_changes_its_colour_and_comes_back(room: Room, mesh: Mesh) -> None:
    """The page hears of it by an event, and asks; one that is back before the answer was never seen away, so it is killed again."""
    page = await room.open("mesh")
    node = page.locator(".drawing a[data-service=context]")
    restarts = room.row("context").get_by_role("cell").nth(3)
    await expect(node).to_have_class(re.compile("good"))
    await note(node)
    await expect(restarts).to_have_text(re.compile(r"^\d+$"))
    before = int(await restarts.inner_text())
    # each death in a row is followed by a longer wait
    for deaths in range(1, 7):
        await mesh.kill("context")
        await expect(restarts).to_have_text(str(before + deaths), timeout=60_000)
        await expect(node).to_have_class(re.compile("good"), timeout=60_000)
        await expect(node).to_contain_text("serving")
        if any(re.search("bad|warn", each) for each in await noted(page)):
            return
    raise AssertionError(f"it never changed its colour: {await noted(page)}")


async def test_a_service_from_near(room: Room, mesh: Mesh) -> None:
    """By keyboard: its parts, its processes, its log as it is written, its calls; a restart is asked about first."""
    page = await room.open("mesh")
    await page.locator(".drawing a[data-service=integration]").focus()
    await page.keyboard.press("Enter")
    near = page.get_by_role("region", name="integration", exact=True)
    await expect(near.get_by_role("row").filter(has_text="availability")).to_be_visible()
    await near.get_by_role("tab", name="Health").focus()
    await page.keyboard.press("ArrowRight")
    await expect(near.get_by_role("row").filter(has_text="integration-0")).to_contain_text("serving")
    await near.get_by_role("tab", name="Calls").click()
    await expect(near.get_by_role("link", name="NotifySlack")).to_be_visible()
    await near.get_by_role("tab", name="Logs").click()
    async with mesh.rest() as client:
        await client.get("/api/v1/oauth/connections", params={"userId": "seen-in-the-log"})
    await expect(near.locator(".log")).to_contain_text("/api/v1/oauth/connections")
    await room.axe()
    await near.get_by_role("button", name="Restart").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("Escape")
    await expect(page).to_have_url(re.compile("#/mesh$"))


async def test_the_process_manager_from_near(room: Room) -> None:
    """It has a process and memory like the others, but no call restarts or scales it, so the page offers neither."""
    page = await room.open("mesh/system?view=processes")
    near = page.get_by_role("region", name="system", exact=True)
    await expect(near.get_by_role("row").filter(has_text="serving").get_by_role("cell").nth(3)).to_contain_text(
        re.compile(r"[1-9].*B")
    )
    await expect(near.get_by_role("link", name="All services")).to_be_visible()
    await expect(near.get_by_role("button", name=re.compile("Restart|Scale"))).to_have_count(0)


async def test_a_service_is_scaled_from_the_page(room: Room) -> None:
    """Two replicas are shown when there are two; then one again."""
    page = await room.open("mesh/analytics")
    for wanted in ("2", "1"):
        await page.get_by_label("Replicas", exact=True).fill(wanted)
        await page.get_by_role("button", name="Scale").click()
        await page.get_by_role("dialog").get_by_role("button", name="Scale").click()
        node = page.locator(".drawing a[data-service=analytics]")
        await expect(node).to_contain_text(f"{wanted} of {wanted}", timeout=60_000)
