"""The HTTP filters of a listener, in the order in which a request meets them (a response meets them backwards)."""

from collections.abc import Sequence
from typing import Any

from envoy.door import MESH_SERVICE, Door

Config = dict[str, Any]

CORS, HEADERS, LUA, BUFFER, TRANSCODER = (
    f"envoy.filters.http.{name}" for name in ("cors", "header_mutation", "lua", "buffer", "grpc_json_transcoder")
)
HEAD = "tooloo.head"
HEALTH_SERVICE = "grpc.health.v1.Health"

# `data:` images are the icons of the pages; everything else comes from the door itself
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

# The transcoder answers 200 whatever a health check found. The state is the first field of both answers,
# {"status":"SERVING"} of grpc.health.v1 and {"state":"SERVING_STATE_SERVING",...} of the mesh; anything but serving becomes a 503.
# Native callers, who come by the same route, read the state themselves.
HEALTH_STATUS = """
function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get(":status") ~= "200" or headers:get("content-type") ~= "application/json" then return end
  local body = handle:body()
  local state = body and body:getBytes(0, math.min(body:length(), 64)):match('^{"%a+":"([%u_]+)"')
  -- body() waited, so the headers taken before are stale
  if state ~= "SERVING" and state ~= "SERVING_STATE_SERVING" then handle:headers():replace(":status", "503") end
end
"""
# The transcoder calls a stream of JSON lines application/json, which it is not.
LINES_TYPE = """
function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get(":status") == "200" and headers:get("content-type") == "application/json" then
    headers:replace("content-type", "application/x-ndjson")
  end
end
"""
# A success of the transcoder is always 200. A service that speaks another vendor's dialect says the status that belongs to its body
# in a header; native callers, who come by the same route, must keep their 200.
GIVEN_STATUS = """
function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get("x-tooloo-status")
  if status == nil then return end
  local kind = headers:get("content-type") or ""
  if kind:sub(1, 16) ~= "application/grpc" then
    headers:remove("x-tooloo-status")
    headers:replace(":status", status)
  end
end
"""
# HEAD is answered as GET is, without the body. The transcoder knows no HEAD, and nothing else here would hold the body back.
NO_BODY = """
function envoy_on_request(handle)
  handle:headers():replace(":method", "GET")
end
function envoy_on_response(handle)
  for chunk in handle:bodyChunks() do chunk:setBytes("") end
end
"""


def typed(name: str, **config: Any) -> Config:
    """A message of Envoy's API as JSON: its type and its fields."""
    return {"@type": f"type.googleapis.com/envoy.{name}", **config}


def named(name: str, config: Config) -> Config:
    """An extension: its name and its configuration."""
    return {"name": name, "typed_config": config}


def set_header(name: str, value: str, *, keep: bool = False) -> Config:
    """A header that every response gets; `keep` leaves one that is there."""
    return {
        "header": {"key": name, "value": value},
        "append_action": "ADD_IF_ABSENT" if keep else "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def http_filters(door: Door, grpc_services: Sequence[str]) -> list[Config]:
    """All filters of a listener that answers these gRPC services."""
    return [
        named(CORS, typed("extensions.filters.http.cors.v3.Cors")),
        named(HEADERS, typed("extensions.filters.http.header_mutation.v3.HeaderMutation", mutations=_security())),
        named(HEAD, typed("extensions.filters.http.lua.v3.Lua", default_source_code={"inline_string": NO_BODY}))
        | {"disabled": True},
        _compressor("brotli", "Brotli", preferred=True),
        _compressor("gzip", "Gzip"),
        named(LUA, typed("extensions.filters.http.lua.v3.Lua")),
        # the transcoder works through a body as it comes, so its own limit does not bound the whole of it; native calls skip this
        named(BUFFER, whole_body(door)) | {"disabled": True},
        named("envoy.filters.http.grpc_web", typed("extensions.filters.http.grpc_web.v3.GrpcWeb")),
        named(TRANSCODER, transcoder(door, grpc_services)),
        named("envoy.filters.http.router", typed("extensions.filters.http.router.v3.Router", suppress_envoy_headers=True)),
    ]


def _security() -> Config:
    return {"response_mutations": [{"append": set_header(name, value)} for name, value in SECURITY_HEADERS.items()]}


def _compressor(name: str, message: str, *, preferred: bool = False) -> Config:
    library = named(name, typed(f"extensions.compression.{name}.compressor.v3.{message}"))
    return named(
        f"envoy.filters.http.compressor.{name}",
        typed(
            "extensions.filters.http.compressor.v3.Compressor",
            response_direction_config={"common_config": {"min_content_length": 1024}},
            compressor_library=library,
            choose_first=preferred,
        ),
    )


def transcoder(door: Door, grpc_services: Sequence[str], *, any_query: bool = False, **stream_style: bool) -> Config:
    """REST to gRPC and back for these services. With `any_query` parameters that the contract does not have are passed over.

    A port that answers the mesh's own GET /health leaves that path to it; the others give it to grpc.health.v1.
    """
    health = [] if MESH_SERVICE in grpc_services else [HEALTH_SERVICE]
    return typed(
        "extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=str(door.descriptors),
        services=[*grpc_services, *health],
        convert_grpc_status=True,
        query_param_unescape_plus=True,
        print_options={"always_print_primitive_fields": True, **stream_style},
        request_validation_options={
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": not any_query,
            "reject_binding_body_field_collisions": True,
        },
        ignore_unknown_query_parameters=any_query,
        # what a call may have is bounded by the buffer before it
        max_request_body_size=max(door.settings.max_request_bytes, door.large_bytes),
        max_response_body_size=door.settings.max_response_bytes,
    )


def whole_body(door: Door) -> Config:
    """Reads a request's body as a whole before it goes on, and refuses one that is too large with 413."""
    return typed("extensions.filters.http.buffer.v3.Buffer", max_request_bytes=door.settings.max_request_bytes)


def bounded(most: int) -> Config:
    """Per-route configuration that switches `whole_body` on, for bodies of at most so many bytes."""
    return typed("extensions.filters.http.buffer.v3.BufferPerRoute", buffer={"max_request_bytes": most})


def off() -> Config:
    """Per-route configuration that takes a filter out of a route."""
    return typed("config.route.v3.FilterConfig", disabled=True)


def lua(source: str) -> Config:
    """Per-route configuration that runs a script on a route."""
    return typed("extensions.filters.http.lua.v3.LuaPerRoute", source_code={"inline_string": source})


def headers(response: Sequence[Config], trailers: Sequence[Config] = (), request: Sequence[Config] = ()) -> Config:
    """Per-route configuration of changes to the headers and trailers of the response, and the headers of the request."""
    mutations = {
        "request_mutations": list(request),
        "response_mutations": list(response),
        "response_trailers_mutations": list(trailers),
    }
    return typed("extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute", mutations=mutations)
