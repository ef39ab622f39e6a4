"""The frame of the control room: navigation, keys, theme, and what every page stands in."""

from playwright.async_api import expect

from mesh.catalogue import SERVICES
from tests.browser.room import Room


async def test_the_first_page_opens_and_says_how_the_mesh_does(room: Room) -> None:
    """It is the mesh, and its frame names what serves."""
    await room.open("")
    await expect(room.page).to_have_title("Mesh · TooLoo")
    await expect(room.page.locator("header.frame .state")).to_contain_text("serve")


async def test_an_address_of_no_page_says_so_and_offers_those_there_are(room: Room) -> None:
    """Also one that cannot be decoded; nothing in the navigation is current, and a link leads on."""
    for address in ("nope", "nope/further?a=b", "%E0"):
        page = await room.open(address)
        await expect(page).to_have_title("No such page · TooLoo")
        await expect(page.get_by_role("heading", name="No such page")).to_be_visible()
        await expect(page.locator("header.frame [aria-current]")).to_have_count(0)
    links = page.locator("main li a")
    assert await links.all_text_contents() == await page.locator("header.frame nav a").all_text_contents()
    await links.filter(has_text="Runs").click()
    await expect(page).to_have_title("Runs · TooLoo")


async def test_it_is_driven_by_keys_alone(room: Room) -> None:
    """The first Tab is the way past the navigation, `?` names the keys, Escape closes, `t` changes the theme for good."""
    page = await room.open("")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("t")
    await expect(page.locator("html")).to_have_attribute("data-theme", "light")
    await page.keyboard.press("t")
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")


# what has the focus: its words, whether its ring is drawn, and whether nothing lies upon it
_FOCUSED = """() => {
  const { activeElement: node } = document
  const { left, top, width, height } = node.getBoundingClientRect()
  const above = document.elementFromPoint(left + width / 2, top + height / 2)
  const ring = getComputedStyle(node.closest('.node')?.querySelector('rect') ?? node)
  return {
    name: node.dataset.service ?? node.getAttribute('aria-label') ?? node.textContent,
    seen: node.contains(above),
    ringed: node.matches(':focus-visible') && (ring.outlineStyle !== 'none' || ring.stroke !== 'none'),
  }
}"""


async def test_tab_walks_through_the_frame_and_enter_opens_a_service(room: Room) -> None:
    """After the way past the navigation every link and button, each in sight with its ring, then the services of the drawing."""
    page = await room.open("mesh")
    await expect(page.locator("header.frame .state")).to_contain_text("serve")
    await expect(page.locator(".drawing a[data-service=envoy]")).to_be_visible()
    frame = await page.locator("header.frame").locator("a, button").all()
    wanted = [await each.get_attribute("aria-label") or await each.text_content() for each in frame]
    services = [await each.get_attribute("data-service") for each in await page.locator(".drawing a").all()]
    assert {spec.name for spec in SERVICES} < set(services)
    wanted += services
    await page.keyboard.press("Tab")
    walked = []
    for _ in wanted:
        await page.keyboard.press("Tab")
        walked.append(await page.evaluate(_FOCUSED))
    assert [each["name"] for each in walked] == wanted
    assert [each["name"] for each in walked if not (each["seen"] and each["ringed"])] == []
    await page.locator(".drawing a[data-service=learning]").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("region", name="learning", exact=True)).to_be_visible()


async def test_the_focus_follows_into_a_service_and_back(room: Room) -> None:
    """Enter on a service puts it on the heading of its panel, Escape back on the service; so from a row of the table."""
    page = await room.open("mesh")
    node = page.locator(".drawing a[data-service=learning]")
    for way_in in (node, page.get_by_role("row").get_by_role("button", name="learning", exact=True)):
        await way_in.focus()
        await page.keyboard.press("Enter")
        panel = page.get_by_role("region", name="learning", exact=True)
        await expect(panel.get_by_role("heading", name="learning")).to_be_focused()
        await page.keyboard.press("Tab")
        await expect(panel.get_by_role("button", name="Restart")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(panel).to_have_count(0)
        await expect(node).to_be_focused()


async def test_the_old_address_of_the_reference_shows_the_calls(room: Room) -> None:
    """`/docs` is where people look for it."""
    await room.page.goto(f"{room.url}/docs")
    await expect(room.page).to_have_title("Calls · TooLoo")


async def test_the_frame_leads_to_the_documentation(room: Room) -> None:
    """What `make docs` built, or the page that says so; either way without a complaint of the browser."""
    page = await room.open("mesh")
    await page.locator("header.frame").get_by_role("link", name="Docs").click()
    await expect(page).to_have_url(f"{room.url}/docs/")
    await expect(page.get_by_role("heading", level=1)).to_be_visible()


async def test_letters_lead_to_the_pages(room: Room) -> None:
    """`g`, then the letter of the page; while something is typed, letters are letters."""
    page = await room.open("")
    await page.keyboard.press("g")
    await page.keyboard.press("e")
    await expect(page).to_have_title("Events · TooLoo")
    await expect(page.locator("h1")).to_be_focused()
    await expect(page.get_by_label("Types")).to_be_visible()
    await page.keyboard.press("/")
    await page.keyboard.type("gcm")
    await expect(page.get_by_label("Types")).to_have_value("gcm")
    await expect(page).to_have_title("Events · TooLoo")
