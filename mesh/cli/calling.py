"""Calls through the door by gRPC: one channel, any RPC of the contracts, and refusals as failures of the command."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from mesh import instance
from mesh.address import here
from mesh.cli import refusing, watching
from mesh.cli.console import Code, Console, Failure
from mesh.cli.schema import Rpc, Schema, load
from mesh.instance import FolderError

if TYPE_CHECKING:
    import grpc

# longer than any one answer of the mesh: a limit of the door holds anyway
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),
]
_HERE = ("127.", "localhost:", "[::1]:")


def _options(target: str) -> list[tuple[str, Any]]:
    """A mesh on this machine stands behind no proxy of the environment's, one elsewhere may."""
    return [*_OPTIONS, ("grpc.enable_http_proxy", 0)] if target.startswith(_HERE) else _OPTIONS


def _grpc() -> ModuleType:
    """Half of what a command costs, and not every command calls; its remarks about connections say less than our failures do."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return importlib.import_module("grpc")


class Caller:
    """Makes calls of one command; `with` it."""

    def __init__(self, console: Console, timeout: float | None = None) -> None:
        self._console = console
        self._timeout = timeout
        self._unsent: Failure | None = None
        self.schema: Schema = load(console.settings.extra_contracts)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        if "_channel" in self.__dict__:
            self._channel.close()

    @cached_property
    def _channel(self) -> grpc.Channel:
        channel: grpc.Channel = _grpc().insecure_channel(self._console.target, options=_options(self._console.target))
        return channel

    def call(self, name: str, /, **fields: Any) -> Any:
        """The answer of a unary RPC by its full name, with the request's fields as they stand in Python."""
        rpc = self.schema.rpcs[name]
        request = type(self.schema.new(rpc.request))(**fields)
        return self.unary(rpc, request)

    def unary(self, rpc: Rpc, request: Message) -> Message:
        """The answer of a call with one answer; Failure when it is refused or nothing answers."""
        with self._failures(rpc):
            answer: Message = self._invoke(rpc)(request)
            return answer

    def answers(self, rpc: Rpc, requests: Iterable[Message], silence: float | None = None) -> Iterator[Message]:
        """The answers of any call, as they come; Failure when it is refused, breaks, or is silent for so many seconds."""
        given = self._sent(requests) if rpc.method.client_streaming else next(iter(requests))
        if not rpc.method.server_streaming:
            with self._failures(rpc):
                yield self._invoke(rpc)(given)
            return
        with self._failures(rpc), watching.noted() as interrupts:
            yield from watching.watched(self._invoke(rpc)(given), interrupts, silence)

    def _sent(self, requests: Iterable[Message]) -> Iterator[Message]:
        """The requests of a stream; gRPC reads them in a thread of its own and would hide why there are no more."""
        try:
            yield from requests
        except Failure as failure:
            self._unsent = failure
            raise

    def _invoke(self, rpc: Rpc) -> Any:
        """What makes the call: gRPC has one for each of the four kinds."""
        method = rpc.method
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        response = type(self.schema.new(rpc.response))
        call = getattr(self._channel, kind)(
            f"/{rpc.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        return lambda request: call(request, timeout=self._timeout)

    @contextmanager
    def _failures(self, rpc: Rpc) -> Iterator[None]:
        try:
            yield
        except _grpc().RpcError as error:
            if self._unsent:
                raise self._unsent from error
            failed = refusing.failure(self.schema, error, rpc, self._console.target)
            if failed.code == Code.UNREACHABLE and not failed.next_step:
                failed.next_step = next_step_where_nothing_answers(self._console)
            raise failed from error


def next_step_where_nothing_answers(console: Console) -> str:
    """What helps when nothing answers: whether a mesh runs on this data folder, and behind which door."""
    found = None
    with suppress(FolderError):
        found = instance.running(console.settings.data_folder)
    if found is None or not found.pid:
        return "start the mesh with: tooloo up"
    if console.target.endswith(f":{found.door_port}"):
        return f"the mesh of this data folder runs (process {found.pid}), its door does not answer: tooloo doctor"
    return f"the mesh of this data folder has its door elsewhere: tooloo --door {here(found.listen_address)}:{found.door_port} ..."
