"""Routes: where a request goes and how long it may take.

Envoy looks a REST call up twice: first by its path, which picks the configuration of the filters, then, when the transcoder has made a
gRPC call of it, by "/package.Service/Rpc", which picks the service, the deadline and the retries. Native gRPC meets the second kind alone.
"""

import re
from collections.abc import Iterator
from typing import Any

from envoy.door import MESH_SERVICE, Door, Upstream
from envoy.filters import (
    CORS,
    HEADERS,
    HEALTH_SERVICE,
    HEALTH_STATUS,
    LUA,
    NDJSON_TYPE,
    TRANSCODER,
    Config,
    headers,
    lua,
    off,
    set_header,
    transcoder,
    typed,
)
from envoy.pages import page_routes
from envoy.settings import DoorSettings, seconds
from mesh import contracts

UNREACHED = "connect-failure,refused-stream,reset-before-request"
GRPC_HEADERS = ("grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-accept-encoding", "grpc-encoding")
ORIGINAL_PATH, ORIGINAL_METHOD = "x-envoy-original-path", "x-envoy-original-method"


def route_config(door: Door, upstreams: tuple[Upstream, ...], port: int, *, pages: bool) -> Config:
    """The routes of a listener that answers for these services, for callers that use one of the allowed host names."""
    routes = [*_foreign_writes(door, port), *_calls(door, upstreams), *_unknown_grpc()]
    if pages:
        routes += page_routes(door.pages_folder)
    routes += _rest(door, upstreams)
    host = {"name": "door", "domains": list(door.settings.hosts), "routes": routes}
    host["typed_per_filter_config"] = {CORS: _cors(door)}
    strangers = [] if "*" in door.settings.hosts else [_strangers()]
    return {"name": "door", "max_direct_response_body_size_bytes": 256 * 1024, "virtual_hosts": [host, *strangers]}


def _strangers() -> Config:
    refuse = {"match": {"prefix": "/"}, "direct_response": {"status": 421}, "typed_per_filter_config": {TRANSCODER: off()}}
    return {"name": "strangers", "domains": ["*"], "routes": [refuse]}


def _cors(door: Door) -> Config:
    return typed(
        "extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[{"exact": origin} for origin in door.settings.origins],
        allow_methods="GET, POST, PUT, PATCH, DELETE, OPTIONS",
        allow_headers="authorization, content-type, grpc-timeout, idempotency-key, last-event-id, traceparent, x-grpc-web, x-user-agent",
        expose_headers="grpc-message, grpc-status, grpc-status-details-bin, retry-after, x-request-id",
        max_age="600",
    )


def _foreign_writes(door: Door, port: int) -> Iterator[Config]:
    """Refuses writes that a browser makes for a foreign page: such a page may send a plain POST without ever asking by CORS."""
    if "*" in door.settings.hosts:
        return
    own = [f"https?://{re.escape(host)}(:{port}|:{door.port})?" for host in door.settings.hosts]
    allowed = "|".join([*own, *map(re.escape, door.settings.origins)])
    conditions = [
        {"name": "origin", "present_match": True},
        {"name": "origin", "string_match": {"safe_regex": {"regex": allowed}}, "invert_match": True},
        {"name": ":method", "string_match": {"safe_regex": {"regex": "POST|PUT|PATCH|DELETE"}}},
        # a transcoded GET comes by a second time as a POST
        {"name": ORIGINAL_PATH, "present_match": False},
    ]
    body = {"inline_string": "Pages of this origin may not write here; see the setting door.origins."}
    yield {
        "match": {"prefix": "/", "headers": conditions},
        "direct_response": {"status": 403, "body": body},
        "typed_per_filter_config": {TRANSCODER: off()},
    }


def _calls(door: Door, upstreams: tuple[Upstream, ...]) -> Iterator[Config]:
    limits = door.settings
    for upstream in upstreams:
        for grpc_service in upstream.grpc_services:
            yield from _streams(grpc_service, upstream, limits)
            yield from _unary(f"/{grpc_service}/", upstream, limits)
    # what every server answers: on a service's port that service, on the door the mesh
    common = next((upstream for upstream in upstreams if MESH_SERVICE in upstream.grpc_services), upstreams[0])
    yield _stream({"path": f"/{HEALTH_SERVICE}/Watch"}, common, limits)
    yield from _unary(f"/{HEALTH_SERVICE}/", common, limits)
    yield _stream({"prefix": "/grpc.reflection."}, common, limits)


def _streams(grpc_service: str, upstream: Upstream, limits: DoorSettings) -> Iterator[Config]:
    for method in contracts.methods().values():
        if method.service == grpc_service and not method.unary:
            yield _stream({"path": f"/{method.name}"}, upstream, limits)


def _stream(match: Config, upstream: Upstream, limits: DoorSettings) -> Config:
    """A stream lasts as long as its two ends want: no deadline, no idle limit (heartbeats are the service's own)."""
    action = {"cluster": upstream.name, "timeout": "0s", "idle_timeout": "0s", "retry_policy": _retry(limits, UNREACHED)}
    return {"match": match, "route": action}


def _unary(prefix: str, upstream: Upstream, limits: DoorSettings) -> Iterator[Config]:
    """A call that did not reach its service is tried again; one that changes nothing or has an idempotency key, also when it may have."""
    safe: list[Config] = [
        {"name": ORIGINAL_METHOD, "string_match": {"exact": "GET"}},
        {"name": "idempotency-key", "present_match": True},
    ]
    for header in safe:
        yield _unary_route({"prefix": prefix, "headers": [header]}, upstream, limits, f"{UNREACHED},reset")
    yield _unary_route({"prefix": prefix}, upstream, limits, UNREACHED)


def _unary_route(match: Config, upstream: Upstream, limits: DoorSettings, retry_on: str) -> Config:
    longest = seconds(limits.longest_call)
    action = {
        "cluster": upstream.name,
        "timeout": seconds(limits.call_timeout),
        "max_stream_duration": {"grpc_timeout_header_max": longest, "grpc_timeout_header_offset": "0.100s"},
        "retry_policy": _retry(limits, retry_on),
    }
    deadline = {"header": {"key": "grpc-timeout", "value": f"{int(limits.call_timeout.total_seconds() * 1000)}m"}}
    return {"match": match, "route": action, "request_headers_to_add": [{**deadline, "append_action": "ADD_IF_ABSENT"}]}


def _retry(limits: DoorSettings, retry_on: str) -> Config:
    """Retries that outlast the restart of a service.

    A service's own UNAVAILABLE is not among them: that is an answer with RetryInfo, and the caller decides.
    """
    pause = {"base_interval": seconds(limits.retry_pause), "max_interval": seconds(limits.retry_pause_limit)}
    return {"retry_on": retry_on, "num_retries": limits.retries, "retry_back_off": pause}


def _unknown_grpc() -> Iterator[Config]:
    yield {
        "match": {"prefix": "/", "grpc": {}},
        "direct_response": {"status": 404},
        "typed_per_filter_config": {TRANSCODER: off()},
    }


def _rest(door: Door, upstreams: tuple[Upstream, ...]) -> Iterator[Config]:
    """REST paths. Which of them exist is the transcoder's knowledge; `Accept` chooses how a stream is written."""
    grpc_services = tuple(name for upstream in upstreams for name in upstream.grpc_services)
    event_stream = transcoder(door, grpc_services, stream_sse_style_delimited=True)
    lines = transcoder(door, grpc_services, stream_newline_delimited=True)
    # only a route to a cluster has CORS; the call itself is looked up again, so any of them will do
    cluster = upstreams[0].name
    yield _rest_route({"path": "/health"}, cluster, {LUA: lua(HEALTH_STATUS)})
    yield _rest_route(_accepting("text/event-stream"), cluster, {TRANSCODER: event_stream})
    yield _rest_route(_accepting("application/x-ndjson"), cluster, {TRANSCODER: lines, LUA: lua(NDJSON_TYPE)})
    yield _rest_route({"prefix": "/"}, cluster, {})


def _accepting(content_type: str) -> Config:
    return {"prefix": "/", "headers": [{"name": "accept", "string_match": {"contains": content_type}}]}


def _rest_route(match: Config, cluster: str, filters: dict[str, Any]) -> Config:
    removals = [{"remove": name} for name in GRPC_HEADERS]
    fresh = {"append": set_header("cache-control", "no-store", keep=True)}
    return {
        "match": match,
        "route": {"cluster": cluster},
        "typed_per_filter_config": {HEADERS: headers([*removals, fresh], removals), **filters},
    }
