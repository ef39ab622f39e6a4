"""How to call an RPC: by curl, by the command, by generated stubs; the same request in each."""

import json
import re
import shlex
from typing import Any
from urllib.parse import quote, urlencode

from google.protobuf.descriptor import Descriptor, FileDescriptor

from gateway.handbook import commands
from mesh import contracts
from mesh.contracts import HttpRule, Method

DOOR = "http://localhost:3000"
_VARIABLE = re.compile(r"\{(\w+)\}")
HTTP_BODY = "google.api.HttpBody"


def curl(method: Method, request: dict[str, Any]) -> str:
    """The call over REST; "" when the contract gives it no route."""
    if method.http is None:
        return ""
    path, rest = _path(method, method.http, request)
    words = ["curl", "-s"]
    if method.server_streaming:
        words = ["curl", "-N", *(["-H", "accept: text/event-stream"] if method.response.DESCRIPTOR.full_name != HTTP_BODY else [])]
    if method.http.verb != "GET":
        words += ["-X", method.http.verb]
    if method.http.body:
        body = "@request.json" if method.request.DESCRIPTOR.full_name == HTTP_BODY else json.dumps(rest)
        return shlex.join([*words, f"{DOOR}{path}", "-d", body])
    return shlex.join([*words, f"{DOOR}{path}" + (f"?{urlencode(_flat(rest), doseq=True)}" if rest else "")])


def _path(method: Method, rule: HttpRule, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The path with its variables filled, and the fields that are left."""
    rest = dict(request)
    fields = method.request.DESCRIPTOR.fields_by_name

    def filled(match: re.Match[str]) -> str:
        return quote(str(rest.pop(fields[match[1]].json_name, match[1])), safe="")

    return _VARIABLE.sub(filled, rule.path), rest


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested message in a query is written with dots."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def command(method: Method, request: dict[str, Any]) -> str:
    """The call by its verb."""
    return shlex.join(["tooloo", *commands.verbs()[method.name], *([json.dumps(request)] if request else [])])


def stub(method: Method, request: dict[str, Any]) -> str:
    """A whole Python program that makes the call with the stubs of `tooloo-api`."""
    service, rpc = method.service.rsplit(".", 1)[-1], method.name.rsplit("/", 1)[-1]
    message = contracts.pool().FindMessageTypeByName(method.request.DESCRIPTOR.full_name)
    stubs = contracts.pool().FindServiceByName(method.service).file
    imports = ["import grpc", *_imports(message, request), f"from {_module(stubs)}_pb2_grpc import {service}Stub"]
    argument = _argument(message, request)
    call = f"{service}Stub(channel).{rpc}({f'iter([{argument}])' if method.client_streaming else argument})"
    asked = [f"    for answer in {call}:", "        print(answer)"] if method.server_streaming else [f"    print({call})"]
    return "\n".join([*imports, "", 'with grpc.insecure_channel("localhost:3000") as channel:', *asked])


def _module(file: FileDescriptor) -> str:
    return file.name.removesuffix(".proto").replace("/", ".")


def _imports(message: Descriptor, request: dict[str, Any]) -> list[str]:
    found = [f"from {_module(message.file)}_pb2 import {message.name}"]
    return found if _plain(message, request) else ["from google.protobuf.json_format import ParseDict", *found]


def _plain(message: Descriptor, request: dict[str, Any]) -> bool:
    """True when every value can be given as an argument of the message's class as it stands in JSON."""
    given = [field for field in message.fields if field.json_name in request]
    return all(field.message_type is None and field.enum_type is None and field.type != field.TYPE_BYTES for field in given)


def _argument(message: Descriptor, request: dict[str, Any]) -> str:
    if not _plain(message, request):
        return f"ParseDict({request!r}, {message.name}())"
    named = (f"{field.name}={request[field.json_name]!r}" for field in message.fields if field.json_name in request)
    return f"{message.name}({', '.join(named)})"
