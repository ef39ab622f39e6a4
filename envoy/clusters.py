"""Clusters: how the door reaches each service, and how much it may ask of it."""

from typing import Any

from envoy.door import Door, Upstream
from envoy.endpoints import endpoints_file
from envoy.settings import DoorSettings, seconds

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster(door: Door, upstream: Upstream) -> dict[str, Any]:
    """One service over HTTP/2 on unix sockets, its endpoints by file.

    There is no active health check: a refused connect on a socket fails at once and is retried, while a check would keep a
    service that is back waiting for its next round. Should one come, `ignore_health_on_host_removal` keeps removed replicas out.
    """
    limits = door.settings
    return {
        "name": upstream.name,
        "type": "EDS",
        "connect_timeout": seconds(limits.connect_timeout),
        "lb_policy": "LEAST_REQUEST",
        "ignore_health_on_host_removal": True,
        "per_connection_buffer_limit_bytes": limits.buffer_bytes,
        "eds_cluster_config": {"service_name": upstream.name, "eds_config": _by_file(door, upstream)},
        "circuit_breakers": {"thresholds": [_thresholds(limits)]},
        "typed_extension_protocol_options": {HTTP_OPTIONS: _http2(limits)},
    }


def _by_file(door: Door, upstream: Upstream) -> dict[str, Any]:
    source = {
        "path": str(endpoints_file(door.endpoints_folder, upstream.name)),
        "watched_directory": {"path": str(door.endpoints_folder)},
    }
    return {"resource_api_version": "V3", "path_config_source": source}


def _thresholds(limits: DoorSettings) -> dict[str, Any]:
    return {
        "max_connections": limits.max_calls,
        "max_requests": limits.max_calls,
        "max_pending_requests": limits.max_calls,
        # without a budget Envoy allows three repeats at a time, and a restart under load shows through
        "retry_budget": {
            "budget_percent": {"value": limits.retry_budget_percent},
            "min_retry_concurrency": limits.retry_budget_least,
        },
    }


def _http2(limits: DoorSettings) -> dict[str, Any]:
    # a frozen service answers no ping: its calls then fail within seconds instead of at their deadline
    sign_of_life = {"interval": seconds(limits.keepalive), "timeout": seconds(limits.keepalive)}
    options = {
        "connection_keepalive": sign_of_life,
        "initial_stream_window_size": 65_536,
        "initial_connection_window_size": 1_048_576,
    }
    return {
        "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
        "explicit_http_config": {"http2_protocol_options": options},
        "common_http_protocol_options": {"idle_timeout": seconds(limits.idle_timeout)},
    }
