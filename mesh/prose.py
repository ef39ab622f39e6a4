"""The comments of the contracts by the full name of what they stand at."""

from collections.abc import Iterator
from functools import cache

from google.protobuf import descriptor_pb2

from mesh import contracts

# field numbers of descriptor.proto, as a SourceCodeInfo path uses them
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED, _NESTED_ENUMS, _VALUES = 2, 3, 4, 2
Found = Iterator[tuple[str, str]]


@cache
def prose() -> dict[str, str]:
    """Comment by full name, e.g. "tooloo.bus.v1.Nack.park"; "" for what has none."""
    return {name: unwrapped(text) for file in contracts.our_files() for name, text in _file(file)}


def of(full_name: str) -> str:
    """The comment of one element; "" for what is not ours or has none."""
    return prose().get(full_name, "")


def unwrapped(text: str) -> str:
    """Comment lines as one paragraph each: line breaks of the source are no line breaks of the text."""
    paragraphs = "\n".join(line.strip() for line in text.splitlines()).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs).strip()


def _file(file: descriptor_pb2.FileDescriptorProto) -> Found:
    for index, message in enumerate(file.message_type):
        yield from _message(file.name, message, (_MESSAGES, index), f"{file.package}.{message.name}")
    for index, enum in enumerate(file.enum_type):
        yield from _enum(file.name, enum, (_ENUMS, index), f"{file.package}.{enum.name}")
    for index, service in enumerate(file.service):
        yield f"{file.package}.{service.name}", contracts.comment(file.name, (_SERVICES, index))


def _message(file: str, message: descriptor_pb2.DescriptorProto, path: tuple[int, ...], name: str) -> Found:
    yield name, contracts.comment(file, path)
    for index, field in enumerate(message.field):
        yield f"{name}.{field.name}", contracts.comment(file, (*path, _FIELDS, index))
    for index, nested in enumerate(message.nested_type):
        if nested.options.map_entry:
            # made by protoc for a map; nobody wrote it
            continue
        yield from _message(file, nested, (*path, _NESTED, index), f"{name}.{nested.name}")
    for index, enum in enumerate(message.enum_type):
        yield from _enum(file, enum, (*path, _NESTED_ENUMS, index), f"{name}.{enum.name}")


def _enum(file: str, enum: descriptor_pb2.EnumDescriptorProto, path: tuple[int, ...], name: str) -> Found:
    yield name, contracts.comment(file, path)
    for index, value in enumerate(enum.value):
        yield f"{name}.{value.name}", contracts.comment(file, (*path, _VALUES, index))
