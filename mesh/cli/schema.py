"""The contracts as the command reads them: a pool straight from the descriptor set, ten times as fast as loading every stub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from tooloo.event.v1 import options_pb2

from mesh import contracts, prose
from mesh.catalogue import SERVICES, ServiceSpec
from mesh.cli.console import Code, Failure

_VARIABLE = re.compile(r"\{(\w+)\}")
HTTP_BODY = "google.api.HttpBody"
REQUEST_ID = "request_id"


@dataclass(frozen=True)
class Rpc:
    """One RPC of the contracts."""

    method: MethodDescriptor

    @property
    def name(self) -> str:
        """Full name, e.g. "tooloo.learning.v1.LearningService/StartTraining"."""
        return f"{self.service}/{self.method.name}"

    @property
    def service(self) -> str:
        """Full name of its gRPC service."""
        return str(self.method.containing_service.full_name)

    @property
    def request(self) -> Descriptor:
        """What it takes."""
        return self.method.input_type

    @property
    def response(self) -> Descriptor:
        """What it answers."""
        return self.method.output_type

    @cached_property
    def description(self) -> str:
        """Its comment."""
        return prose.unwrapped(contracts.comment(self.method.containing_service.file.name, _path(self.method)))

    @cached_property
    def places(self) -> tuple[str, ...]:
        """The fields that its REST path names, in order: what the call is about, e.g. ("subscription", "position")."""
        options = self.method.GetOptions()
        if not options.HasExtension(annotations_pb2.http):
            return ()
        rule = options.Extensions[annotations_pb2.http]
        path = getattr(rule, rule.WhichOneof("pattern") or "get")
        return tuple(_VARIABLE.findall(path)) if isinstance(path, str) else ()


def _path(method: MethodDescriptor) -> tuple[int, ...]:
    """Where a method stands in its file, as source info counts: 6 is a file's services, 2 a service's methods."""
    return (6, method.containing_service.index, 2, method.index)


class Schema:
    """Every message, RPC and event type of the contracts, and of descriptor sets that were added to them."""

    def __init__(self, extra: Sequence[str] = ()) -> None:
        self.pool = descriptor_pool.DescriptorPool()
        self._files = [*contracts.descriptor_set().file]
        known = {file.name for file in self._files}
        self._files += [file for path in extra for file in _read(path) if file.name not in known]
        for file in self._files:
            self.pool.AddSerializedFile(file.SerializeToString())

    def new(self, message: Descriptor | str) -> Message:
        """An empty message, by descriptor or full name."""
        found = self.pool.FindMessageTypeByName(message) if isinstance(message, str) else message
        return message_factory.GetMessageClass(found)()

    @cached_property
    def rpcs(self) -> Mapping[str, Rpc]:
        """Every RPC that a service of the catalogue answers, by full name."""
        return {rpc.name: rpc for spec in SERVICES for rpc in self.of_service(spec)}

    def of_service(self, spec: ServiceSpec) -> Iterator[Rpc]:
        """The RPCs of one service of the mesh, over all of its gRPC services."""
        for name in spec.grpc_services:
            service: ServiceDescriptor = self.pool.FindServiceByName(name)
            yield from (Rpc(method) for method in service.methods)

    @cached_property
    def events(self) -> Mapping[str, tuple[str, str]]:
        """Every event type: the full name of its message and who owns it."""
        return dict(_events(self._files))


def _events(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> Iterator[tuple[str, tuple[str, str]]]:
    for file in files:
        for message in file.message_type:
            if message.options.HasExtension(options_pb2.event):
                event = message.options.Extensions[options_pb2.event]
                yield event.type, (f"{file.package}.{message.name}".lstrip("."), event.owner)


def _read(path: str) -> Iterable[descriptor_pb2.FileDescriptorProto]:
    try:
        return descriptor_pb2.FileDescriptorSet.FromString(Path(path).read_bytes()).file
    except (OSError, DecodeError) as error:
        raise Failure(
            f"the descriptor set {path} cannot be read: {error}", "correct the setting TOOLOO_EXTRA_CONTRACTS", Code.USAGE
        ) from error


@cache
def load(extra: tuple[str, ...] = ()) -> Schema:
    """The contracts, read once; `extra` are paths of other people's descriptor sets."""
    return Schema(extra)
