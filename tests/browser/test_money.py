"""The page Money: spend over time, budgets with their thresholds, why a model was chosen, models that can be had."""

import csv
import re
from typing import Any

from playwright.async_api import expect

from tests.browser.filled import call, fill
from tests.browser.room import Room
from tests.journeys.steps import all_heard
from tests.support.mesh import Mesh, eventually


async def test_spend_over_time_by_provider_and_model(room: Room, mesh: Mesh) -> None:
    """A chart with the same figures as a table, and the same as CSV; what nobody said the provider of is among the others."""
    await fill(mesh)
    spent = {"currencyCode": "USD", "nanos": 20_000_000}
    made = await call(mesh, "POST", "budget/reserve", json={"amount": spent, "labels": {"team": "red"}})
    await call(mesh, "POST", "budget/settle", json={"reservationId": made["reservation"]["reservationId"], "cost": spent})
    page = await room.open("money")
    await expect(page.locator(".chart canvas")).to_be_visible()
    sums = page.get_by_role("region", name="Spend by provider")
    await expect(sums).to_contain_text("anthropic")
    await expect(sums).to_contain_text("not said")
    # in the chart's legend and in its table
    await expect(page.locator("th", has_text="others")).to_have_count(2)
    await room.shot("money")
    await room.shot("money-360", narrow=True)
    await page.get_by_role("button", name="by model").click()
    await expect(room.row("openai/gpt-5-mini").first).to_be_visible()
    async with page.expect_download() as started:
        await page.get_by_role("link", name="Download as CSV").click()
    path = await (await started.value).path()
    keys = [row["model"] for row in csv.DictReader(path.read_text().splitlines())]
    assert "openai/gpt-5-mini" in keys


# how many dots of a canvas have the colour that the sheet gives to grid lines now
_GRID = """(canvas) => {
  const probe = document.body.appendChild(document.createElement('span'))
  probe.style.color = 'var(--line)'
  const [red, green, blue] = getComputedStyle(probe).color.match(/\\d+/g).map(Number)
  probe.remove()
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
  const wanted = [red, green, blue, 255].join()
  let found = 0
  for (let at = 0; at < data.length; at += 4) if (data.slice(at, at + 4).join() === wanted) found++
  return found
}"""


async def test_a_chart_is_drawn_anew_at_dusk(room: Room, mesh: Mesh) -> None:
    """No sheet reaches the colours on a canvas: it is drawn again when the system turns dark, and when a key changes the theme."""
    await fill(mesh)
    page = await room.open("money")
    canvas = page.locator(".chart canvas")
    room.allow("willReadFrequently")
    await eventually(lambda: canvas.evaluate(_GRID), lambda dots: dots > 100)
    await page.emulate_media(color_scheme="dark")
    await eventually(lambda: canvas.evaluate(_GRID), lambda dots: dots > 100)
    await page.keyboard.press("t")
    await eventually(lambda: canvas.evaluate(_GRID), lambda dots: dots > 100)


async def test_budgets_with_their_thresholds(room: Room, mesh: Mesh) -> None:
    """What is spent of each, what was told, and the period against the limit."""
    await fill(mesh)
    # today, for the mesh may have been filled the day before
    spent = {"providerId": "openai", "model": "gpt-5-mini", "userId": "mika", "cost": {"currencyCode": "USD", "units": "1"}}
    await call(mesh, "POST", "budget/track", json={**spent, "labels": {"team": "red"}})
    page = await room.open("money?tab=budgets")
    await expect(room.row("Team red, a day")).to_contain_text("50 %, 80 %, 100 %")
    await room.row("Team red, a day").get_by_role("button").click()
    panel = page.get_by_role("region", name="Team red, a day")
    await expect(panel.locator(".chart canvas")).to_be_visible()
    await expect(panel).to_contain_text("team red, a day")
    await room.shot("budgets")
    await room.axe_everywhere()


async def test_why_a_model_was_chosen(room: Room, mesh: Mesh) -> None:
    """The newest choices; one opens with every candidate by rank and what was out, and why."""
    await fill(mesh)
    demands = {"capabilities": ["vision"]}
    asked = {"userId": "why-ada", "query": "What is on this picture?", "focusArea": "art", "constraints": demands}
    chosen = await call(mesh, "POST", "providers/select", json=asked)
    page = await room.open("money?tab=choices&user=why-ada")
    await room.row(chosen["model"]).get_by_role("button").click()
    why = page.get_by_role("dialog", name="Why this model")
    await expect(why.get_by_text("chosen", exact=True)).to_be_visible()
    ranked = [each for each in chosen["candidates"] if each["exclusion"] == "EXCLUSION_REASON_UNSPECIFIED"]
    rows = why.get_by_role("region", name="Candidates by rank").get_by_role("row")
    await expect(rows).to_have_count(len(ranked) + 1)
    await expect(rows.nth(1)).to_contain_text(f"{ranked[0]['score']:.3f}")
    out = why.get_by_role("region", name="Models that were out")
    await expect(out.get_by_role("row").nth(1)).to_contain_text("capability")
    await room.shot("why-chosen")
    await room.axe()
    await page.keyboard.press("Escape")
    await expect(why).to_have_count(0)
    await expect(page.get_by_role("button", name=chosen["model"])).to_be_focused()


async def test_models_show_their_quality_as_given_and_as_learned(room: Room, mesh: Mesh) -> None:
    """The registry's figure, what was learned from a rating, and from how many."""
    chosen = await call(mesh, "POST", "providers/select", json={"query": "hello", "userId": "judge"})
    name = chosen["model"]

    async def judged() -> Any:
        [status] = (await call(mesh, "GET", "providers/status", params={"providerId": chosen["providerId"]}))["providers"]
        return next(each for each in status["models"] if each["model"] == name)

    # what others were rated before is known by then
    await all_heard(mesh, "provider")
    before = int((await judged()).get("qualityOutcomes", 0))
    await call(mesh, "POST", "selection/rate", json={"selectionId": chosen["selectionId"], "score": 0.0})
    model = await eventually(judged, lambda it: "learnedQuality" in it and int(it["qualityOutcomes"]) > before)
    await room.open("money?tab=models")
    learned = f"{model['priorQuality']:.2f} → {model['learnedQuality']:.2f} after {model['qualityOutcomes']}"
    await expect(room.row(name).first).to_contain_text(learned)
    await room.axe()


async def test_models_are_taken_out_and_put_back(room: Room, mesh: Mesh) -> None:
    """The state changes in the list, and in what the service says."""
    page = await room.open("money?tab=models")
    # its provider's row names it, too
    row = page.get_by_role("row", name=re.compile("^grok-4.7 "))
    await row.get_by_role("button", name="Take grok-4.7 out").click()
    await expect(row.get_by_role("button", name="Put grok-4.7 back")).to_be_visible()
    await page.get_by_label("only what gets no calls").check()
    await expect(row).to_contain_text("taken out in the control room")
    await room.axe()
    await row.get_by_role("button", name="Put grok-4.7 back").click()
    await expect(row).to_have_count(0)
