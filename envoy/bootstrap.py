"""The whole configuration: one listener for everything, one per service, a cluster per service, and Envoy's own limits."""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

from envoy.clusters import cluster
from envoy.door import Door, Upstream
from envoy.endpoints import endpoints_file, replace_json, write_endpoints
from envoy.errors import local_replies
from envoy.filters import Config, http_filters, named, typed
from envoy.routes import paths_of_others, route_config
from envoy.settings import MIB, DoorSettings, seconds
from envoy.statistics import call_statistics
from mesh import contracts

ACCESS_LOG = {
    "time": "%START_TIME%",
    "port": "%DOWNSTREAM_LOCAL_PORT%",
    "method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):512%",
    "rpc": "%REQ(:PATH):256%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    # only native calls have one; at once in the headers, or in the trailers
    "grpc_status": "%RESP(GRPC-STATUS)%%TRAILER(GRPC-STATUS)%",
    "duration_ms": "%DURATION%",
    "request_bytes": "%BYTES_RECEIVED%",
    "response_bytes": "%BYTES_SENT%",
    "flags": "%RESPONSE_FLAGS%",
    "detail": "%RESPONSE_CODE_DETAILS%",
    "service": "%UPSTREAM_CLUSTER%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "upstream": "%UPSTREAM_HOST%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "traceparent": "%REQ(TRACEPARENT)%",
}


def render(door: Door) -> Config:
    """Envoy's bootstrap as a JSON-able dictionary."""
    listeners = [_listener(door, "door", door.port, door.upstreams)]
    listeners += [_listener(door, upstream.name, upstream.port, (upstream,)) for upstream in door.upstreams]
    return {
        "node": {"id": "door", "cluster": "tooloo"},
        # a fixed port without SO_REUSEPORT: a second mesh cannot start by mistake and share the callers of the first
        "admin": {"address": _address("127.0.0.1", door.admin_port)},
        "static_resources": {"listeners": listeners, "clusters": [cluster(door, upstream) for upstream in door.upstreams]},
        "overload_manager": _overload(door.settings),
        # histograms of the worker threads are gathered when somebody asks, and not every five seconds for nobody
        "stats_flush_on_admin": True,
    }


def write(door: Door, config: Path) -> None:
    """Writes the configuration, the descriptor set and an empty endpoint file for each service that has none yet.

    Envoy does not start without. It keeps the descriptor set once for every transcoder, so it gets one without comments.
    """
    for upstream in door.upstreams:
        if not endpoints_file(door.endpoints_folder, upstream.name).exists():
            write_endpoints(door.endpoints_folder, upstream.name, [])
    door.access_log.parent.mkdir(parents=True, exist_ok=True)
    replace_json(config, render(door))
    files = descriptor_pb2.FileDescriptorSet()
    files.CopyFrom(contracts.descriptor_set())
    for file in files.file:
        file.ClearField("source_code_info")
    door.descriptors.write_bytes(files.SerializeToString())


def _address(host: str, port: int) -> Config:
    return {"socket_address": {"address": host, "port_value": port}}


def _overload(limits: DoorSettings) -> Config:
    heap = typed("extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=limits.max_heap_mib * MIB)
    connections = typed(
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=limits.max_connections,
    )
    return {
        "refresh_interval": "0.250s",
        "resource_monitors": [
            named("envoy.resource_monitors.fixed_heap", heap),
            named("envoy.resource_monitors.global_downstream_max_connections", connections),
        ],
        "actions": [_action("shrink_heap", 0.95), _action("stop_accepting_requests", 0.98)],
    }


def _action(name: str, share: float) -> Config:
    trigger = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": share}}
    return {"name": f"envoy.overload_actions.{name}", "triggers": [trigger]}


def _listener(door: Door, name: str, port: int, upstreams: tuple[Upstream, ...]) -> Config:
    manager = named("envoy.filters.network.http_connection_manager", _manager(door, name, port, upstreams))
    return {
        "name": name,
        "address": _address(door.address, port),
        "per_connection_buffer_limit_bytes": door.settings.buffer_bytes,
        "filter_chains": [{"filters": [manager]}],
    }


def _manager(door: Door, name: str, port: int, upstreams: tuple[Upstream, ...]) -> Config:
    grpc_services = [service for upstream in upstreams for service in upstream.grpc_services]
    return typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        codec_type="AUTO",
        http_filters=http_filters(door, grpc_services),
        route_config=route_config(door, upstreams, port, pages=name == "door"),
        local_reply_config=local_replies(paths_of_others(grpc_services), door.large_bytes),
        access_log=[_access_log(door), call_statistics()],
        always_set_request_id_in_response=True,
        server_name="tooloo",
        **_edge(door.settings),
    )


def _access_log(door: Door) -> Config:
    file = typed(
        "extensions.access_loggers.file.v3.FileAccessLog",
        path=str(door.access_log),
        log_format={"json_format": ACCESS_LOG},
    )
    return named("envoy.access_loggers.file", file)


def _edge(limits: DoorSettings) -> dict[str, Any]:
    """What Envoy's guide "Configuring Envoy as an edge proxy" asks of a listener that anyone may reach.

    Its `request_timeout` is left out: it would cut every client stream. A slow body is bounded by `stream_idle_timeout` instead.
    """
    return {
        "use_remote_address": True,
        # host names are matched without their port, which differs from listener to listener
        "strip_any_host_port": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "request_headers_timeout": seconds(limits.headers_timeout),
        "stream_idle_timeout": seconds(limits.stream_idle_timeout),
        "max_request_headers_kb": limits.max_header_kib,
        "http2_protocol_options": {
            "max_concurrent_streams": limits.max_streams,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
        },
        "common_http_protocol_options": {
            "idle_timeout": seconds(limits.idle_timeout),
            "max_headers_count": limits.max_headers,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
    }
