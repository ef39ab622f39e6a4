"""What no client library would send: every oddity of HTTP/1.1 is answered at once, in the one shape."""

import re
import socket

import httpx
import pytest

from tests.fuzz.refusals import fault_of_refusal
from tests.support.mesh import Mesh

_SECONDS = 40
_HOST = b"host: localhost\r\n"
_INFO, _ANALYZE, _DAG = b"/api/v1/system/info", b"/api/v1/intent/analyze", b"/api/v1/dag/execute"
_CALL = b'{"dag": {"nodes": [{"id": "a", "call": "tooloo.system.v1.SystemService/GetSystemInfo", "input": %s}]}}'


def get(path: bytes = _INFO, headers: bytes = b"", method: bytes = b"GET", host: bytes = _HOST) -> bytes:
    """A request without a body."""
    return method + b" " + path + b" HTTP/1.1\r\n" + host + headers + b"\r\n"


def post(body: bytes, headers: bytes = b"", path: bytes = _ANALYZE) -> bytes:
    """A request with a body of its true length."""
    return get(path, b"content-length: %d\r\ncontent-type: application/json\r\n" % len(body) + headers, b"POST") + body


def framed(headers: bytes, body: bytes = b"2\r\n{}\r\n0\r\n\r\n") -> bytes:
    """A request whose headers say how long its body is."""
    return get(_ANALYZE, headers, b"POST") + body


# request, and the statuses that are right for it
ODDITIES: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "name that gRPC does not know": (get(headers=b"fe#: 1\r\n^|~9: 2\r\n"), (200,)),
    "binary header that is not base64": (get(headers=b"x-a-bin: !!!\r\n"), (200,)),
    "headers of gRPC's own": (get(headers=b"grpc-status: x\r\ngrpc-previous-rpc-attempts: x\r\ngrpc-encoding: x\r\n"), (200,)),
    "deadline that is none": (get(headers=b"grpc-timeout: soon\r\n"), (200,)),
    "value in Latin-1": (get(headers=b"x-a: \xe9\xff\r\n"), (200,)),
    "value with a control character": (get(headers=b"x-a: a\x01b\r\n"), (400,)),
    "value with NUL": (get(headers=b"x-a: a\x00b\r\n"), (400,)),
    "trace and cookies of rubbish": (get(headers=b"traceparent: \xff\r\ncookie: \xff\r\nauthorization: \xff\r\n"), (200,)),
    "idempotency key of rubbish": (
        post(b'{"userId": "ada", "focusArea": "python"}', b"idempotency-key: \xff\r\n", b"/api/v1/training/start"),
        (400,),
    ),
    "folded header": (get(headers=b"x-a: 1\r\n  2\r\n"), (200, 400)),
    "space in a name": (get(headers=b"x a: 1\r\n"), (400,)),
    "two hosts": (get(headers=_HOST), (400, 421)),
    "no host": (get(host=b""), (400,)),
    "150 headers": (get(headers=b"".join(b"x-%d: 1\r\n" % number for number in range(150))), (431,)),
    "path of 20,000 characters": (get(b"/api/v1/badges/earned?userId=" + b"a" * 20_000), (400,)),
    "path of 40,000 characters": (get(b"/api/v1/badges/earned?userId=" + b"a" * 40_000), (431,)),
    "query key twice": (get(b"/api/v1/badges/earned?userId=a&userId=b"), (200, 400)),
    "time twice in the query": (get(b"/api/v1/analytics/overview?from=2026-01-01T00:00:00Z&from=2026-01-01T00:00:00Z"), (200, 400)),
    "query that is not UTF-8": (get(b"/api/v1/badges/earned?userId=%ff%fe"), (400,)),
    "query with bytes": (get(b"/api/v1/badges/earned?userId=\xff"), (400,)),
    "query with half an escape": (get(b"/api/v1/badges/earned?userId=%z"), (400,)),
    "field of a field that has none": (get(b"/api/v1/badges/earned?userId.x=a"), (400,)),
    "path with NUL": (get(b"/api/v1/tasks/%00"), (400,)),
    "path that is not UTF-8": (get(b"/api/v1/tasks/%ff"), (400,)),
    # taken for a slash: to the path that has one
    "path with a backslash": (get(b"/api/v1/tasks/a%5Cb"), (307,)),
    "path with a fragment": (get(b"/api/v1/tasks/a#b"), (400,)),
    "unknown method": (get(method=b"BREW"), (400,)),
    "TRACE": (get(method=b"TRACE"), (404, 405)),
    "CONNECT": (get(b"localhost:80", method=b"CONNECT"), (404, 405)),
    "OPTIONS *": (get(b"*", method=b"OPTIONS"), (404, 405)),
    "HTTP/1.0": (b"GET /health HTTP/1.0\r\n\r\n", (426,)),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", (400,)),
    "upgrade": (get(headers=b"connection: upgrade\r\nupgrade: websocket\r\n"), (403,)),
    "length and chunks": (framed(b"transfer-encoding: chunked\r\ncontent-length: 2\r\n"), (400,)),
    # RFC 9112, 6.1: a transfer coding that is not understood is a 501
    "unknown transfer coding": (framed(b"transfer-encoding: rot13\r\n"), (501,)),
    "transfer coding upon chunks": (framed(b"transfer-encoding: gzip, chunked\r\n"), (501,)),
    "chunk of no size": (framed(b"transfer-encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n"), (400,)),
    "negative length": (framed(b"content-length: -2\r\n"), (400,)),
    "two lengths": (framed(b"content-length: 2\r\ncontent-length: 3\r\n"), (400,)),
    "body that is not UTF-8": (post(b'{"text": "\xff"}'), (400,)),
    "lone surrogate": (post(b'{"text": "\\ud800"}'), (400,)),
    "number beyond all": (post(b'{"userId": "ada", "roundCount": 1e999}', path=b"/api/v1/training/start"), (400,)),
    "number of 400 digits": (post(b'{"value": ' + b"9" * 400 + b"}", path=b"/api/v1/analytics/log"), (400,)),
    "not a number": (post(b'{"name": "a", "value": "NaN"}', path=b"/api/v1/analytics/log"), (400,)),
    "something after the body": (post(b'{"userId": "ada", "text": "x"} x'), (400,)),
    "null": (post(b"null"), (400,)),
    "UTF-16": (post('{"userId": "ada"}'.encode("utf-16")), (400,)),
    "objects 10,000 deep": (post(_CALL % (b'{"a":' * 10_000 + b"1" + b"}" * 10_000), path=_DAG), (400,)),
    "objects 60 deep": (post(_CALL % (b'{"a":' * 60 + b"1" + b"}" * 60), path=_DAG), (400,)),
    "lists 60 deep": (post(_CALL % (b'{"a":' + b"[" * 60 + b"1" + b"]" * 60 + b"}"), path=_DAG), (400,)),
    "form": (post(b"text=x"), (400,)),
}


def sent(mesh: Mesh, request: bytes) -> httpx.Response:
    """Sends these bytes; gives the answer, or raises TimeoutError."""
    received = b""
    with socket.create_connection(("127.0.0.1", mesh.door_port), timeout=_SECONDS) as connection:
        connection.sendall(request)
        while not _whole(received):
            part = connection.recv(65_536)
            if not part:
                break
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)


def _whole(received: bytes) -> bool:
    head, ended, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(ended and length and len(body) >= int(length[1]))


@pytest.mark.parametrize("name", ODDITIES)
def test_an_oddity_is_answered_in_the_one_shape(mesh: Mesh, name: str) -> None:
    """With a status that says whose mistake it is."""
    request, statuses = ODDITIES[name]
    answer = sent(mesh, request)
    assert answer.status_code in statuses, answer.text
    if answer.is_error:
        assert not fault_of_refusal(answer.headers, answer.content)
