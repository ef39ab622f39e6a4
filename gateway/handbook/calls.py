"""The page of a service: each of its RPCs with route, fields, rules, refusals and examples; then the messages that they hold."""

import re
from collections.abc import Iterator

import grpc
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from gateway.handbook import fields, markdown, samples, usage
from mesh import contracts, errors, prose
from mesh.catalogue import ServiceSpec
from mesh.contracts import Method

REASONS = {errors.reason_name(number): number for number in ErrorReason.values() if number}
_CODES = {code.name for code in grpc.StatusCode} - {"OK"}
_WORD = re.compile(r"\b[A-Z][A-Z_]{3,}\b")
# how the bytes of a page or a stream come, which has no fields to list
_BYTES = usage.HTTP_BODY


def methods_of(spec: ServiceSpec) -> list[Method]:
    """The RPCs of a service, in the order of the contracts."""
    return [method for method in contracts.methods().values() if method.service in spec.grpc_services]


def page(spec: ServiceSpec) -> str:
    """The whole page."""
    own = methods_of(spec)
    parts = [f"# {spec.title}\n", _introduction(spec, own)]
    for service in spec.grpc_services:
        parts.append(markdown.heading(2, service.rsplit(".", 1)[-1], service))
        parts.append(f"\n{markdown.prose(prose.of(service))}\n")
        parts += [text for method in own if method.service == service for text in _call(method)]
    parts += _messages(own)
    return "".join(parts)


def _introduction(spec: ServiceSpec, own: list[Method]) -> str:
    port = (
        f"It answers on the door's port, 3000, and on {spec.port}. Every call takes and gives JSON over REST, and the same messages"
        " over gRPC.\n\n"
    )
    rows = (
        [f"[{_rpc(each)}](#{markdown.anchor(each.name)})", _route(each), markdown.prose(_first_sentence(each.description))]
        for each in own
    )
    return port + markdown.table(("call", "route", "what it does"), rows)


def _rpc(method: Method) -> str:
    return method.name.rsplit("/", 1)[-1]


def _route(method: Method) -> str:
    return f"`{method.http.verb} {method.http.path}`" if method.http else "gRPC only"


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).split(". ", 1)[0].removesuffix(".") + "."


def _call(method: Method) -> Iterator[str]:
    yield markdown.heading(3, _rpc(method), method.name)
    yield f"\n{markdown.prose(_paragraphs(method.description))}\n\n"
    yield f"`{method.name}` · {_route(method)}{_streams(method)}\n"
    yield f"\n{_refusals(method)}\n"
    yield from _side(method, "Request", method.request.DESCRIPTOR.full_name, sent=True)
    yield from _side(method, "Answer", method.response.DESCRIPTOR.full_name, sent=False)
    request = {} if method.request.DESCRIPTOR.full_name == _BYTES else samples.sample(method.request)
    if method.http:
        yield markdown.block("sh", usage.curl(method, request))
    if method.request.DESCRIPTOR.full_name != _BYTES:
        yield markdown.block("sh", usage.command(method, request))
        yield markdown.block("python", usage.stub(method, request))


def _paragraphs(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


def _streams(method: Method) -> str:
    both = [name for name, streams in (("requests", method.client_streaming), ("answers", method.server_streaming)) if streams]
    return f" · streams {' and '.join(both)}" if both else ""


def reasons_of(method: Method) -> list[str]:
    """The error reasons that a call's comment names."""
    return [word for word in dict.fromkeys(_WORD.findall(method.description)) if word in REASONS]


def codes_of(method: Method) -> list[str]:
    """The gRPC codes that a call's comment names."""
    return [word for word in dict.fromkeys(_WORD.findall(method.description)) if word in _CODES and word not in REASONS]


def _refusals(method: Method) -> str:
    named = [f"`{code}`" for code in codes_of(method)]
    named += [f"[`{reason}`](../errors.md#{markdown.anchor(reason)})" for reason in reasons_of(method)]
    own = f"Refused as its comment says: {', '.join(named)}; and as" if named else "Refused as"
    return f"{own} [every call](../errors.md#every-call) may be."


def _side(method: Method, title: str, full_name: str, *, sent: bool) -> Iterator[str]:
    if full_name == _BYTES:
        yield f"\n**{title}**: the bytes of a body, see the text above.\n"
        return
    message = contracts.pool().FindMessageTypeByName(full_name)
    yield f"\n**{title}**: {markdown.prose(prose.of(full_name)) or message.name}\n\n"
    yield fields.table(message, sent=sent)


def _messages(own: list[Method]) -> Iterator[str]:
    names = dict.fromkeys(name for each in own for name in (each.request.DESCRIPTOR.full_name, each.response.DESCRIPTOR.full_name))
    tops = [contracts.pool().FindMessageTypeByName(name) for name in names]
    messages, enums = fields.reachable(each for each in tops if fields.is_ours(each.full_name))
    if messages or enums:
        yield "\n## Messages { #messages }\n"
    yield from (_message(each) for each in messages)
    yield from (_enum(each) for each in enums)


def _message(message: Descriptor) -> str:
    table = fields.table(message, sent=True)
    return f"{markdown.heading(3, message.name, message.full_name)}\n{markdown.prose(prose.of(message.full_name))}\n\n{table}"


def _enum(enum: EnumDescriptor) -> str:
    rows = (
        [f"`{value.name}`", str(value.number), markdown.prose(prose.of(f"{enum.full_name}.{value.name}"))] for value in enum.values
    )
    table = markdown.table(("value", "number", "meaning"), rows)
    return f"{markdown.heading(3, enum.name, enum.full_name)}\n{markdown.prose(prose.of(enum.full_name))}\n\n{table}"
