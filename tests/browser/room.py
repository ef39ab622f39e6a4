"""The control room as a test sees it: a real Chromium, what it complained about, and what a screen reader would meet."""

import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Error, Locator, Page, Request, ViewportSize, expect

SHOTS = Path(__file__).resolve().parents[2] / "test-output"
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), "")
# a switch that is given twice counts as it was given last: what Playwright switches off stands here too
_OFF = (
    # two pages of the browser's own behind the address bar of each window, which cost more than most of ours
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup"),
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades", "HttpsFirstBalancedModeAutoEnable"),
    *("LensOverlay", "MediaRouter", "PaintHolding", "ThirdPartyStoragePartitioning", "AvoidCorsURLLoaderRestartOnRedirect"),
    *("OptimizationHints", "NetworkTimeServiceQuerying", "AimEnabled", "PreconnectToSearch"),
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", f"--disable-features={','.join(_OFF)}"),
)
# the machine may be busy with other things; what comes is waited for, what does not come fails
expect.set_options(timeout=40_000)
# WCAG 2.2 A and AA, as the issue asks
_AXE = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]},
    "resultTypes": ["violations"],
}
# of those the ones that look at colours; the others find the same in another theme, for themes differ in colours alone
_AXE_OF_COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}, "resultTypes": ["violations"]}
# the rows of a list are made alike: axe looks at the first ones, for each costs it time; one that is half scrolled below the search
# above it would count as a small target
_LOOK = """async (options) => {
  document.querySelector('nav.calls')?.scrollTo(0, 0)
  const alike = ['.events li', '.log li', '.calls li', 'tr', '.tile']
  const exclude = alike.map((each) => [`${each}:nth-of-type(n + 9)`])
  return (await axe.run({ exclude }, options)).violations
}"""
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, Theme] = ("light", "dark")
WIDE, NARROW = ViewportSize(width=1280, height=860), ViewportSize(width=360, height=780)


# notes each class and text that an element ever has: a look now and then would miss what lasts for a moment
_NOTE = """node => {
  globalThis.noted = []
  const note = () => noted.push(`${node.getAttribute('class')} ${node.textContent}`)
  new MutationObserver(note).observe(node, { attributes: true, childList: true, subtree: true, characterData: true })
}"""


async def note(element: Locator) -> None:
    """Begins to note what becomes of an element; one a tab."""
    await element.evaluate(_NOTE)


async def noted(page: Page) -> list[str]:
    """Every class and text that the element had since then."""
    found: list[str] = await page.evaluate("noted")
    return found


class Room:
    """One browser context on the control room of one mesh; every tab of it is listened to."""

    def __init__(self, context: BrowserContext, page: Page, url: str) -> None:
        self.context = context
        self.page = page
        self.url = url
        self.faults: list[str] = []
        self._allowed: list[re.Pattern[str]] = []
        self.listen(page)

    def listen(self, page: Page) -> None:
        """Notes whatever goes wrong in this tab, and every request that leaves the host."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._fault(f"uncaught: {error}"))
        page.on("request", self._request)

    def allow(self, pattern: str) -> None:
        """Complaints that this test provokes, e.g. the browser's line about a refused request."""
        self._allowed.append(re.compile(pattern))

    def check(self) -> None:
        """AssertionError when anything went wrong that was not allowed."""
        left = [fault for fault in self.faults if not any(pattern.search(fault) for pattern in self._allowed)]
        assert not left, "\n".join(left)

    async def open(self, address: str, page: Page | None = None) -> Page:
        """Shows `#/<address>` and waits until the page has its heading."""
        tab = page or self.page
        await tab.goto(f"{self.url}/#/{address}")
        await expect(tab.locator("main h1")).to_be_visible()
        return tab

    async def tab(self, address: str) -> Page:
        """Another tab of the same browser."""
        page = await self.context.new_page()
        self.listen(page)
        return await self.open(address, page)

    async def axe(self, whole: Theme = "light") -> None:
        """AssertionError with what is wrong and where, when axe finds a violation of WCAG A or AA in either theme.

        All rules are asked in the theme `whole`, and those of colours in both.
        """
        for theme in THEMES:
            await self._axe(theme, _AXE if theme == whole else _AXE_OF_COLOURS)

    async def axe_everywhere(self) -> None:
        """Looks with axe in both themes at 360 px, where nothing may stick out sideways either, and wide, as it leaves the page."""
        for size, whole in zip((NARROW, WIDE), THEMES, strict=True):
            await self.page.set_viewport_size(size)
            await self.axe(whole)
            wide = await self.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= size["width"], f"the page is {wide} px wide on a screen of {size['width']}"

    async def _axe(self, theme: Theme, rules: Mapping[str, object]) -> None:
        await self.page.emulate_media(color_scheme=theme)
        # what happens to stand half below the frame is no fault of the page
        await self.page.evaluate("scrollTo(0, 0)")
        if not await self.page.evaluate("'axe' in globalThis"):
            await self.page.evaluate(AXE_SCRIPT)
        found: list[dict[str, Any]] = await self.page.evaluate(_LOOK, rules)
        said = [f"{each['id']}: {each['help']}: {node['html'][:200]}" for each in found for node in each["nodes"]]
        assert not said, "\n".join([f"{self.page.url}, {theme}, {self.page.viewport_size}:", *said])

    async def shot(self, name: str, *, narrow: bool = False) -> None:
        """A screenshot as test output; a narrow one is of a dark page at 360 px."""
        SHOTS.mkdir(exist_ok=True)
        if narrow:
            await self.page.emulate_media(color_scheme="dark")
            await self.page.set_viewport_size(NARROW)
        await self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
        if narrow:
            await self.page.set_viewport_size(WIDE)

    def row(self, text: str) -> Locator:
        """The row of a table that holds this text."""
        return self.page.get_by_role("row").filter(has_text=text)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._fault(f"console {message.type}: {message.text} ({message.location.get('url', '')})")

    def _request(self, request: Request) -> None:
        asked = urlsplit(request.url)
        if asked.scheme not in {"data", "blob"} and asked.netloc != urlsplit(self.url).netloc:
            self._fault(f"left the host: {request.url}")

    def _fault(self, text: str) -> None:
        self.faults.append(text)


@asynccontextmanager
async def room_in(browser: Browser, url: str) -> AsyncIterator[Room]:
    """A fresh context, as a person who comes for the first time; what went wrong in it fails the test at its end."""
    context = await browser.new_context(viewport=WIDE, reduced_motion="reduce")
    context.set_default_timeout(40_000)
    try:
        page = await context.new_page()
        room = Room(context, page, url)
        yield room
        room.check()
    finally:
        try:
            # an answer that a test is still making up for the page would fail on a closed one, and with it the next test
            await context.unroute_all(behavior="ignoreErrors")
            for page in context.pages:
                await page.unroute_all(behavior="ignoreErrors")
            await context.close()
        except Error as error:
            raise AssertionError(f"the browser is gone: {error}") from error
