"""The control room: how soon its first page is usable, what it weighs, and what twenty tabs that follow events cost the mesh.

`python -m bench.room [seconds]` starts a mesh and a Chromium; prints two tables. Each load is a browser that has never been there;
bytes are what the door sent, headers and all. The tabs are measured at 200 events a second against the same without tabs: in one
browser, where they share one stream, and as 20 separate clients of the stream. Exit code 1: a bar is missed.
"""

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from google.protobuf.timestamp_pb2 import Timestamp
from playwright.async_api import Browser, Page, async_playwright
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1.bus_service_pb2_grpc import EventBusStub
from tooloo.event.v1.event_pb2 import Event
from tooloo.learning.v1 import learning_events_pb2 as told

from mesh.ids import new_id
from tests.browser.room import CHROMIUM, FLAGS
from tests.support.mesh import Mesh, running_mesh

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
LOADS, TABS, RATE = 9, 20, 200
BAR_SECONDS, BAR_KB, BAR_SHARE = 1.0, 150.0, 0.15
# a service is drawn with its state
_USABLE = ".drawing a.good[data-service=learning]"
# the page's own clock, from the start of the navigation: a driver that looks every now and then would add its own pace
_WATCH = f"""
new MutationObserver(() => {{
  if (globalThis.usable === undefined && document.querySelector('{_USABLE}')) globalThis.usable = performance.now()
}}).observe(document, {{ childList: true, subtree: true, attributes: true }})
"""
_SETTLE = 3.0


@dataclass(frozen=True)
class Load:
    """One load of the first page: seconds until it shows how the mesh does, and kilobytes that the door had sent by then."""

    seconds: float
    kilobytes: float


@dataclass(frozen=True)
class Cost:
    """What the mesh's processes used, as shares of one core, and how many events a second there really were."""

    total: float
    by_process: dict[str, float]
    rate: float


Costs = list[tuple[str, Cost]]


async def _sent(mesh: Mesh) -> float:
    """Kilobytes that the door's main listener has sent to its callers."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{mesh.admin_port}/stats?filter=^http.door.downstream_cx_tx_bytes_total$")
    return float(answer.text.split(":")[1]) / 1000


async def _load(page: Page, mesh: Mesh, *, again: bool = False) -> Load:
    before = await _sent(mesh)
    await (page.reload() if again else page.goto(mesh.url, wait_until="commit"))
    await page.locator(_USABLE).wait_for()
    kilobytes = await _sent(mesh) - before
    return Load(await page.evaluate("usable") / 1000, kilobytes)


async def _loads(browser: Browser, mesh: Mesh) -> tuple[list[Load], list[Load]]:
    """Loads by browsers that were never there, and each one's reload."""
    cold, warm = [], []
    for _ in range(LOADS):
        context = await browser.new_context()
        page = await context.new_page()
        await page.add_init_script(_WATCH)
        cold.append(await _load(page, mesh))
        warm.append(await _load(page, mesh, again=True))
        await context.close()
    return cold, warm


async def _publish(mesh: Mesh, counted: list[int]) -> None:
    """Single events, as services tell them, at an even pace until it is cancelled."""
    async with mesh.channel() as channel:
        stub, due = EventBusStub(channel), time.perf_counter()
        pending: set[asyncio.Task[pb.PublishResponse]] = set()
        while True:
            due += 1 / RATE
            await asyncio.sleep(max(0, due - time.perf_counter()))
            task = asyncio.ensure_future(stub.Publish(pb.PublishRequest(events=[_event()])))
            pending.add(task)
            task.add_done_callback(pending.discard)
            counted[0] += 1


def _event() -> Event:
    session, now = new_id(), Timestamp()
    now.GetCurrentTime()
    event = Event(id=new_id(), type="training.started", source="learning", subject=f"users/ada/sessions/{session}", time=now)
    event.data.Pack(
        told.TrainingStarted(user_id="ada", session_id=session, focus_area="python", domain="python", round_count=3),
        type_url_prefix="type.googleapis.com/",
    )
    return event


def _processes(mesh: Mesh) -> dict[str, psutil.Process]:
    manager = psutil.Process(mesh.pid)
    return {"system": manager} | {_name(child): child for child in manager.children(recursive=True)}


def _name(process: psutil.Process) -> str:
    line = process.cmdline()
    modules = [part.rsplit(".", 1)[-1] for part in line if part.startswith("services.") or part == "bus"]
    return "envoy" if "envoy" in line[0] else (*modules, line[-1])[0]


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _cost(mesh: Mesh) -> Cost:
    """What RATE events a second cost for a while."""
    counted = [0]
    publishing = asyncio.create_task(_publish(mesh, counted))
    await asyncio.sleep(_SETTLE)
    processes = _processes(mesh)
    before, first, began = {name: _used(each) for name, each in processes.items()}, counted[0], time.perf_counter()
    await asyncio.sleep(SECONDS)
    wall = time.perf_counter() - began
    shares = {name: (_used(each) - before[name]) / wall for name, each in processes.items()}
    rate = (counted[0] - first) / wall
    publishing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await publishing
    return Cost(sum(shares.values()), shares, rate)


@asynccontextmanager
async def _tabs(browser: Browser, mesh: Mesh) -> AsyncIterator[None]:
    context = await browser.new_context()
    for _ in range(TABS):
        page = await context.new_page()
        await page.goto(f"{mesh.url}/#/events")
        await page.locator("main .state.good").wait_for()
    yield
    await context.close()


@asynccontextmanager
async def _clients(mesh: Mesh) -> AsyncIterator[None]:
    """Followers over sockets of their own, which read whatever comes; RuntimeError when one missed an event."""
    seen = [0] * TABS

    async def follow(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.door_port)
        writer.write(f"GET /api/v1/events/follow HTTP/1.1\r\nHost: 127.0.0.1:{mesh.door_port}\r\n\r\n".encode())
        async for line in reader:
            seen[number] += line.startswith(b"id:")

    async with asyncio.TaskGroup() as group:
        following = [group.create_task(follow(number)) for number in range(TABS)]
        await asyncio.sleep(1)
        yield
        await asyncio.sleep(1)
        for task in following:
            task.cancel()
    if min(seen) < RATE * SECONDS or min(seen) != max(seen):
        raise RuntimeError(f"the clients saw {min(seen)} to {max(seen)} events")


def _print_loads(cold: list[Load], warm: list[Load]) -> bool:
    print(f"{'the first page, median of ' + str(LOADS):34}{'usable, s':>12}{'slowest, s':>12}{'sent, kB':>12}")
    for title, loads in (("a browser that was never there", cold), ("its reload", warm)):
        seconds, kilobytes = [each.seconds for each in loads], [each.kilobytes for each in loads]
        row = f"{statistics.median(seconds):>12.2f}{max(seconds):>12.2f}{statistics.median(kilobytes):>12.0f}"
        print(f"{title:34}{row}")
    reached = statistics.median(each.seconds for each in cold) < BAR_SECONDS and max(each.kilobytes for each in cold) < BAR_KB
    print(f"bar: below {BAR_SECONDS:.0f} s and {BAR_KB:.0f} kB: {'reached' if reached else 'MISSED'}\n")
    return reached


def _print_costs(costs: Costs) -> bool:
    """What the followers add is told against the mean of the turns before and after, as minutes of a machine differ."""
    print(f"{f'{RATE} events a second':34}{'of a core':>12}{'for them':>12}{'bus':>8}{'envoy':>8}{'system':>8}{'events/s':>10}")
    reached = True
    for index, (title, cost) in enumerate(costs):
        parts = "".join(f"{cost.by_process.get(name, 0):>8.1%}" for name in ("bus", "envoy", "system"))
        more = cost.total - (costs[index - 1][1].total + costs[index + 1][1].total) / 2 if index % 2 else None
        print(f"{title:34}{cost.total:>12.1%}{'' if more is None else f'{more:.1%}':>12}{parts}{cost.rate:>10.0f}")
        reached &= more is None or more < BAR_SHARE
    print(f"bar: {TABS} followers below {BAR_SHARE:.0%} of a core: {'reached' if reached else 'MISSED'}")
    return reached


async def main() -> int:
    """Exit code 1 when a bar is missed; where there is no browser it says what brings one."""
    if not CHROMIUM:
        print("no Chromium on this machine: apt-get install chromium")
        return 0
    with tempfile.TemporaryDirectory() as folder, running_mesh(Path(folder) / "var") as mesh:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
            light = _print_loads(*await _loads(browser, mesh))
            costs: Costs = [("nobody looks", await _cost(mesh))]
            async with _tabs(browser, mesh):
                costs.append((f"{TABS} tabs of one browser", await _cost(mesh)))
            await browser.close()
        costs.append(("nobody looks", await _cost(mesh)))
        async with _clients(mesh):
            costs.append((f"{TABS} clients of the stream", await _cost(mesh)))
        costs.append(("nobody looks", await _cost(mesh)))
        return 0 if _print_costs(costs) and light else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
