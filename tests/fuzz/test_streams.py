"""The beginning of a stream, whatever it is asked for: events as they are written, or a refusal like any other."""

from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.strategies import sampled_from

from tests.fuzz.refusals import fault_of
from tests.fuzz.world import Known
from tests.support.mesh import Mesh

# one stream in how many other cases
_SHARE = 15
_HEADERS_SECONDS = 40
# a stream may be silent longer than this; what comes later is more of the same
_READ_SECONDS = 0.2
_LAST_EVENTS = ("", "0", "7", "9999999999999999999", "x")
_STREAMS = ("/api/v1/events/follow", "/api/v1/runs/{runId}/watch")
_ACCEPT = "text/event-stream"


def beginning(target: str, path: str, headers: Mapping[str, str]) -> httpx.Response:
    """A response whose content is what came in time."""
    connection = HTTPConnection(target, timeout=_HEADERS_SECONDS)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        if response.status != HTTPStatus.OK:
            return httpx.Response(response.status, headers=response.getheaders(), content=response.read())
        connection.sock.settimeout(_READ_SECONDS)
        return httpx.Response(response.status, headers=response.getheaders(), content=_first_part(response))
    finally:
        connection.close()


def _first_part(response: HTTPResponse) -> bytes:
    try:
        return response.read1(65_536)
    except TimeoutError:
        return b""


def fault_of_stream(answer: httpx.Response) -> str:
    """What is wrong with the beginning of a stream; "" when nothing is."""
    if answer.status_code != HTTPStatus.OK:
        return fault_of(answer.status_code, answer.headers, answer.content)
    if not answer.headers["content-type"].startswith(_ACCEPT):
        return f"a stream of {answer.headers['content-type']}"
    fields = (b"id:", b"data:", b"event:", b"retry:", b":")
    # what came may end anywhere in a line
    whole = answer.content[: answer.content.rfind(b"\n") + 1]
    odd = [line for line in whole.splitlines() if line and not line.startswith(fields)]
    return f"lines that no event stream has: {odd[:3]}" if odd else ""


@pytest.mark.parametrize("path", _STREAMS)
def test_a_stream_begins_or_is_refused(mesh: Mesh, known: Known, cases: int, seed: int, path: str) -> None:
    """Random queries, valid and not."""
    operation = schemathesis.openapi.from_url(f"{mesh.url}/openapi.json")[path]["GET"]
    faults = []

    statuses: Counter[int] = Counter()
    examples = -(-cases // _SHARE)

    @seeded(seed)
    @settings(max_examples=examples, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(), run=sampled_from([*known["runId"], ""]), last=sampled_from(_LAST_EVENTS))
    def follow(case: schemathesis.Case[Any], run: str, last: str) -> None:
        if run and case.path_parameters:
            case.path_parameters["runId"] = run
        call = case.as_transport_kwargs(base_url=mesh.url)
        url = httpx.URL(call["url"], params=call["params"])
        headers = {"accept": _ACCEPT} | ({"last-event-id": last} if last else {})
        answer = beginning(mesh.target, url.raw_path.decode(), headers)
        statuses[answer.status_code] += 1
        if fault := fault_of_stream(answer):
            faults.append(f"{url} {headers}: {fault}")

    follow()
    print(f"{path}: seed {seed}, statuses {dict(statuses)}")
    assert not faults, "\n".join(faults)
