"""Page Events: the stream as it happens, one event with its causes, subscriptions, dead letters, and one stream for all tabs."""

import re
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import expect
from tooloo.bus.v1 import bus_service_pb2 as bus
from tooloo.bus.v1.bus_service_pb2_grpc import EventBusStub

from tests.browser.room import Room, note, noted
from tests.support.mesh import Mesh, eventually


async def trained(mesh: Mesh, user: str) -> None:
    """A training that ends: five events about this user."""
    async with mesh.rest() as client:
        start = {"userId": user, "focusArea": "python", "roundCount": 1}
        session = (await client.post("/api/v1/training/start", json=start)).raise_for_status().json()
        feedback = {
            "userId": user,
            "sessionId": session["sessionId"],
            "roundId": session["roundId"],
            "score": 0.9,
            "comment": "clear",
        }
        (await client.post("/api/v1/coach/feedback", json=feedback)).raise_for_status()


def someone() -> str:
    """A user that no other test looks at."""
    return f"room-{uuid.uuid4().hex[:8]}"


async def test_an_event_appears_and_tells_what_it_belongs_to(room: Room, mesh: Mesh) -> None:
    """Live, by the filter of the address; its fields are decoded, and the events of the same call stand beside it."""
    user = someone()
    page = await room.open(f"events?subject=users/{user}")
    await expect(page.get_by_text("Nothing that fits has happened yet.")).to_be_visible()
    await trained(mesh, user)
    events = page.get_by_role("list", name="Events, newest first")
    await events.get_by_role("button", name="training.completed").click()
    detail = page.get_by_role("complementary", name="The event")
    await expect(detail.get_by_role("row").filter(has_text="userId")).to_contain_text(user)
    chain = detail.get_by_role("list", name="Causes and effects")
    await expect(chain).to_contain_text("mastery.changed")
    await expect(chain.locator("[aria-current=true]")).to_contain_text("training.completed")
    await expect(detail).to_contain_text("belong together between positions")
    await room.shot("events")
    await room.axe_everywhere()


async def test_a_held_stream_loses_nothing(room: Room, mesh: Mesh) -> None:
    """While it is paused by key, what comes is counted; then it is shown. The types filter what is shown."""
    user = someone()
    page = await room.open(f"events?subject=users/{user}&types=training.*")
    await expect(page.locator("main .state.good")).to_have_text("live")
    await page.keyboard.press("p")
    await trained(mesh, user)
    await expect(page.get_by_role("button", name="2 new, show them")).to_be_visible()
    await expect(page.locator(".events li")).to_have_count(0)
    await page.keyboard.press("p")
    await expect(page.locator(".events li")).to_have_count(2)


async def test_an_expression_is_decided_by_the_bus(room: Room, mesh: Mesh) -> None:
    """One that does not compile is refused in words; one that does finds what has happened before, too."""
    user = someone()
    await trained(mesh, user)
    room.allow("400")
    page = await room.open("events?cel=data.(")
    await expect(page.get_by_role("alert")).to_contain_text("INVALID")
    await page.get_by_label("Expression in CEL").fill(f'type == "training.completed" && data.user_id == "{user}"')
    await page.keyboard.press("Enter")
    await expect(page.locator(".events li")).to_have_count(1)
    await trained(mesh, user)
    await expect(page.locator(".events li")).to_have_count(2)


async def test_the_past_is_read_from_a_moment_on(room: Room, mesh: Mesh) -> None:
    """The first event of the log is the first one shown, and one click leads back to what is live."""
    page = await room.open("events?from=2020-01-01T00:00:00Z")
    await expect(page.locator(".events li").first).to_contain_text("service.started")
    await room.axe()
    await page.get_by_role("button", name="Back to live").click()
    await expect(page.locator("main .state.good")).to_have_text("live")


@asynccontextmanager
async def subscribed(mesh: Mesh, user: str) -> AsyncIterator[str]:
    """A subscription to what is told of this user."""
    name = f"{user}-reader"
    wanted = {"name": name, "filter": {"types": ["training.started"], "subjectPrefix": f"users/{user}"}}
    async with mesh.rest() as client:
        (await client.post("/api/v1/subscriptions", json={"subscription": wanted})).raise_for_status()
        try:
            yield name
        finally:
            await client.delete(f"/api/v1/subscriptions/{name}")


async def handle(mesh: Mesh, subscription: str, **verdict: Any) -> int:
    """Takes one event of the subscription and says what came of it; gives its position."""
    async with mesh.channel() as channel:
        call = EventBusStub(channel).Pull()
        await call.write(bus.PullRequest(subscription=subscription, credit_events=1))
        while True:
            batch = await call.read()
            assert isinstance(batch, bus.PullResponse), "the stream ended"
            if batch.positions:
                break
        position = int(batch.positions[0])
        nacks = [bus.Nack(position=position, **verdict)] if verdict else []
        await call.write(
            bus.PullRequest(fencing_token=batch.fencing_token, nacks=nacks, ack=[] if verdict else [position], leave=True)
        )
        await call.done_writing()
        while await call.read():
            pass
        return position


async def test_a_dead_letter_is_given_out_again(room: Room, mesh: Mesh) -> None:
    """A handler parks an event with a reason; redriven from the page, it comes to the handler again, which now takes it."""
    user = someone()
    async with subscribed(mesh, user) as name:
        await trained(mesh, user)
        parked = await handle(mesh, name, park=True, error="the handler does not know this topic")
        page = await room.open(f"events?view=dead&subscription={name}")
        letter = room.row("the handler does not know this topic")
        await expect(letter).to_contain_text("parked by its handler")
        await letter.get_by_role("button", name="training.started").click()
        dialog = page.get_by_role("dialog", name="training.started")
        await expect(dialog).to_contain_text(user)
        await room.axe()
        await dialog.get_by_role("button", name="Redrive").click()
        await expect(page.get_by_text("No dead letters.")).to_be_visible()
        assert await handle(mesh, name) == parked
        await room.axe_everywhere()


async def test_a_subscription_is_paused_and_goes_on(room: Room, mesh: Mesh) -> None:
    """After a question; its row says so in word and colour."""
    user = someone()
    async with subscribed(mesh, user) as name:
        page = await room.open("events?view=subscriptions")
        row = room.row(name)
        await row.get_by_role("button", name="Pause").click()
        await page.get_by_role("dialog").get_by_role("button", name="Pause").click()
        await expect(row.locator(".state.warn")).to_have_text("paused")
        await row.get_by_role("button", name="Resume").click()
        await expect(row.locator(".state.good")).to_have_text("active")
        await room.axe_everywhere()


async def followers(mesh: Mesh) -> int:
    """Live followers of the bus."""
    async with mesh.rest() as client:
        return int((await client.get("/api/v1/events/stats")).raise_for_status().json()["followers"])


async def test_two_tabs_share_one_stream_that_outlives_the_bus(room: Room, mesh: Mesh) -> None:
    """The bus sees one follower. Killed or ended in good order, the tabs say so, and go on with no event lost or twice."""
    user = someone()
    # those of the tests before are gone when the bus has heard of it
    before = await eventually(lambda: followers(mesh), lambda count: not count)
    address = f"events?subject=users/{user}&types=training.completed"
    first, second = await room.open(address), await room.tab(address)
    for tab in (second, first):
        # a hidden tab is sent nothing until it is seen
        await tab.bring_to_front()
        await expect(tab.locator("main .line")).to_contain_text("one stream for 2 tabs")
    await eventually(lambda: followers(mesh), lambda count: count == before + 1)
    await trained(mesh, user)
    await expect(first.locator(".events li")).to_have_count(1)
    for trainings, how in ((2, signal.SIGKILL), (3, signal.SIGTERM)):
        await note(first.locator("main .line .state"))
        await mesh.kill("bus", how)
        await eventually(lambda: followers(mesh), lambda count: count == before + 1)
        await trained(mesh, user)
        for tab in (second, first):
            await tab.bring_to_front()
            await expect(tab.locator("main .line .state")).to_have_text("live")
            await expect(tab.locator(".events li")).to_have_count(trainings)
        assert any(each.endswith("lost") for each in await noted(first)), await noted(first)
    await second.close()
    await first.bring_to_front()
    await expect(first.locator("main .line")).not_to_contain_text(re.compile("one stream for"))
