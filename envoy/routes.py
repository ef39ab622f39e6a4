"""Routes: where a request goes and how long it may take.

Envoy looks a REST call up twice: first by its path, which picks the configuration of the filters, then, when the transcoder has
made a gRPC call of it, by "/package.Service/Rpc", which picks the service, the deadline and the retries. Native gRPC meets only the
second kind.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from envoy.door import MESH_SERVICE, Door, Upstream
from envoy.filters import (
    BUFFER,
    CORS,
    GIVEN_STATUS,
    HEAD,
    HEADERS,
    HEALTH_SERVICE,
    HEALTH_STATUS,
    LINES_TYPE,
    LUA,
    NO_BODY,
    TRANSCODER,
    Config,
    bounded,
    headers,
    lua,
    off,
    set_header,
    transcoder,
    typed,
)
from envoy.pages import LARGEST_FILE, page_routes, site_routes
from envoy.settings import DoorSettings, seconds
from envoy.statistics import STREAM, UNARY
from mesh import contracts
from mesh.address import here
from mesh.large import may_be_large

# OAuth demands that a GET ends a sign-in
CHANGED_BY_GET = {"tooloo.integration.v1.IntegrationService/HandleOAuthCallback"}
# a service that stops answers CANCELLED to calls that were waiting to be taken; no handler has seen them
UNREACHED = "connect-failure,refused-stream,reset-before-request,cancelled"
CALLERS_HEADERS = (
    *("authorization", "content-type", "grpc-timeout", "idempotency-key"),
    *("last-event-id", "traceparent", "x-grpc-web", "x-user-agent"),
    *("x-tooloo-fallback-chain", "x-tooloo-labels", "x-tooloo-policy", "x-tooloo-session"),
    # of the official clients of OpenAI and Anthropic, which say what they run on
    *("anthropic-beta", "anthropic-dangerous-direct-browser-access", "anthropic-version", "x-api-key"),
    *("openai-organization", "openai-project"),
    *(f"x-stainless-{name}" for name in ("arch", "async", "lang", "os", "package-version", "retry-count", "runtime")),
    *(f"x-stainless-{name}" for name in ("runtime-version", "timeout", "read-timeout", "helper", "helper-method", "stream-helper")),
)
EXPOSED_HEADERS = (
    *("grpc-message", "grpc-status", "grpc-status-details-bin", "retry-after", "retry-after-ms", "x-request-id", "x-should-retry"),
    *("x-tooloo-cost", "x-tooloo-dropped", "x-tooloo-estimated", "x-tooloo-estimated-cost"),
    *("x-tooloo-model", "x-tooloo-provider", "x-tooloo-query-id"),
)
GRPC_HEADERS = ("grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-accept-encoding", "grpc-encoding")
# HTTP allows names that gRPC does not; `-bin` and grpc-... mean something to gRPC that a REST caller cannot mean, but grpc-timeout
NOT_METADATA = r".*[^a-z0-9_.:-].*|.*-bin|grpc-([^t].*|t[^i].*)?"
LINES = "application/x-ndjson"
STREAM_STYLES = {"text/event-stream": "stream_sse_style_delimited", LINES: "stream_newline_delimited"}
OUR_API = "/api/"
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
# a variable of a path, after its special characters were escaped
VARIABLE = re.compile(r"\\\{\w+\\\}")
EARLIER = timedelta(milliseconds=100)
ORIGINAL_PATH, ORIGINAL_METHOD = "x-envoy-original-path", "x-envoy-original-method"


def route_config(door: Door, upstreams: tuple[Upstream, ...], port: int, *, pages: bool) -> Config:
    """The routes of a listener that answers for these services, for callers that use one of the allowed host names."""
    routes = [*_foreign_writes(door, port), *_calls(door, upstreams), *_unknown_grpc()]
    if pages:
        routes += page_routes(door.pages_folder)
        routes += site_routes(door.site_folder)
    routes += _rest(door, upstreams)
    host: Config = {"name": "door", "domains": _domains(door), "routes": routes}
    host["typed_per_filter_config"] = {CORS: _cors(door)}
    strangers = [] if "*" in door.settings.hosts else [_strangers()]
    return {"name": "door", "max_direct_response_body_size_bytes": LARGEST_FILE, "virtual_hosts": [host, *strangers]}


def _domains(door: Door) -> list[str]:
    """The names that are answered: those of the settings, and whatever this machine itself calls the door by.

    The services, the command and probes call by the latter whatever the settings let in, and no page of another host can have them.
    """
    if "*" in door.settings.hosts:
        return ["*"]
    return list(dict.fromkeys([*door.settings.hosts, *_LOCAL, here(door.address)]))


def _strangers() -> Config:
    refuse = {"match": {"prefix": "/"}, "direct_response": {"status": 421}, "typed_per_filter_config": {TRANSCODER: off()}}
    return {"name": "strangers", "domains": ["*"], "routes": [refuse]}


def _cors(door: Door) -> Config:
    return typed(
        "extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[{"exact": origin} for origin in door.settings.origins],
        allow_methods="GET, POST, PUT, PATCH, DELETE, OPTIONS",
        allow_headers=", ".join(CALLERS_HEADERS),
        expose_headers=", ".join(EXPOSED_HEADERS),
        max_age="600",
    )


def _foreign_writes(door: Door, port: int) -> Iterator[Config]:
    """Refuses writes that a browser makes for a foreign page: it may send a plain POST without ever asking by CORS."""
    if "*" in door.settings.hosts:
        return
    conditions = [
        {"name": "origin", "present_match": True},
        {"name": ":method", "string_match": {"safe_regex": {"regex": "POST|PUT|PATCH|DELETE"}}},
        # a transcoded GET comes by a second time as a POST
        {"name": ORIGINAL_PATH, "present_match": False},
        # one by one: a regular expression for all of them soon exceeds what Envoy allows
        *({"name": "origin", "string_match": {"exact": own}, "invert_match": True} for own in _own_origins(door, port)),
    ]
    body = {"inline_string": "Pages of this origin may not write here; see the setting door.origins."}
    yield {
        "match": {"prefix": "/", "headers": conditions},
        "direct_response": {"status": 403, "body": body},
        "typed_per_filter_config": {TRANSCODER: off()},
    }


def _own_origins(door: Door, port: int) -> list[str]:
    """Origins of the door's pages, with and without a TLS proxy before it, and those of the settings."""
    authorities = [f"{host}{suffix}" for host in door.settings.hosts for suffix in (f":{port}", f":{door.port}", "")]
    return [f"{scheme}://{each}" for each in dict.fromkeys(authorities) for scheme in ("http", "https")] + list(
        door.settings.origins
    )


def _calls(door: Door, upstreams: tuple[Upstream, ...]) -> Iterator[Config]:
    limits = door.settings
    for upstream in upstreams:
        for grpc_service in upstream.grpc_services:
            yield from _health(f"/{MESH_SERVICE}/GetHealth", upstream, limits) if grpc_service == MESH_SERVICE else ()
            yield from _streams(grpc_service, upstream, limits)
            yield from _of_own_length(grpc_service, upstream, limits)
            yield from _unary({"prefix": f"/{grpc_service}/"}, upstream, limits)
    # what every server answers: on a service's port that service, on the door the mesh
    common = next((upstream for upstream in upstreams if MESH_SERVICE in upstream.grpc_services), upstreams[0])
    yield _stream({"path": f"/{HEALTH_SERVICE}/Watch"}, common, limits)
    yield from _health(f"/{HEALTH_SERVICE}/Check", common, limits)
    yield _stream({"prefix": "/grpc.reflection."}, common, limits)


def _health(path: str, upstream: Upstream, limits: DoorSettings) -> Iterator[Config]:
    # when the answer comes, the second route is the one that counts, so the script stands here and not at "/health"
    yield _unary_route({"path": path}, upstream, limits, UNREACHED) | {"typed_per_filter_config": {LUA: lua(HEALTH_STATUS)}}


def _streams(grpc_service: str, upstream: Upstream, limits: DoorSettings) -> Iterator[Config]:
    for method in contracts.methods().values():
        if method.service == grpc_service and not method.unary:
            path = {"path": f"/{method.name}"}
            if _is_json_stream(method):
                yield _stream(path | _accepting(LINES), upstream, limits) | {"typed_per_filter_config": {LUA: lua(LINES_TYPE)}}
            scripts = {LUA: lua(GIVEN_STATUS)} if _is_byte_stream(method) else {}
            yield _stream(path, upstream, limits) | ({"typed_per_filter_config": scripts} if scripts else {})


def _stream(match: Config, upstream: Upstream, limits: DoorSettings) -> Config:
    """A stream lasts as long as its two ends want: no deadline, no idle limit (heartbeats are the service's own)."""
    action = {"cluster": upstream.name, "timeout": "0s", "idle_timeout": "0s", "retry_policy": _retry(limits, UNREACHED)}
    return {"name": STREAM, "match": match, "route": action}


def _of_own_length(grpc_service: str, upstream: Upstream, limits: DoorSettings) -> Iterator[Config]:
    """Calls whose request has a `timeout` of its own wait for others: the service ends them, the door no sooner than any call."""
    longest = replace(limits, call_timeout=limits.longest_call)
    for method in contracts.methods().values():
        if method.service == grpc_service and method.unary and "timeout" in method.request.DESCRIPTOR.fields_by_name:
            for route in _unary({"path": f"/{method.name}"}, upstream, longest):
                route["route"]["idle_timeout"] = seconds(limits.longest_call)
                yield route


def _unary(match: Config, upstream: Upstream, limits: DoorSettings) -> Iterator[Config]:
    """A call that did not reach its service is tried again; a GET, or a call with an idempotency key, also when it may have."""
    safe: list[Config] = [
        {"name": ORIGINAL_METHOD, "string_match": {"exact": "GET"}},
        {"name": "idempotency-key", "present_match": True},
    ]
    for header in safe:
        yield _unary_route(match | {"headers": [header]}, upstream, limits, f"{UNREACHED},reset")
    yield _unary_route(match, upstream, limits, UNREACHED)


def _unary_route(match: Config, upstream: Upstream, limits: DoorSettings, retry_on: str) -> Config:
    """The deadline is the caller's own within bounds, else the setting's; the service is told of it.

    Envoy's clock ends a little earlier than the service's, so that the refusal is the door's, with its reason. (A route's `timeout`
    counts for nothing beside a `max_stream_duration`.)
    """
    duration = {
        "max_stream_duration": seconds(limits.call_timeout - EARLIER),
        "grpc_timeout_header_max": seconds(limits.longest_call),
        "grpc_timeout_header_offset": seconds(EARLIER),
    }
    action = {"cluster": upstream.name, "max_stream_duration": duration, "retry_policy": _retry(limits, retry_on)}
    deadline = {"key": "grpc-timeout", "value": f"{limits.call_timeout // timedelta(milliseconds=1)}m"}
    return {
        "name": UNARY,
        "match": match,
        "route": action,
        "request_headers_to_add": [{"header": deadline, "append_action": "ADD_IF_ABSENT"}],
    }


def _retry(limits: DoorSettings, retry_on: str) -> Config:
    """Retries that outlast the restart of a service.

    A service's own UNAVAILABLE is not among them: that is an answer with RetryInfo, and the caller decides.
    """
    pause = {"base_interval": seconds(limits.retry_pause), "max_interval": seconds(limits.retry_pause_limit)}
    return {"retry_on": retry_on, "num_retries": limits.retries, "retry_back_off": pause}


def _unknown_grpc() -> Iterator[Config]:
    # by content type and not by `grpc: {}`, which does not know gRPC-Web
    native = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    yield {
        "match": {"prefix": "/", "headers": [native]},
        "direct_response": {"status": 404},
        "typed_per_filter_config": {TRANSCODER: off()},
    }


def _rest(door: Door, upstreams: tuple[Upstream, ...]) -> Iterator[Config]:
    """REST paths. Which of them exist is the transcoder's knowledge; `Accept` chooses how a stream is written.

    Those that may carry large bytes come first, each time: they differ in the limit alone.
    """
    yield _compressed()
    grpc_services = tuple(name for upstream in upstreams for name in upstream.grpc_services)
    # only a route to a cluster has CORS; the call itself is looked up again, so any of them will do
    cluster, limit = upstreams[0].name, door.settings.max_request_bytes
    most = max(limit, door.large_bytes)
    yield from _heads(door, grpc_services, cluster)
    # a route each: Envoy takes no regular expression as long as both
    for paths in filter(None, (paths_of_others(grpc_services), _ways_back(grpc_services))):
        lenient = {TRANSCODER: transcoder(door, grpc_services, any_query=True)}
        yield from _rest_route({"safe_regex": {"regex": "|".join(paths)}}, cluster, most, lenient)
    larger = [method for method in _methods(grpc_services) if may_be_large(method.request, method.response)]
    if any(_is_json_stream(method) for method in _methods(grpc_services)):
        for content_type, style in STREAM_STYLES.items():
            styled = {TRANSCODER: transcoder(door, grpc_services, **{style: True})}
            for path in _paths(filter(_is_json_stream, larger)):
                yield from _rest_route({"safe_regex": {"regex": path}} | _accepting(content_type), cluster, most, styled)
            yield from _rest_route({"prefix": "/"} | _accepting(content_type), cluster, limit, styled)
    for path in _paths(larger):
        yield from _rest_route({"safe_regex": {"regex": path}}, cluster, most)
    yield from _rest_route({"prefix": "/"}, cluster, limit)


def _compressed() -> Config:
    """Refuses a body that is compressed: nobody here would take it for anything but broken JSON."""
    coded = {"name": "content-encoding", "string_match": {"exact": "identity"}, "invert_match": True}
    present = {"name": "content-encoding", "present_match": True}
    return {
        "match": {"prefix": "/", "headers": [present, coded]},
        "direct_response": {"status": 415},
        "typed_per_filter_config": {TRANSCODER: off()},
    }


def _methods(grpc_services: Sequence[str]) -> list[contracts.Method]:
    return [method for method in contracts.methods().values() if method.service in grpc_services]


def _heads(door: Door, grpc_services: Sequence[str], cluster: str) -> Iterator[Config]:
    """HEAD of whatever GET answers. Not of streams: whoever only wants to see the headers would hold one open for good.

    Nor of what GET changes: link checkers and previews of chats send HEAD.
    """
    head = {"headers": [{"name": ":method", "string_match": {"exact": "HEAD"}}]}
    refused = {"direct_response": {"status": 405}, "typed_per_filter_config": {TRANSCODER: off()}}
    allowed = {"response_headers_to_add": [{"header": {"key": "allow", "value": "GET"}}]}
    without = [each for each in _methods(grpc_services) if each.server_streaming or each.name in CHANGED_BY_GET]
    # a route for each: Envoy takes no regular expression as long as all of them
    for path in [each.http.path for each in without if each.http and each.http.verb == "GET"]:
        yield {"match": head | {"safe_regex": {"regex": _path_pattern(path)}}, **refused, **allowed}
    yield from _rest_route(head | {"prefix": "/"}, cluster, door.settings.max_request_bytes, {HEAD: lua(NO_BODY)})


def _path_pattern(path: str) -> str:
    return VARIABLE.sub("[^/]+", re.escape(path))


def paths_of_others(grpc_services: Sequence[str]) -> list[str]:
    """Paths, as regular expressions, of the calls that speak another vendor's API, whose clients add what we do not know."""
    methods = [method for method in _methods(grpc_services) if _is_byte_stream(method)]
    return [path for path in _paths(methods) if not path.startswith(OUR_API)]


def _ways_back(grpc_services: Sequence[str]) -> list[str]:
    """Paths to which a sign-in comes back: RFC 6749 §4.1.2, what a provider adds to the query must be passed over."""
    return _paths(method for method in _methods(grpc_services) if method.name in CHANGED_BY_GET)


def _paths(methods: Iterable[contracts.Method]) -> list[str]:
    """Their paths as regular expressions."""
    return [VARIABLE.sub(".+", re.escape(method.http.path)) for method in methods if method.http]


def _is_json_stream(method: contracts.Method) -> bool:
    """True for a stream whose messages the transcoder writes; the bytes of an HttpBody are the service's own."""
    return bool(method.http and method.server_streaming and not _gives_bytes(method))


def _is_byte_stream(method: contracts.Method) -> bool:
    """True for a stream of a service's own bytes, which may say the HTTP status that belongs to them."""
    return bool(method.http and method.server_streaming and _gives_bytes(method))


def _gives_bytes(method: contracts.Method) -> bool:
    return method.response.DESCRIPTOR.full_name == "google.api.HttpBody"


def _accepting(content_type: str) -> Config:
    return {"headers": [{"name": "accept", "string_match": {"contains": content_type}}]}


def _rest_route(match: Config, cluster: str, most: int, filters: Config | None = None) -> Iterator[Config]:
    """A route for bodies of at most so many bytes, after one that refuses those that say that they are larger.

    Up to twice as many bytes are read first: many clients send all before they read, and would miss an answer that comes earlier.
    """
    longer = {"name": "content-length", "range_match": {"start": most + 1, "end": 2**63 - 1}}
    yield {
        "match": match | {"headers": [*match.get("headers", ()), longer]},
        "direct_response": {"status": 413},
        "typed_per_filter_config": {TRANSCODER: off(), BUFFER: bounded(2 * most)},
    }
    removals = [{"remove": name} for name in GRPC_HEADERS]
    fresh = {"append": set_header("cache-control", "no-store", keep=True)}
    unfit = {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": NOT_METADATA}}}}
    common = {HEADERS: headers([*removals, fresh], removals, [unfit]), BUFFER: bounded(most)}
    yield {"match": match, "route": {"cluster": cluster}, "typed_per_filter_config": common | (filters or {})}
