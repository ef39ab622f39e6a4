"""One call from a command line: the request out of its words and options, the answers as they come."""

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.message import Message

from mesh.cli import printing, requests, streaming
from mesh.cli.calling import Caller
from mesh.cli.console import Console
from mesh.cli.schema import Rpc


def run(console: Console, rpc: Rpc, words: Sequence[str], options: dict[str, Any], timeout: float | None) -> None:
    """Makes the call and prints its answer, or each of its answers at once."""
    with Caller(console, timeout) as caller:
        schema = caller.schema
        if rpc.method.client_streaming:
            given: Iterable[Message] = requests.stream(schema, rpc, words, options)
        else:
            given = [requests.build(schema, rpc, words, options)]
        if rpc.method.server_streaming:
            streaming.show(console, schema, rpc, lambda: caller.answers(rpc, given))
            return
        with console.waiting(rpc.method.name):
            answer = next(caller.answers(rpc, given))
        printing.show(console, schema, answer)
