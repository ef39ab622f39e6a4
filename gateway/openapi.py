"""The OpenAPI 3.1 document of the REST face, made from the contracts: nothing about a route is written twice."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway import bodies
from gateway.schemas import WELL_KNOWN, Schemas, is_map, reachable
from mesh import contracts, prose, rules
from mesh.contracts import HttpRule, Method
from mesh.rules import Schema

HTTP_BODY = "google.api.HttpBody"
_VARIABLE = re.compile(r"\{(\w+)\}")
# a nested message in a query is written with dots; deeper than this nobody writes by hand
_QUERY_DEPTH = 3
REFUSAL: Schema = {
    "type": "object",
    "description": "google.rpc.Status: why the call was refused, for people and for programs.",
    "properties": {
        "code": {"type": "integer", "format": "int32", "description": "Code of google.rpc.Code, e.g. 5 for NOT_FOUND."},
        "message": {"type": "string", "description": "What is wrong and what to do."},
        "details": {
            "type": "array",
            "description": 'One is a google.rpc.ErrorInfo: `reason` is one of tooloo.error.v1.ErrorReason, `domain` is "tooloo".',
            "items": dict(WELL_KNOWN["google.protobuf.Any"]),
        },
    },
    "required": ["code", "message", "details"],
}
IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Another way to give `requestId`: a UUID; the same one again gets the first answer and changes nothing.",
    "schema": {"type": "string", "format": "uuid"},
}
DESCRIPTION = (
    "A self-hosted backbone for AI assistants. Made from the Protocol Buffers contracts; gRPC and gRPC-Web answer the same calls "
    "on the same port. A success is always 200; a refusal is a google.rpc.Status. Unknown query parameters are refused."
)


def document(titles: Mapping[str, str], version: str) -> dict[str, Any]:
    """The document for these services: gRPC service name -> title, in the order in which they are shown."""
    methods = [method for method in contracts.methods().values() if method.http and method.service in titles]
    schemas = Schemas(reachable(_descriptor(method.response) for method in methods))
    schemas.components |= {"google.rpc.Status": REFUSAL, bodies.CLOUD_EVENT_NAME: bodies.CLOUD_EVENT}
    paths: dict[str, dict[str, Any]] = {}
    for method in methods:
        rule = _http(method)
        operation = _operation(method, titles[method.service], schemas)
        paths.setdefault(_camel_path(rule.path), {})[rule.verb.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "TooLoo", "version": version, "description": DESCRIPTION, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "tags": [{"name": title, "description": text} for title, text in _tags(titles).items()],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "parameters": {"IdempotencyKey": IDEMPOTENCY_KEY},
            "responses": {"Refusal": {"description": "The call was refused.", "content": _json(_refusal())}},
        },
        "x-grpc-only": [_grpc_only(method, titles[method.service]) for method in _without_http(titles)],
    }


def _without_http(titles: Mapping[str, str]) -> list[Method]:
    return [method for method in contracts.methods().values() if not method.http and method.service in titles]


def _grpc_only(method: Method, tag: str) -> dict[str, Any]:
    """What OpenAPI has no place for: a call that only gRPC can make."""
    streams = {"x-client-streaming": method.client_streaming, "x-server-streaming": method.server_streaming}
    return _described(method, tag) | streams


def _described(method: Method, tag: str) -> dict[str, Any]:
    """What is said of a call, and where its stub and its request are found."""
    text = " ".join(method.description.split())
    request = _descriptor(method.request)
    return {
        "tags": [tag],
        "summary": text.split(". ", 1)[0].removesuffix("."),
        "description": text,
        "x-grpc-method": method.name,
        "x-grpc-file": str(contracts.pool().FindServiceByName(method.service).file.name),
        "x-grpc-request": {"message": request.full_name, "file": str(request.file.name)},
    }


def _descriptor(message: type[Message]) -> Descriptor:
    return contracts.pool().FindMessageTypeByName(message.DESCRIPTOR.full_name)


def _http(method: Method) -> HttpRule:
    if method.http is None:
        raise ValueError(f"{method.name} has no HTTP rule")
    return method.http


def _refusal() -> Schema:
    return {"$ref": "#/components/schemas/google.rpc.Status"}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _camel_path(path: str) -> str:
    return _VARIABLE.sub(lambda match: "{" + _camel(match[1]) + "}", path)


def _tags(titles: Mapping[str, str]) -> dict[str, str]:
    """What is said of each title: a service of the mesh may answer several gRPC services, each a paragraph with its name."""
    found: dict[str, list[str]] = {}
    for service, title in titles.items():
        found.setdefault(title, []).append(service)
    return {
        title: "\n\n".join(_tag(service, alone=len(services) == 1) for service in services) for title, services in found.items()
    }


def _tag(service: str, *, alone: bool) -> str:
    return prose.of(service) if alone else f"{service.rsplit('.', 1)[-1]}: {prose.of(service)}"


def _operation(method: Method, tag: str, schemas: Schemas) -> dict[str, Any]:
    service, rpc = method.service.rsplit(".", 1)[-1], method.name.rsplit("/", 1)[-1]
    operation: dict[str, Any] = {"operationId": f"{service}_{rpc}", **_described(method, tag)}
    if method.server_streaming:
        operation["x-server-streaming"] = True
    if parameters := list(_parameters(method, schemas)):
        operation["parameters"] = parameters
    if _http(method).body:
        operation["requestBody"] = _request_body(method, schemas)
    return operation | {"responses": _responses(method, schemas)}


def _in_path(method: Method) -> frozenset[str]:
    return frozenset(_VARIABLE.findall(_http(method).path))


def _parameters(method: Method, schemas: Schemas) -> Iterator[Schema]:
    request = _descriptor(method.request)
    in_path = _in_path(method)
    for name in sorted(in_path):
        yield _parameter(request.fields_by_name[name], schemas, place="path", name=_camel(name)) | {"required": True}
    if not _http(method).body:
        yield from _query((field for field in request.fields if field.name not in in_path), schemas, "", _QUERY_DEPTH)
    elif "request_id" in request.fields_by_name:
        yield {"$ref": "#/components/parameters/IdempotencyKey"}


def _query(fields: Iterable[FieldDescriptor], schemas: Schemas, prefix: str, depth: int) -> Iterator[Schema]:
    for field in fields:
        name = f"{prefix}{field.json_name}"
        nested = field.message_type
        if nested is None or (nested.full_name in WELL_KNOWN and not field.is_repeated):
            yield _parameter(field, schemas, place="query", name=name)
        elif depth and not field.is_repeated and not is_map(field):
            yield from _query(nested.fields, schemas, f"{name}.", depth - 1)


def _parameter(field: FieldDescriptor, schemas: Schemas, *, place: str, name: str) -> Schema:
    schema = schemas.field(field, sent=True)
    text = schema.pop("description", "")
    parameter: Schema = {"name": name, "in": place, "schema": schema}
    if place == "query" and rules.required(field) and "." not in name:
        parameter["required"] = True
    return parameter | {"description": text} if text else parameter


def _request_body(method: Method, schemas: Schemas) -> Schema:
    message = _descriptor(method.request)
    if message.full_name == HTTP_BODY:
        return {"required": True, "content": bodies.sent(method.name)}
    in_path = _in_path(method)
    schema = schemas.message(message, sent=True, without=in_path) if in_path else schemas.reference(message, sent=True)
    asked = any(rules.required(field) for field in message.fields if field.name not in in_path)
    return {"required": asked, "content": _json(schema)}


def _responses(method: Method, schemas: Schemas) -> dict[str, Any]:
    refusal = {"$ref": "#/components/responses/Refusal"}
    answer = {"description": _answer_text(method), "content": _answer_content(method, schemas)}
    responses = {"200": answer, "4XX": refusal, "default": refusal}
    if _http(method).path == "/health":
        either = {"anyOf": [schemas.reference(_descriptor(method.response), sent=False), _refusal()]}
        responses["503"] = {"description": "Not every service serves.", "content": _json(either)}
    return responses


def _answer_text(method: Method) -> str:
    return prose.of(method.response.DESCRIPTOR.full_name) or "The answer."


def _answer_content(method: Method, schemas: Schemas) -> dict[str, Any]:
    answer = _descriptor(method.response)
    if answer.full_name == HTTP_BODY:
        return bodies.answered(method.name)
    schema = schemas.reference(answer, sent=False)
    if not method.server_streaming:
        return _json(schema)
    text = {"schema": {"type": "string"}}
    return _json({"type": "array", "items": schema}) | {"text/event-stream": text, "application/x-ndjson": text}
