"""The page Code: a tree map that is drilled into by hand and by keys, a file between its relations, search."""

import json

from playwright.async_api import Route, expect

from tests.browser.filled import call, fill
from tests.browser.room import Room
from tests.support.mesh import Mesh


async def test_the_tree_map_is_drilled_into(room: Room, mesh: Mesh) -> None:
    """A folder opens when it is clicked, the crumbs lead back, a file opens beside it; sizes may be lines or centrality."""
    await fill(mesh)
    page = await room.open("code?repo=tooloo")
    await expect(page.locator(".treemap .tile").first).to_be_visible()
    await room.shot("code")
    await room.shot("code-360", narrow=True)
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


# every phase that is shown, also one that is gone before a test can look
RECORD = """() => {
  window.phases = []
  const look = () => {
    const phase = document.querySelector('.underway')?.dataset.phase
    if (phase && window.phases.at(-1) !== phase) window.phases.push(phase)
  }
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true })
}"""
PHASES = ["starting", "counting", "reading", "resolving", "ranking", "publishing"]


async def test_a_folder_is_indexed_and_its_progress_shown(room: Room, mesh: Mesh) -> None:
    """From the form, with a bar that moves through the phases; then the page shows it, and indexing it again finds nothing new."""
    await fill(mesh)
    page = await room.open("code?repo=tooloo")
    await page.evaluate(RECORD)
    await page.get_by_text("Index another folder").click()
    await page.get_by_label("Folder", exact=True).fill("services")
    await page.get_by_label("Name", exact=True).fill("only-services")
    await page.get_by_role("button", name="Index", exact=True).click()
    await expect(page.get_by_text("only-services is indexed: ")).to_be_visible()
    phases = await page.evaluate("window.phases")
    assert phases == [phase for phase in PHASES if phase in phases]
    assert "reading" in phases
    await expect(page.get_by_role("combobox", name="Repository")).to_have_value("only-services")
    await expect(page.locator(".treemap [data-path=learning]")).to_be_visible()
    await expect(page.get_by_role("progressbar")).to_have_count(0)
    await page.get_by_role("button", name="Index again").click()
    await expect(page.get_by_text("only-services is indexed: 0 new, 0 changed, 0 gone")).to_be_visible()


# what the browser is told instead of the mesh: a stream that breaks off, and the end of the run that it was about
READING = {"phase": "reading", "done": "30", "total": "120", "unit": "files", "bytes": "4200", "elapsed": "2s"}
TOO_LARGE = {"code": 8, "message": "the tree has more than 3 files", "details": []}


async def test_a_stream_that_breaks_is_joined_again(room: Room, mesh: Mesh) -> None:
    """With the same id; meanwhile the bar stays. What the run failed of is said, and the bar goes."""
    await fill(mesh)
    keys: list[str] = []

    async def answer(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        message = {"progress": READING} if len(keys) == 1 else {"error": TOO_LARGE}
        await route.fulfill(body=f"data: {json.dumps(message)}\n\n", content_type="text/event-stream")

    await room.context.route("**/api/v1/context/index", answer)
    page = await room.open("code?repo=tooloo")
    await page.get_by_role("button", name="Index again").click()
    bar = page.get_by_role("progressbar", name="Indexing tooloo")
    await expect(bar).to_have_attribute("aria-valuenow", "25")
    await expect(page.get_by_role("region", name="Indexing tooloo")).to_contain_text("reading · 30 of 120 files · 4.2 kB · 2 s")
    await expect(page.get_by_role("button", name="Indexing …")).to_be_disabled()
    await room.axe()
    refusal = page.get_by_text("the tree has more than 3 files")
    await expect(refusal).to_be_visible()
    await expect(bar).to_have_count(0)
    await page.get_by_role("button", name="Dismiss").click()
    await expect(refusal).to_have_count(0)
    assert len(keys) == 2
    assert keys[0] == keys[1]
