"""The page Runs: a graph watched to its end, a node in detail, retry and cancel, workflows, schedules."""

import asyncio
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from playwright.async_api import Page, Route, expect

from tests.browser.filled import call, fill
from tests.browser.room import Room
from tests.support.mesh import Mesh

LEARNING = "tooloo.learning.v1.LearningService"
NOWHERE = "00000000-0000-7000-8000-000000000000"


def node(page: Page, name: str) -> Any:
    """A node of the graph by its name."""
    return page.get_by_role("region", name="The run as a graph").get_by_role("button", name=re.compile(f"^{name} "))


async def execute(mesh: Mesh, *nodes: dict[str, Any], user: str = "") -> str:
    """Starts a run; gives its id."""
    answer = await call(mesh, "POST", "dag/execute", json={"dag": {"nodes": list(nodes)}, "userId": user})
    return str(answer["runId"])


def waits(name: str, user: str, session: str, backoff: str = "1s") -> dict[str, Any]:
    """A node that is tried again until the learner's session is there."""
    retry = {"maxAttempts": 10, "backoff": backoff, "codes": ["NOT_FOUND"]}
    return {"id": name, "call": f"{LEARNING}/GetSession", "input": {"userId": user, "sessionId": session}, "retry": retry}


async def test_runs_are_listed_and_filtered(room: Room, mesh: Mesh) -> None:
    """All of them, those of a state, those of a user; a row leads to its run."""
    await fill(mesh)
    page = await room.open("runs?user=mika")
    await expect(room.row("the session will not come")).to_contain_text("cancelled")
    await room.shot("runs")
    await room.shot("runs-360", narrow=True)
    await page.get_by_role("button", name="failed", exact=True).click()
    await expect(room.row("the session will not come")).to_have_count(0)
    await room.row("NOT_FOUND").first.click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Run ")


async def test_more_of_a_list_belongs_to_its_filter(room: Room, mesh: Mesh) -> None:
    """Older runs that come when another filter was chosen meanwhile are not put under that one's."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def answer(route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        if "pageToken" in query:
            asked.set()
            await go_on.wait()
        name = "older" if "pageToken" in query else query.get("state", ["newest"])[0]
        run = {"runId": str(uuid4()), "state": "RUN_STATE_FAILED", "reason": f"is {name}", "createTime": "2026-11-22T12:00:00Z"}
        await route.fulfill(json={"runs": [run], "nextPageToken": "older" if name == "newest" else ""})

    await room.context.route("**/api/v1/runs?**", answer)
    page = await room.open("runs")
    await page.get_by_role("button", name="Show more").click()
    await asked.wait()
    await page.get_by_role("button", name="failed", exact=True).click()
    await expect(room.row("is RUN_STATE_FAILED")).to_be_visible()
    async with page.expect_response(lambda response: "pageToken" in response.url) as late:
        go_on.set()
    await (await late.value).finished()
    await page.evaluate("new Promise((resolve) => setTimeout(resolve, 100))")
    # at once: the next run that begins would load the list anew
    assert "is older" not in await page.inner_text("main")


async def test_a_run_is_watched_to_its_end(room: Room, mesh: Mesh) -> None:
    """The graph goes from waiting to done by itself, without a reload; then the outputs are there."""
    user = f"watched-{uuid4().hex[:8]}"
    train = {"id": "train", "call": f"{LEARNING}/StartTraining", "input": {"userId": user, "focusArea": "sql", "roundCount": 1}}
    begun = await call(mesh, "POST", "training/start", json={"userId": f"{user}-2", "focusArea": "sql", "roundCount": 1})
    look = {"id": "look", "call": f"{LEARNING}/GetSession", "input": {"userId": f"{user}-2", "sessionId": begun["sessionId"]}}
    # what it waits for is made when the page has been seen to wait
    retry = {"maxAttempts": 10, "backoff": "0.5s", "maxBackoff": "4s", "codes": ["NOT_FOUND"]}
    held = {"id": "held", "call": "tooloo.bus.v1.EventBus/GetSubscription", "input": {"name": user}, "retry": retry}
    arrives = {
        "id": "arrives",
        "call": f"{LEARNING}/GetSession",
        "input": {"userId": user, "sessionId": NOWHERE},
        "dependsOn": ["held"],
    }
    run_id = await execute(mesh, train, look, held, arrives, {**look, "id": "after", "dependsOn": ["arrives"]})
    page = await room.open(f"runs/{run_id}")
    await expect(node(page, "train")).to_contain_text("succeeded")
    await expect(node(page, "held")).to_contain_text(re.compile("attempt [2-9]"))
    await expect(node(page, "after")).to_contain_text("pending")
    await call(mesh, "POST", "subscriptions", json={"subscription": {"name": user}})
    await expect(node(page, "held")).to_contain_text("succeeded")
    await expect(node(page, "arrives")).to_contain_text("failed")
    await expect(node(page, "after")).to_contain_text("skipped")
    await expect(page.locator(".heading .state")).to_have_text("failed")
    await node(page, "train").click()
    detail = page.get_by_role("region", name="train")
    await expect(detail.get_by_role("region", name="Output of train")).to_contain_text("sessionId")
    await expect(detail.get_by_role("region", name="Input of train")).to_contain_text(user)
    await node(page, "arrives").click()
    await expect(page.locator(".node-error")).to_contain_text("NOT_FOUND")
    await room.shot("run")
    await room.axe_everywhere()
    await room.shot("run-360", narrow=True)


async def test_what_failed_is_retried_and_what_waits_is_cancelled(room: Room, mesh: Mesh) -> None:
    """A retry opens a new run that keeps what had succeeded; cancelling asks first."""
    user = f"retried-{uuid4().hex[:8]}"
    train = {"id": "train", "call": f"{LEARNING}/StartTraining", "input": {"userId": user, "focusArea": "sql", "roundCount": 1}}
    run_id = await execute(mesh, train, waits("arrives", user, NOWHERE, backoff="60s") | {"dependsOn": ["train"]})
    page = await room.open(f"runs/{run_id}")
    await expect(node(page, "train")).to_contain_text("succeeded")
    await page.get_by_role("button", name="Cancel", exact=True).click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
    await expect(page.locator(".heading .state")).to_have_text("cancelled")
    await expect(node(page, "arrives")).to_contain_text("cancelled")
    await page.get_by_role("button", name="Retry what failed").click()
    await expect(page.get_by_role("link", name=f"…{run_id[-8:]}")).to_be_visible()
    await expect(node(page, "train")).to_contain_text("succeeded")
    runs = (await call(mesh, "GET", "runs", params={"userId": ""}))["runs"]
    again = next(run for run in runs if run["retryOfRunId"] == run_id)
    kept = (await call(mesh, "GET", f"runs/{again['runId']}"))["run"]["nodes"][0]
    first = (await call(mesh, "GET", f"runs/{run_id}"))["run"]["nodes"][0]
    assert (kept["output"], kept["startTime"]) == (first["output"], first["startTime"])
    await call(mesh, "POST", f"runs/{again['runId']}/cancel", json={})
    # why it ended is said above the graph, which makes room for it
    await expect(page.locator(".heading .state")).to_have_text("cancelled")
    await node(page, "train").click()
    await page.get_by_role("button", name="Run again from here").click()
    await expect(page.get_by_role("link", name=f"…{again['runId'][-8:]}")).to_be_visible()
    await page.get_by_role("button", name="Cancel", exact=True).click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
    await expect(page.locator(".heading .state")).to_have_text("cancelled")


async def test_a_workflow_is_shown_and_run(room: Room, mesh: Mesh) -> None:
    """Its graph before it runs, and the run that it starts."""
    await fill(mesh)
    page = await room.open("runs?tab=workflows&open=weekly-look")
    graph = page.get_by_role("group", name="weekly-look as a graph")
    await graph.get_by_role("button", name="cheer Complete").click()
    await expect(page.get_by_role("region", name="Input of cheer")).to_contain_text("nodes.overview.output")
    await room.shot("workflows")
    await room.axe()
    await page.get_by_role("button", name="Run it now").click()
    await expect(page.locator(".heading .state")).to_have_text("succeeded")


async def test_schedules_tell_their_next_fires_and_can_be_paused(room: Room, mesh: Mesh) -> None:
    """The next and those after it; paused it fires no more, resumed it does."""
    name = f"pausable {uuid4().hex[:6]}"
    dag = {"nodes": [{"id": "look", "call": f"{LEARNING}/GetTrainingOverview", "input": {"userId": "nobody"}}]}
    body = {"name": name, "schedule": {"cron": "0 5 * * *", "timeZone": "UTC"}, "dag": dag}
    made = await call(mesh, "POST", "task/schedule", json=body)
    page = await room.open("runs?tab=schedules")
    row = room.row(name)
    await row.get_by_text("then 3 more").click()
    await expect(row.get_by_role("listitem")).to_have_count(3)
    await room.shot("schedules")
    await room.axe_everywhere()
    await row.get_by_role("button", name=f"Pause {name}").click()
    await expect(row).to_contain_text("paused")
    assert (await call(mesh, "GET", f"tasks/{made['taskId']}"))["task"]["state"] == "TASK_STATE_PAUSED"
    await row.get_by_role("button", name=f"Resume {name}").click()
    await expect(row).to_contain_text("active")
    await row.get_by_role("button", name=f"Delete {name}").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(row).to_have_count(0)
