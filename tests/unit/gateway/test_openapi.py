"""The OpenAPI document is valid and says what the contracts say."""

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from gateway import openapi
from mesh import contracts
from mesh.catalogue import SERVICES
from mesh.version import version


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document of the whole mesh."""
    return openapi.document({name: spec.title for spec in SERVICES for name in spec.grpc_services}, version())


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every operation by its id."""
    return {operation["operationId"]: operation for item in document["paths"].values() for operation in item.values()}


def schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A component schema."""
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    """By the validator of OpenAPI 3.1; every reference resolves."""
    validate(document, cls=OpenAPIV31SpecValidator)


def test_every_route_of_the_contracts_is_in_it(document: dict[str, Any]) -> None:
    """Once each, under the name of its RPC, and nothing else is."""
    routed = {method.name for method in contracts.methods().values() if method.http}
    named = [operation["x-grpc-method"] for operation in operations(document).values()]
    assert sorted(named) == sorted(routed)


def test_calls_that_only_grpc_has_are_named_beside_the_paths(document: dict[str, Any]) -> None:
    """So that the document knows every RPC, and of each where its stub and its request are found."""
    bare = document["x-grpc-only"]
    assert {each["x-grpc-method"] for each in bare} == {name for name, method in contracts.methods().items() if not method.http}
    for each in [*bare, *operations(document).values()]:
        request = contracts.pool().FindMessageTypeByName(each["x-grpc-request"]["message"])
        assert request.file.name == each["x-grpc-request"]["file"]
        service = contracts.pool().FindServiceByName(each["x-grpc-method"].split("/")[0])
        assert service.file.name == each["x-grpc-file"]


def test_every_operation_has_prose(document: dict[str, Any]) -> None:
    """Summary and description come from the RPC's comment; parameters and schemas have theirs."""
    for operation in operations(document).values():
        assert operation["summary"]
        assert operation["description"]
        assert all(parameter.get("description") or "$ref" in parameter for parameter in operation.get("parameters", []))
    ours = {name: each for name, each in document["components"]["schemas"].items() if name.startswith("tooloo.")}
    assert not [name for name, each in ours.items() if not each.get("description")]


def test_refusals_are_described_everywhere(document: dict[str, Any]) -> None:
    """Any 4xx and anything else is a google.rpc.Status."""
    for operation in operations(document).values():
        for key in ("4XX", "default"):
            assert operation["responses"][key] == {"$ref": "#/components/responses/Refusal"}


def test_what_is_sent_is_bound_by_rules_and_what_is_answered_is_complete(document: dict[str, Any]) -> None:
    """A message that goes both ways has two schemas."""
    sent, answered = schema(document, "tooloo.bus.v1.Subscription.Sent"), schema(document, "tooloo.bus.v1.Subscription")
    assert "pattern" in sent["properties"]["name"]
    assert "pattern" not in answered["properties"]["name"]
    assert sent["required"] == ["name"]
    assert {"name", "backlog", "orderBySubject", "backoff"} <= set(answered["required"])
    assert "filter" not in answered["required"]


def test_64_bits_are_answered_as_text_and_taken_as_numbers(document: dict[str, Any]) -> None:
    """As proto3 JSON has it."""
    answered = schema(document, "tooloo.bus.v1.Subscription")["properties"]["backlog"]
    assert (answered["type"], answered["format"]) == ("string", "int64")
    sent = schema(document, "tooloo.bus.v1.StartAt.Sent")["properties"]["afterPosition"]
    assert (sent["type"], sent["minimum"]) == ("integer", 0)


def test_well_known_types_have_their_json_form(document: dict[str, Any]) -> None:
    """Times, lengths of time, Any and maps."""
    event = schema(document, "tooloo.event.v1.Event.Sent")["properties"]
    assert event["time"]["format"] == "date-time"
    assert event["data"]["required"] == ["@type"]
    assert event["attributes"]["additionalProperties"] == {"type": "string", "maxLength": 256}
    assert event["attributes"]["maxProperties"] == 16
    assert "pattern" in schema(document, "tooloo.bus.v1.Subscription.Sent")["properties"]["ackDeadline"]


def test_of_a_oneof_at_most_one_may_be_sent(document: dict[str, Any]) -> None:
    """None or one of the three ways to begin."""
    (choice,) = schema(document, "tooloo.bus.v1.StartAt.Sent")["allOf"]
    assert choice["oneOf"][:3] == [{"required": [name]} for name in ("afterPosition", "time", "beginning")]


def test_path_variables_are_parameters_and_not_in_the_body(document: dict[str, Any]) -> None:
    """The door refuses a field that comes twice."""
    operation = operations(document)["EventBus_SeekSubscription"]
    assert [(one["name"], one["in"], one["required"]) for one in operation["parameters"]] == [("name", "path", True)]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"start"}


def test_nested_fields_of_a_query_are_written_with_dots(document: dict[str, Any]) -> None:
    """As the transcoder reads them."""
    names = {one["name"] for one in operations(document)["EventBus_ReadEvents"]["parameters"]}
    assert {"afterPosition", "filter.types", "filter.subjectPrefix", "pageSize", "pageToken"} <= names


def test_writes_take_an_idempotency_key(document: dict[str, Any]) -> None:
    """Each operation whose request has a request_id, and no other."""
    key = {"$ref": "#/components/parameters/IdempotencyKey"}
    for method in contracts.methods().values():
        if method.http and method.http.body:
            operation = next(each for each in operations(document).values() if each["x-grpc-method"] == method.name)
            assert (key in operation.get("parameters", [])) is ("request_id" in method.request.DESCRIPTOR.fields_by_name)


def test_streams_say_how_they_can_be_written(document: dict[str, Any]) -> None:
    """Three ways for a stream of messages, one for a stream that its service writes."""
    watch = operations(document)["OrchestrationService_WatchRun"]
    assert set(watch["responses"]["200"]["content"]) == {"application/json", "text/event-stream", "application/x-ndjson"}
    follow = operations(document)["EventBus_FollowSse"]
    assert set(follow["responses"]["200"]["content"]) == {"text/event-stream"}
    assert watch["x-server-streaming"] is follow["x-server-streaming"] is True


def test_health_may_be_503_with_its_own_body(document: dict[str, Any]) -> None:
    """The one answer that is no success and no refusal."""
    content = operations(document)["SystemService_GetHealth"]["responses"]["503"]["content"]
    first = content["application/json"]["schema"]["anyOf"][0]
    assert first == {"$ref": "#/components/schemas/tooloo.system.v1.GetHealthResponse"}
