"""Page Calls: every call has a form that works, and what is copied from it runs as it is."""

import asyncio
import json
import re
import sys

import pytest
from playwright.async_api import expect

from mesh import contracts
from tests.browser.room import Room
from tests.support.mesh import ROOT, Mesh

START = "tooloo.learning.v1.LearningService/StartTraining"
# opens each call as a person would, fills in the example and looks at each form of code; gives what went wrong
EVERY_CALL = """async () => {
  const settle = () => new Promise((resolve) => setTimeout(resolve, 0))
  const until = async (holds) => {
    const end = performance.now() + 20_000
    while (!holds() && performance.now() < end) await settle()
    return holds()
  }
  const wrong = []
  const links = [...document.querySelectorAll('.calls a')].map((link) => link.getAttribute('href'))
  for (const link of links) {
    const name = link.split('/').pop().split('?')[0]
    location.hash = link
    const opened = await until(() => document.querySelector('.call-name')?.textContent === name)
    if (!opened) wrong.push(`${name} does not open`)
    const example = [...document.querySelectorAll('form button')].find((button) => button.textContent === 'Fill in an example')
    example?.click()
    await settle()
    for (const tab of document.querySelectorAll('article [role=tab]')) {
      tab.click()
      const wanted = tab.id === 'tab-curl' ? 'curl' : name
      const shown = await until(() => document.querySelector('[data-snippet]')?.textContent.includes(wanted))
      if (!shown) wrong.push(`${name} as ${tab.id}`)
    }
  }
  return { wrong, names: links.map((link) => decodeURIComponent(link).split('?')[0].split('#/calls/')[1]) }
}"""


async def test_every_call_of_the_contracts_has_its_form_and_its_code(room: Room) -> None:
    """None is missing, and none makes the page stumble."""
    page = await room.open("calls")
    await expect(page.get_by_text(f"{len(contracts.methods())} of {len(contracts.methods())} calls")).to_be_visible()
    found = await page.evaluate(EVERY_CALL)
    assert found["wrong"] == []
    assert sorted(found["names"]) == sorted(contracts.methods())


async def test_a_call_is_found_tried_and_refused_in_words(room: Room) -> None:
    """By keyboard: search, fill in, call. A refusal stands at the field that it names; then the answer comes with its time."""
    room.allow("status of 400")
    page = await room.open("calls")
    # before there is one, letters are the keys of the frame
    await expect(page.get_by_role("searchbox")).to_be_visible()
    await page.keyboard.press("/")
    await page.keyboard.type("training start")
    # until then the list moves under the pointer
    await expect(page.get_by_text("1 of ")).to_be_visible()
    await page.get_by_role("link", name="StartTraining").click()
    await expect(page.get_by_text("Opens a session and its first round")).to_be_visible()
    await page.get_by_label("userId").fill("room")
    await page.get_by_label("focusArea").fill("python")
    await page.get_by_label("roundCount").fill("1000")
    await page.keyboard.press("Enter")
    answer = page.get_by_role("region", name="Answer").first
    await expect(answer).to_contain_text("INVALID_FIELD")
    await expect(page.get_by_label("roundCount")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("roundCount").fill("2")
    await page.keyboard.press("Enter")
    await expect(answer).to_contain_text(re.compile(r"Answered HTTP 200 · [\d.]+ (ms|µs|s)"))
    await expect(answer).to_contain_text('"sessionId"')
    await room.shot("calls")
    await room.axe_everywhere()


async def test_nested_fields_lists_and_choices_are_sent_as_they_are_filled_in(room: Room) -> None:
    """A subscription with a filter of two types that begins at the beginning: the bus gives back what was typed."""
    page = await room.open("calls/tooloo.bus.v1.EventBus/CreateSubscription")
    for part in ("subscription", "filter", "types", "types"):
        await page.get_by_role("button", name=f"Add {part}", exact=True).click()
    await page.get_by_label(re.compile("^name")).fill("room-by-form")
    await page.get_by_label("types 1").fill("training.*")
    await page.get_by_label("types 2").fill("budget.*")
    await page.get_by_role("button", name="Add start", exact=True).click()
    await page.get_by_label(re.compile("One of afterPosition")).select_option("beginning")
    await page.get_by_label(re.compile("^beginning")).check()
    await page.get_by_label("ackDeadline").fill("12s")
    await page.get_by_role("button", name="Call", exact=True).click()
    made = page.get_by_role("region", name="Answer").last
    await expect(page.get_by_text(re.compile("Answered HTTP 200"))).to_be_visible()
    for text in ('"training.*"', '"budget.*"', '"beginning": true', '"12s"'):
        await expect(page.locator(".answer .json")).to_contain_text(text)
    assert made
    await page.goto(f"{room.url}/#/calls/tooloo.bus.v1.EventBus/DeleteSubscription?name=room-by-form")
    await page.get_by_role("button", name="Call", exact=True).click()
    await expect(page.get_by_text(re.compile("Answered HTTP 200"))).to_be_visible()


async def test_an_answer_of_many_numbers(room: Room, mesh: Mesh) -> None:
    """An embedding of 1536 numbers is shown like any answer, all of them; the command shows its beginning in a line."""
    asked = {"texts": ["what is a monad?"], "model": "local/hashed-words", "dimensions": 1536}
    page = await room.open("calls/tooloo.provider.v1.CompletionService/Embed?model=local/hashed-words&dimensions=1536")
    await page.get_by_role("button", name="Add texts", exact=True).click()
    await page.get_by_label("texts 1").fill("what is a monad?")
    await page.get_by_role("button", name="Call", exact=True).click()
    await expect(page.get_by_text(re.compile("Answered HTTP 200"))).to_be_visible()
    shown = json.loads(await page.locator(".answer .json").inner_text())
    assert [len(each["values"]) for each in shown["embeddings"]] == [shown["dimensions"]] == [1536]
    command = [sys.executable, "-m", "mesh.cli", "provider", "embed", json.dumps(asked)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=mesh.env, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    name, line = out.decode().splitlines()[:2]
    assert (name, line[-9:]) == ("VALUES", "… of 1536")


async def test_a_stream_is_followed_until_it_is_stopped(room: Room) -> None:
    """Its messages come one by one."""
    page = await room.open("calls/tooloo.system.v1.SystemService/WatchTraffic?interval=0.5s")
    await page.get_by_role("button", name="Follow").click()
    await expect(page.get_by_role("region", name="Message 2")).to_contain_text('"callsPerSecond"')
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_text("Stopped")).to_be_visible()


@pytest.mark.parametrize("form", ["curl", "grpcio", "Stub code", "tooloo"])
async def test_what_is_copied_runs(room: Room, mesh: Mesh, form: str) -> None:
    """Each form makes the same call and gets its answer."""
    page = await room.open(f'calls/{START}?userId=room-copied&focusArea=it\'s 100%25 "quoted"&roundCount=2')
    await page.get_by_role("tab", name=form, exact=True).click()
    code = await page.locator("[data-snippet]").inner_text()
    if form == "tooloo":
        code = code.replace("tooloo ", f"{sys.executable} -m mesh.cli ", 1)
    program = ["bash", "-c", code] if form in {"curl", "tooloo"} else [sys.executable, "-c", code]
    process = await asyncio.create_subprocess_exec(
        *program, cwd=ROOT, env=mesh.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, problem = await process.communicate()
    assert process.returncode == 0, f"{code}\n{problem.decode()}"
    assert re.search(r"session_?id", out.decode(), re.IGNORECASE), out.decode()
    if form == "curl":
        assert json.loads(out)["session"]["userId"] == "room-copied"
