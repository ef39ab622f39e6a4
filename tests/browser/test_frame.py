"""The frame of the control room: navigation, keys, theme, and what every page stands in."""

from playwright.async_api import expect

from tests.browser.room import Room


async def test_the_first_page_opens_and_says_how_the_mesh_does(room: Room) -> None:
    """It is the mesh, and its frame names what serves."""
    await room.open("")
    await expect(room.page).to_have_title("Mesh · TooLoo")
    await expect(room.page.locator("header.frame .state")).to_contain_text("serve")


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


async def test_the_old_address_of_the_reference_shows_the_calls(room: Room) -> None:
    """`/docs` is where people look for it."""
    await room.page.goto(f"{room.url}/docs")
    await expect(room.page).to_have_title("Calls · TooLoo")


async def test_letters_lead_to_the_pages(room: Room) -> None:
    """`g`, then the letter of the page; while something is typed, letters are letters."""
    page = await room.open("")
    await page.keyboard.press("g")
    await page.keyboard.press("e")
    await expect(page).to_have_title("Events · TooLoo")
    await expect(page.locator("h1")).to_be_focused()
    await page.keyboard.press("/")
    await page.keyboard.type("gcm")
    await expect(page.get_by_label("Types")).to_have_value("gcm")
    await expect(page).to_have_title("Events · TooLoo")
