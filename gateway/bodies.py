"""What the calls carry that take or give plain bytes (google.api.HttpBody): their contract cannot say it, so it stands here."""

from collections.abc import Mapping
from typing import Any

from mesh import cloudevents
from mesh.rules import Schema

Content = dict[str, Any]
CLOUD_EVENT_NAME = "io.cloudevents.CloudEvent"
_URI: Schema = {"type": "string", "minLength": 1}
CLOUD_EVENT: Schema = {
    "type": "object",
    "description": "An event as CloudEvents 1.0 has it in JSON; names of extension attributes are lower-case letters and digits.",
    "properties": {
        "specversion": {"type": "string", "const": "1.0"},
        "id": {"type": "string", "format": "uuid", "description": "UUIDv7 given by the source."},
        "type": {"type": "string", "minLength": 1, "description": "A name of the catalogue, e.g. training.completed."},
        "source": _URI | {"description": "Service that tells it, e.g. learning."},
        "subject": {"type": "string", "minLength": 1, "maxLength": 512, "description": "Resource it is about; the ordering key."},
        "time": {"type": "string", "format": "date-time", "description": "When it happened."},
        "datacontenttype": {"type": "string", "enum": [cloudevents.JSON, cloudevents.PROTOBUF]},
        "dataschema": _URI | {"description": "https://type.googleapis.com/<full name of the event's message>."},
        "data": {"type": "object", "description": "The event's own message as proto3 JSON."},
        "data_base64": {"type": "string", "contentEncoding": "base64", "description": "Or its bytes, as application/protobuf."},
        "correlationid": {"type": "string", "maxLength": 128},
        "causationid": {"type": "string", "maxLength": 128},
        "traceparent": {"type": "string", "maxLength": 64},
        "position": {"type": "string", "pattern": "^[0-9]{1,19}$", "description": "Place in the log; written by the bus."},
    },
    "required": ["specversion", "id", "type", "source", "subject", "time"],
    "additionalProperties": {"type": ["string", "integer", "boolean", "null"]},
}
_ONE: Schema = {"$ref": f"#/components/schemas/{CLOUD_EVENT_NAME}"}
_MANY: Schema = {"type": "array", "items": _ONE}
_TEXT: Schema = {"type": "string", "minLength": 1}
_MODEL: Schema = _TEXT | {"maxLength": 256, "description": '"provider/model", a model, an alias, or "auto".'}
_SPEECH: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}


def _conversation(vendor: str, roles: list[str], **fields: Schema) -> Schema:
    """The fields that every request of a compatible door has; the vendor's own reference has the rest."""
    message: Schema = {
        "type": "object",
        "properties": {"role": {"type": "string", "enum": roles}, "content": _SPEECH},
        "required": ["role", "content"],
    }
    messages: Schema = {"type": "array", "items": message, "minItems": 1}
    properties: Schema = {"model": _MODEL, "messages": messages, "stream": {"type": "boolean"}, **fields}
    return {
        "type": "object",
        "description": f"A request in the form of {vendor}; a field that cannot be honoured is refused by its name.",
        "properties": properties,
        "required": ["model", "messages", *(name for name in fields if name == "max_tokens")],
    }


_ITEMS: Schema = {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}, "minItems": 1}]}
_RESPONSE: Schema = {
    "type": "object",
    "description": "A request in the form of OpenAI's Responses; a field that cannot be honoured is refused by its name.",
    "properties": {"model": _MODEL, "input": _ITEMS, "instructions": {"type": "string"}, "stream": {"type": "boolean"}},
    "required": ["model", "input"],
}
_ANSWER: Content = {"application/json": {"schema": {"type": "object"}}}
_STREAMED: Content = _ANSWER | {"text/event-stream": {"schema": {}}}
_TOKENS: Schema = {"type": "integer", "minimum": 1, "maximum": 10_000_000}
_IDS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_EMBEDDED: Schema = {
    "type": "object",
    "description": "A request in the form of OpenAI's embeddings; a field that cannot be honoured is refused by its name.",
    "properties": {
        "model": _TEXT | {"maxLength": 256, "description": '"provider/model", a model, or an alias of one model.'},
        "input": {
            "description": "A text, texts, the ids of a text's tokens, or lists of such ids.",
            "anyOf": [_TEXT, *({"type": "array", "items": item, "minItems": 1, "maxItems": 2048} for item in (_TEXT, _IDS)), _IDS],
        },
        "encoding_format": {"type": "string", "enum": ["float", "base64"]},
        "dimensions": {"type": "integer", "minimum": 1, "maximum": 65536},
        "user": {"type": "string", "maxLength": 256},
    },
    "required": ["model", "input"],
}
_COMPATIBLE = "tooloo.provider.v1.CompatibilityService"
_BUS, _SYSTEM = "tooloo.bus.v1.EventBus", "tooloo.system.v1.SystemService"
_SENT: Mapping[str, Content] = {
    f"{_COMPATIBLE}/CreateChatCompletion": {
        "application/json": {"schema": _conversation("OpenAI's chat completions", ["system", "developer", "user"])}
    },
    f"{_COMPATIBLE}/CreateResponse": {"application/json": {"schema": _RESPONSE}},
    f"{_COMPATIBLE}/CreateMessage": {
        "application/json": {"schema": _conversation("Anthropic's messages", ["user", "assistant"], max_tokens=_TOKENS)}
    },
    f"{_COMPATIBLE}/CreateEmbedding": {"application/json": {"schema": _EMBEDDED}},
    f"{_COMPATIBLE}/CountMessageTokens": {
        "application/json": {"schema": _conversation("Anthropic's messages", ["user", "assistant"])}
    },
    f"{_BUS}/PublishCloudEvents": {
        cloudevents.STRUCTURED: {"schema": _ONE},
        cloudevents.BATCH: {"schema": _MANY | {"minItems": 1, "maxItems": 1000}},
        cloudevents.JSON: {"schema": {"anyOf": [_ONE, _MANY | {"minItems": 1, "maxItems": 1000}]}},
    },
}
_ANSWERED: Mapping[str, Content] = {
    f"{_COMPATIBLE}/CreateChatCompletion": _STREAMED,
    f"{_COMPATIBLE}/CreateResponse": _STREAMED,
    f"{_COMPATIBLE}/CreateMessage": _STREAMED,
    f"{_COMPATIBLE}/CreateEmbedding": _ANSWER,
    f"{_COMPATIBLE}/CountMessageTokens": _ANSWER,
    f"{_COMPATIBLE}/ListCompatibleModels": _ANSWER,
    f"{_COMPATIBLE}/GetCompatibleModel": _ANSWER,
    "tooloo.provider.v1.ReportService/GetBudgetReportCsv": {"text/csv": {"schema": {"type": "string"}}},
    f"{_BUS}/ReadCloudEvents": {cloudevents.BATCH: {"schema": _MANY}},
    f"{_BUS}/GetBusMetrics": {"text/plain": {"schema": {"type": "string"}}},
    f"{_BUS}/FollowSse": {"text/event-stream": {"schema": {}}},
    "tooloo.integration.v1.IntegrationService/HandleOAuthCallback": {"text/html": {"schema": {"type": "string"}}},
    f"{_SYSTEM}/GetOpenApi": {"application/json": {"schema": {"type": "object"}}},
}


def sent(method: str) -> Content:
    """The media types that a call takes, each with its schema; KeyError for a call whose bytes nobody has described."""
    return _SENT[method]


def answered(method: str) -> Content:
    """The media types that a call gives, each with its schema; KeyError for a call whose bytes nobody has described."""
    return _ANSWERED[method]
