"""The page Code: a tree map that is drilled into by hand and by keys, a file between its relations, search."""

from playwright.async_api import expect

from tests.browser.filled import call, fill
from tests.browser.room import Room
from tests.support.mesh import Mesh


async def test_the_tree_map_is_drilled_into(room: Room, mesh: Mesh) -> None:
    """A folder opens when it is clicked, the crumbs lead back, a file opens beside it; sizes may be lines or centrality."""
    await fill(mesh)
    page = await room.open("code?repo=tooloo")
    await expect(page.locator(".treemap .tile").first).to_be_visible()
    await room.shot("code")
    await room.axe_everywhere()
    await room.shot("code-360")
    await page.set_viewport_size({"width": 1280, "height": 860})
    await page.locator(".treemap [data-path=mesh]").click(position={"x": 8, "y": 8})
    await expect(page.get_by_role("group", name="Tree map of mesh by bytes")).to_be_visible()
    await page.get_by_role("group", name="Size by").get_by_role("button", name="centrality").click()
    await page.locator(".treemap [data-path='mesh/errors.py']").click()
    panel = page.get_by_role("region", name="mesh/errors.py")
    await expect(panel.get_by_role("region", name="Symbols of mesh/errors.py")).to_contain_text("Refusal")
    await room.shot("code-file")
    await room.axe()
    await page.get_by_role("navigation", name="Folders").get_by_role("button", name="tooloo").click()
    await expect(page.get_by_role("group", name="Tree map of the repository by centrality")).to_be_visible()


async def test_the_tree_map_by_keys(room: Room, mesh: Mesh) -> None:
    """One stop of Tab; arrows go to what is beside, Enter opens, u goes up."""
    await fill(mesh)
    page = await room.open("code?repo=tooloo&folder=envoy")
    tiles = page.locator(".treemap .tile")
    await expect(tiles.first).to_be_visible()
    await expect(page.locator(".treemap .tile[tabindex='0']")).to_have_count(1)
    await tiles.first.focus()
    await page.keyboard.press("ArrowRight")
    focused = page.locator(".treemap .tile:focus")
    path = await focused.get_attribute("data-path")
    assert path != await tiles.first.get_attribute("data-path")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("region", name=str(path), exact=True)).to_be_visible()
    await page.locator("main").focus()
    await page.keyboard.press("u")
    await expect(page.get_by_role("group", name="Tree map of the repository by bytes")).to_be_visible()


async def test_a_file_between_its_relations(room: Room, mesh: Mesh) -> None:
    """Who imports it and what it imports; a click goes on to that file."""
    await fill(mesh)
    data = await call(mesh, "GET", "context/file", params={"repoId": "tooloo", "path": "envoy/pages.py"})
    assert "envoy/routes.py" in data["importedBy"]
    page = await room.open("code?repo=tooloo&file=envoy/pages.py")
    panel = page.get_by_role("region", name="envoy/pages.py", exact=True)
    relations = panel.get_by_role("group", name="Files that import it")
    await expect(relations.get_by_role("button", name="filters.py")).to_be_visible()
    await relations.get_by_role("button", name="routes.py", exact=True).click()
    await expect(page.get_by_role("region", name="envoy/routes.py", exact=True)).to_be_visible()


async def test_search_finds_symbols_and_files(room: Room, mesh: Mesh) -> None:
    """From the keyboard: slash, a name, and the result opens."""
    await fill(mesh)
    page = await room.open("code?repo=tooloo")
    await expect(page.locator(".treemap .tile").first).to_be_visible()
    await page.locator("main").focus()
    await page.keyboard.press("/")
    await page.keyboard.type("page_routes")
    found = page.get_by_role("region", name="Symbols whose name contains the text")
    await expect(found).to_contain_text("envoy/pages.py")
    await room.axe()
    await found.get_by_role("button", name="page_routes", exact=True).click()
    await expect(page.get_by_role("region", name="envoy/pages.py", exact=True)).to_be_visible()
    await page.get_by_role("searchbox").fill("no such thing anywhere")
    await expect(page.get_by_text("No symbol is called so.")).to_be_visible()
