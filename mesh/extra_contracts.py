"""Other people's contracts: descriptor sets with event types of their own, which the bus then knows as it knows ours.

A set is made with `protoc --include_imports --descriptor_set_out=FILE`; a top-level message that carries the option
`tooloo.event.v1.event` is an event type. It is added when a process boots, before anything reads the catalogue.
"""

import importlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError
from tooloo.event.v1 import options_pb2

from mesh import contracts
from mesh.catalogue import SERVICES
from mesh.contracts import EventType
from mesh.settings import MeshSettings, SettingError

File = descriptor_pb2.FileDescriptorProto
_OURS = "tooloo."
# packages that many sets hold beside their own; whose version stands is known before, and they stay compatible
_SHARED = (_OURS, "google.", "buf.")
# the envelope's rules: an event type that breaks them could never be published
_TYPE = re.compile(r"(?=.{1,128}$)[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_OWNER = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_HOW = "make it with `protoc --include_imports --descriptor_set_out={path} ...`"


def load(paths: Sequence[str]) -> None:
    """Adds the descriptor sets to the contracts; SettingError, which says what to do, for what cannot be added. Again: nothing."""
    for path in paths:
        files = list(_unknown(path, _read(path)))
        _check_events(path, files)
        try:
            _import_shared(files)
            contracts.add(files)
        except TypeError as error:
            # the pool says which name is missing or taken
            raise _error(path, f"cannot be linked: {error}; {_HOW.format(path=path)} against this mesh's proto/") from error


def _error(path: str, what: str) -> SettingError:
    return SettingError(f"{MeshSettings.env_name('extra_contracts')}: {path} {what}")


def _read(path: str) -> Sequence[File]:
    how = _HOW.format(path=path)
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(Path(path).read_bytes()).file
    except OSError as error:
        raise _error(path, f"cannot be read ({error.strerror}); {how}, or leave it out") from error
    except DecodeError as error:
        raise _error(path, f"is no descriptor set; {how}") from error
    if not any(True for file in files for _ in _events(file)):
        raise _error(path, "holds no event: no top-level message of it carries `option (tooloo.event.v1.event)`")
    return [_as_in_stubs(file) for file in files]


def _unknown(path: str, files: Iterable[File]) -> Iterator[File]:
    """The files that do not stand yet; SettingError for one whose name or package is taken by something else."""
    known = {file.name: file for file in contracts.descriptor_set().file}
    for file in files:
        stands = known.get(file.name)
        if stands is None:
            if f"{file.package}.".startswith(_OURS):
                raise _error(path, f"declares the package {file.package}; names under tooloo are ours: choose your own")
            yield file
        elif not _same(file, stands):
            raise _error(path, f"holds another {file.name} than the one that stands; give your file a path of its own")


def _same(file: File, stands: File) -> bool:
    """Whether two files of one name are one file; of a shared package the versions may differ, but not in what they declare."""
    if f"{stands.package}.".startswith(_SHARED):
        return file.package == stands.package and _declared(file) <= _declared(stands)
    return _without_comments(file) == _without_comments(stands)


def _declared(file: File) -> set[str]:
    return {each.name for kind in (file.message_type, file.enum_type, file.service, file.extension) for each in kind}


def _without_comments(file: File) -> File:
    copy = File()
    copy.CopyFrom(file)
    copy.ClearField("source_code_info")
    return copy


def _events(file: File) -> Iterator[tuple[str, options_pb2.EventOptions]]:
    """The full names of a file's event messages with their options."""
    for message in file.message_type:
        if message.options.HasExtension(options_pb2.event):
            yield f"{file.package}.{message.name}".lstrip("."), message.options.Extensions[options_pb2.event]


def _check_events(path: str, files: Iterable[File]) -> None:
    """SettingError for an event type that could not be told apart from another one, or never be published."""
    known = dict(contracts.catalogue())
    services = {spec.name for spec in SERVICES}
    for message, event in (found for file in files for found in _events(file)):
        if not _TYPE.fullmatch(event.type):
            raise _error(path, f"names the event of {message} {event.type!r}; write a dotted name, e.g. order.placed")
        if not _OWNER.fullmatch(event.owner):
            raise _error(path, f"gives {message} the owner {event.owner!r}; name who publishes it, e.g. shop")
        if event.owner in services:
            raise _error(path, f"gives {message} the owner {event.owner}, a service of the mesh; only it may tell its events")
        if event.type in known:
            raise _error(path, f"names the event of {message} {event.type}; {known[event.type].message} has that name already")
        known[event.type] = EventType(event.type, message, event.owner, "")


def _import_shared(files: Iterable[File]) -> None:
    """Python's own modules of common imports, where there are, must be the ones in the pool: it takes one file of a name."""
    for file in files:
        if f"{file.package}.".startswith(_SHARED):
            with suppress(ModuleNotFoundError):
                importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")


def _as_in_stubs(file: File) -> File:
    """The file as stubs made from it hold it, which may be imported beside: the pool refuses a second, different one."""
    _drop_default_json_names(file.message_type)
    _drop_json_names(file.extension)
    return file


def _drop_default_json_names(messages: Iterable[descriptor_pb2.DescriptorProto]) -> None:
    for message in messages:
        _drop_json_names(message.field)
        _drop_json_names(message.extension)
        _drop_default_json_names(message.nested_type)


def _drop_json_names(fields: Iterable[descriptor_pb2.FieldDescriptorProto]) -> None:
    for field in fields:
        if field.json_name == _json_name(field.name):
            field.ClearField("json_name")


def _json_name(name: str) -> str:
    """The JSON name that a field has when none is given (lowerCamelCase, as protoc makes it)."""
    return re.sub(r"_+(.?)", lambda found: found[1].upper(), name)
