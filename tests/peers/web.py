"""A plain HTTP server in a thread, for the far ends that tests have to play themselves; it keeps what it was asked."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Seen:
    """A request as it came in; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What to answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Peer:
    """A running server: its address, what it was asked so far, and what went wrong in it."""

    url: str
    seen: list[Seen] = field(default_factory=list)
    mistakes: list[BaseException] = field(default_factory=list)


@contextmanager
def serving(respond: Callable[[Seen], Reply]) -> Iterator[Peer]:
    """Serves on a free port until the end; an exception in `respond` becomes a 500 and is raised again at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    peer = Peer(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = _handler(peer, respond)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    if peer.mistakes:
        raise peer.mistakes[0]


def _handler(peer: Peer, respond: Callable[[Seen], Reply]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers one request."""

        def handle_one(self) -> None:
            """Takes the request, asks for the reply, sends it."""
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, self.path, headers, self.rfile.read(int(headers.get("content-length", 0))))
            peer.seen.append(seen)
            try:
                reply = respond(seen)
            except Exception as error:  # noqa: BLE001 - any mistake must reach the test, which runs in another thread
                peer.mistakes.append(error)
                reply = Reply(500)
            with suppress(ConnectionError):  # a caller who gave up has no use for it
                self.send_response(reply.status)
                for name, value in {**reply.headers, "content-length": str(len(reply.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

        do_GET = do_POST = do_DELETE = handle_one  # noqa: N815 - the names that http.server looks for

        def log_message(self, format: str, *args: Any) -> None:
            """Keeps quiet."""

    return Handler
