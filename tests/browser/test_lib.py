"""What pages are made of, where a test of a page would not reach every case: values for people, filters, streams in pieces."""

from typing import Any

import pytest
from playwright.async_api import expect

from envoy.pages import assets_base
from gateway.assembly import PAGES
from tests.browser.room import Room

CASES = [
    ("format.js", "duration", ["0.000850s"], "850 µs"),
    ("format.js", "duration", [0.0124], "12 ms"),
    ("format.js", "duration", ["3.4s"], "3.4 s"),
    ("format.js", "duration", [7200], "2 h"),
    ("format.js", "duration", [""], "–"),
    ("format.js", "bytes", [999], "999 B"),
    ("format.js", "bytes", ["1500000"], "1.5 MB"),
    ("format.js", "money", [{"currencyCode": "USD", "units": "-1", "nanos": -500_000_000}], "-$1.50"),
    ("format.js", "money", [{"currencyCode": "EUR", "units": "0", "nanos": 1_234_000}], "€0.001234"),
    ("format.js", "word", ["SERVING_STATE_NOT_SERVING", "SERVING_STATE_"], "not serving"),
    ("filter.js", "matches", [{"types": ["budget.*"]}, {"type": "budget.spent", "source": "a", "subject": "b"}], True),
    ("filter.js", "matches", [{"types": ["budget.*"]}, {"type": "budgets.spent", "source": "a", "subject": "b"}], False),
    ("filter.js", "matches", [{"sources": ["c"]}, {"type": "t.u", "source": "a", "subject": "b"}], False),
    ("filter.js", "matches", [{"subjectPrefix": "users/a"}, {"type": "t.u", "source": "a", "subject": "users/ada"}], True),
    (
        "api.js",
        "address",
        ["/a", {"f": {"types": ["x", "y"], "cel": ""}, "pageSize": 5}],
        "/a?f.types=x&f.types=y&pageSize=5",
    ),
    ("router.js", "link", [["calls", "a.B", "C d"], {"q": "x y", "none": ""}], "#/calls/a.B/C%20d?q=x+y"),
]
PIECES = """async (base) => {
  const { readSse } = await import(`${base}lib/sse.js`)
  const text = ': heartbeat\\n\\nid: 1\\nevent: a\\ndata: {"x":"ä"}\\n\\ndata: one\\ndata: two\\r\\n\\r\\n'
  const bytes = new TextEncoder().encode(text)
  const found = []
  for (const size of [1, 7, 1000]) {
    const heard = []
    const body = new ReadableStream({ start(to) {
      for (let at = 0; at < bytes.length; at += size) to.enqueue(bytes.slice(at, at + size))
      to.close()
    } })
    await readSse(new Response(body), (messages) => heard.push(...messages))
    found.push(heard)
  }
  return found
}"""


async def test_values_filters_and_addresses(room: Room) -> None:
    """Each function gives what stands beside it."""
    await room.open("")
    for module, name, given, expected in CASES:
        path = f"{assets_base(PAGES)}lib/{module}"
        call = "async ([path, name, given]) => (await import(path))[name](...given)"
        found: Any = await room.page.evaluate(call, [path, name, given])
        assert found == expected, (name, given)


async def test_a_stream_is_read_whatever_its_pieces(room: Room) -> None:
    """Cut anywhere, even within a letter, the messages are the same; comments are none."""
    await room.open("")
    whole = [{"id": "1", "type": "a", "data": '{"x":"ä"}'}, {"id": "", "type": "message", "data": "one\ntwo"}]
    assert await room.page.evaluate(PIECES, assets_base(PAGES)) == [whole] * 3


@pytest.mark.parametrize("name", ["segmentation"])
async def test_a_further_service_is_drawn_by_itself(room: Room, name: str) -> None:
    """Also where the browser has no shared workers, and each tab has a hub of its own."""
    await room.page.add_init_script("delete globalThis.SharedWorker")

    async def with_one_more(route: Any) -> None:
        answer = await (await route.fetch()).json()
        answer["services"].append(dict(answer["services"][0], service=name))
        await route.fulfill(json=answer)

    await room.page.route("**/health", with_one_more)
    page = await room.open("mesh")
    await page.locator(f".drawing a.good[data-service={name}]").wait_for()
    await room.row(name).wait_for()


async def test_nothing_is_said_to_serve_when_the_mesh_falls_silent(room: Room) -> None:
    """What was drawn stays, but its states are unknown, until there is an answer again."""
    room.allow("ERR_FAILED")
    await room.page.add_init_script("delete globalThis.SharedWorker")
    page = await room.open("mesh")
    node = page.locator(".drawing a[data-service=learning]")
    await expect(node).to_contain_text("serving")
    await page.route("**/health", lambda route: route.abort())
    await expect(node).to_contain_text("unknown")
    await expect(page.get_by_role("alert")).to_contain_text("does not answer")
    await expect(page.locator("header.frame .state.bad")).to_have_text("no answer")
    await page.unroute("**/health")
    await expect(node).to_contain_text("serving")


CONNECTIONS = """async (base) => {
  const { Hub } = await import(`${base}lib/hub.js`)
  const { port1, port2 } = new MessageChannel()
  new Hub().connect(port2)
  const states = {}
  const until = async (holds) => { while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20)) }
  port1.onmessage = ({ data }) => { if (data.status) states[data.id] = data.status.refusal?.reason ?? data.status.state }
  for (let id = 1; id <= 6; id++) {
    port1.postMessage({ open: id, topic: { kind: 'watch', path: `/api/v1/events/follow?subjectPrefix=nothing${id}` } })
  }
  await until(() => states[6] && [1, 2, 3, 4].every((id) => states[id] === 'live'))
  const before = { ...states }
  port1.postMessage({ close: 1 })
  await until(() => states[5] === 'live')
  port1.postMessage({ close: 2 })
  await until(() => states[6] === 'live')
  port1.postMessage({ leave: true })
  return before
}"""


async def test_a_browser_keeps_connections_free_for_calls(room: Room) -> None:
    """The fifth stream and those after it wait for their turn, say so, and begin by themselves when another one ends."""
    await room.open("calls")
    before = await room.page.evaluate(CONNECTIONS, assets_base(PAGES))
    assert before == {str(number): "live" for number in range(1, 5)} | dict.fromkeys("56", "BROWSER_CONNECTIONS")
