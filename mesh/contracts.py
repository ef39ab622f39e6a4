"""The contracts as data: events, calls and routes read from the descriptor set, so that nothing about them is written twice."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tooloo
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from tooloo.event.v1 import options_pb2

# files of others that were added to ours
_added: list[descriptor_pb2.FileDescriptorProto] = []


@dataclass(frozen=True)
class EventType:
    """An entry of the catalogue: dotted name, full name of its message, owning service, the message's comment."""

    type: str
    message: str
    owner: str
    description: str


@dataclass(frozen=True)
class HttpRule:
    """One google.api.http binding: upper-case verb, path template, body selector ("*", a field, or "")."""

    verb: str
    path: str
    body: str


@dataclass(frozen=True)
class Method:
    """One RPC: its full name ("pkg.Service/Rpc"), message classes, streaming, route and comment."""

    name: str
    service: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool
    server_streaming: bool
    http: HttpRule | None
    description: str

    @property
    def unary(self) -> bool:
        """True when one request gets one response."""
        return not (self.client_streaming or self.server_streaming)


def descriptor_path() -> Path:
    """Where the descriptor set lies: inside the installed contracts."""
    return Path(str(tooloo.__path__[0])) / "descriptors.binpb"


@cache
def descriptor_set() -> descriptor_pb2.FileDescriptorSet:
    """The whole descriptor set with imports and comments; what was added stands after ours."""
    return descriptor_pb2.FileDescriptorSet.FromString(descriptor_path().read_bytes())


def add(files: Sequence[descriptor_pb2.FileDescriptorProto]) -> None:
    """Adds checked files, imports first, to pool, descriptor set and catalogue; TypeError from the pool when one cannot be linked.

    mesh.extra_contracts reads and checks them. What read the catalogue before does not see their events.
    """
    known = pool()
    for file in files:
        if not _in_pool(file.name):
            linked = descriptor_pb2.FileDescriptorProto()
            linked.CopyFrom(file)
            linked.ClearField("source_code_info")
            known.AddSerializedFile(linked.SerializeToString())
        descriptor_set().file.append(file)
        _added.append(file)
    catalogue.cache_clear()
    _comments.cache_clear()


def _in_pool(file_name: str) -> bool:
    try:
        pool().FindFileByName(file_name)
    except KeyError:
        return False
    return True


@cache
def _comments() -> dict[tuple[str, tuple[int, ...]], str]:
    """Leading comments by (file, path in the file's descriptor)."""
    return {
        (file.name, tuple(location.path)): location.leading_comments.strip()
        for file in (*our_files(), *_added)
        for location in file.source_code_info.location
        if location.leading_comments
    }


def comment(file: str, path: tuple[int, ...]) -> str:
    """The leading comment of an element, by its source-info path; "" when it has none."""
    return _comments().get((file, path), "")


def our_files() -> Iterator[descriptor_pb2.FileDescriptorProto]:
    """The files of our own contracts, without what they import."""
    return (file for file in descriptor_set().file if file.package.startswith("tooloo."))


@cache
def _load() -> descriptor_pool.DescriptorPool:
    """Imports every stub module, so that the default pool knows every message."""
    for file in our_files():
        importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
    return descriptor_pool.Default()


def pool() -> descriptor_pool.DescriptorPool:
    """A descriptor pool that knows every message of the contracts."""
    return _load()


def message_class(full_name: str) -> type[Message]:
    """The Python class of a message; KeyError when the contracts have none of that name."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(full_name))


def _event_types(file: descriptor_pb2.FileDescriptorProto) -> Iterator[EventType]:
    for index, message in enumerate(file.message_type):
        if message.options.HasExtension(options_pb2.event):
            event = message.options.Extensions[options_pb2.event]
            yield EventType(event.type, f"{file.package}.{message.name}".lstrip("."), event.owner, comment(file.name, (4, index)))


@cache
def catalogue() -> Mapping[str, EventType]:
    """Every event type of the contracts by its dotted name, those that were added among them."""
    found = {entry.type: entry for file in (*our_files(), *_added) for entry in _event_types(file)}
    return dict(sorted(found.items()))


def _http_rule(method: MethodDescriptor) -> HttpRule | None:
    options = method.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return None
    rule = options.Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    return HttpRule(verb.upper(), getattr(rule, verb), rule.body) if verb and verb != "custom" else None


def _method(file: descriptor_pb2.FileDescriptorProto, path: tuple[int, ...], method: MethodDescriptor) -> Method:
    return Method(
        name=f"{method.containing_service.full_name}/{method.name}",
        service=method.containing_service.full_name,
        request=message_factory.GetMessageClass(method.input_type),
        response=message_factory.GetMessageClass(method.output_type),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        http=_http_rule(method),
        description=comment(file.name, path),
    )


@cache
def methods() -> Mapping[str, Method]:
    """Every RPC of the contracts by its full name, e.g. "tooloo.bus.v1.EventBus/Publish"."""
    found = {}
    for file in our_files():
        for service_index, service in enumerate(file.service):
            descriptor = pool().FindServiceByName(f"{file.package}.{service.name}")
            for index, method in enumerate(descriptor.methods):
                entry = _method(file, (6, service_index, 2, index), method)
                found[entry.name] = entry
    return found
