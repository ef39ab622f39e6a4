"""The rendered configuration holds what Envoy's guide for edge proxies asks for, and Envoy itself finds it right."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from envoy import binary, bootstrap
from envoy.door import Door, Upstream
from envoy.settings import DoorSettings
from mesh import contracts
from mesh.catalogue import DOOR_PORT, SERVICES

ADMIN_PORT = 3999
UPSTREAMS = tuple(Upstream(spec.name, spec.port, spec.grpc_services) for spec in SERVICES)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    """The door of the whole catalogue."""
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("<!doctype html>")
    return Door(
        upstreams=UPSTREAMS,
        port=DOOR_PORT,
        admin_port=ADMIN_PORT,
        descriptors=tmp_path / "descriptors.binpb",
        endpoints_folder=tmp_path / "endpoints",
        pages_folder=pages,
        site_folder=pages / "none",
        access_log=tmp_path / "log" / "access.jsonl",
    )


@pytest.fixture
def config(door: Door) -> dict[str, Any]:
    """Its configuration."""
    return bootstrap.render(door)


def managers(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The HTTP connection manager of each listener."""
    for listener in config["static_resources"]["listeners"]:
        yield listener["filter_chains"][0]["filters"][0]["typed_config"]


def routes(manager: dict[str, Any]) -> list[dict[str, Any]]:
    """The routes of a listener."""
    found: list[dict[str, Any]] = manager["route_config"]["virtual_hosts"][0]["routes"]
    return found


def test_envoy_finds_the_configuration_right(door: Door, tmp_path: Path) -> None:
    """`envoy --mode validate` opens the descriptor set and every file that is named."""
    config = tmp_path / "envoy.json"
    bootstrap.write(door, config)
    checked = subprocess.run(binary.validation(config), capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "deprecated" not in checked.stderr.lower()


def test_there_is_a_listener_for_all_and_one_for_each_service(config: dict[str, Any]) -> None:
    """On loopback, unless the settings say otherwise."""
    addresses = [listener["address"]["socket_address"] for listener in config["static_resources"]["listeners"]]
    assert [address["port_value"] for address in addresses] == [DOOR_PORT, *(spec.port for spec in SERVICES)]
    assert {address["address"] for address in addresses} == {"127.0.0.1"}
    assert config["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": ADMIN_PORT}


EDGE = {
    "use_remote_address": True,
    "normalize_path": True,
    "merge_slashes": True,
    "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
    "strip_any_host_port": True,
    "request_headers_timeout": "10.000s",
    "stream_idle_timeout": "300.000s",
    "max_request_headers_kb": 32,
    "always_set_request_id_in_response": True,
    "server_name": "tooloo",
    "http2_protocol_options": {
        "max_concurrent_streams": 256,
        "initial_stream_window_size": 65_536,
        "initial_connection_window_size": 1_048_576,
    },
    "common_http_protocol_options": {
        "idle_timeout": "3600.000s",
        "max_headers_count": 100,
        "headers_with_underscores_action": "REJECT_REQUEST",
    },
}


@pytest.mark.parametrize("setting", EDGE)
def test_every_listener_is_an_edge(config: dict[str, Any], setting: str) -> None:
    """What the edge guide asks of the HTTP connection manager."""
    assert [manager[setting] for manager in managers(config)] == [EDGE[setting]] * (1 + len(SERVICES))


def test_memory_is_bounded(config: dict[str, Any]) -> None:
    """Small buffers on both sides, connections counted, and an overload manager that refuses before the heap is full."""
    resources = config["static_resources"]
    bounded = [each["per_connection_buffer_limit_bytes"] for each in (*resources["listeners"], *resources["clusters"])]
    assert set(bounded) == {32_768}
    overload = config["overload_manager"]
    assert [monitor["name"].rsplit(".", 1)[-1] for monitor in overload["resource_monitors"]] == [
        "fixed_heap",
        "global_downstream_max_connections",
    ]
    thresholds = {action["name"].rsplit(".", 1)[-1]: action["triggers"][0]["threshold"]["value"] for action in overload["actions"]}
    assert thresholds == {"shrink_heap": 0.95, "stop_accepting_requests": 0.98}


def test_services_are_reached_by_endpoint_files(door: Door, config: dict[str, Any]) -> None:
    """One file each in a watched folder; removed replicas are out whatever a health check thinks."""
    for cluster, upstream in zip(config["static_resources"]["clusters"], UPSTREAMS, strict=True):
        source = cluster["eds_cluster_config"]["eds_config"]["path_config_source"]
        assert (cluster["type"], cluster["ignore_health_on_host_removal"]) == ("EDS", True)
        assert source["path"] == str(door.endpoints_folder / f"{upstream.name}.json")
        assert source["watched_directory"]["path"] == str(door.endpoints_folder)


def test_services_are_protected_from_too_much(config: dict[str, Any]) -> None:
    """Calls at a time are bounded, repeats have a budget, and a frozen service is noticed."""
    for cluster in config["static_resources"]["clusters"]:
        (thresholds,) = cluster["circuit_breakers"]["thresholds"]
        assert thresholds["max_requests"] == thresholds["max_pending_requests"] == 1024
        assert thresholds["retry_budget"] == {"budget_percent": {"value": 50}, "min_retry_concurrency": 100}
        (options,) = cluster["typed_extension_protocol_options"].values()
        keepalive = options["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"]
        assert keepalive == {"interval": "5.000s", "timeout": "5.000s"}


def test_each_stream_has_a_route_without_an_end(config: dict[str, Any]) -> None:
    """No deadline and no idle limit for a streaming RPC, and none of the deadlines meant for unary calls."""
    streams = {f"/{method.name}" for method in contracts.methods().values() if not method.unary}
    door, *_ = managers(config)
    found = {route["match"]["path"]: route["route"] for route in routes(door) if route["match"].get("path") in streams}
    assert found.keys() == streams
    for action in found.values():
        assert (action["timeout"], action["idle_timeout"]) == ("0s", "0s")
        assert "max_stream_duration" not in action


def test_each_service_has_its_calls_bounded_and_repeated(config: dict[str, Any]) -> None:
    """Unary calls have a deadline; what never reached the service is repeated, and more only where that is safe."""
    door, *_ = managers(config)
    for spec in SERVICES:
        for grpc_service in spec.grpc_services:
            own = [route for route in routes(door) if route["match"].get("prefix") == f"/{grpc_service}/"]
            assert [route["route"]["cluster"] for route in own] == [spec.name] * 3
            retried = [route["route"]["retry_policy"]["retry_on"].split(",") for route in own]
            assert ["reset" in conditions for conditions in retried] == [True, True, False]
            assert [route["match"]["headers"][0]["name"] for route in own[:2]] == ["x-envoy-original-method", "idempotency-key"]
            for route in own:
                assert route["route"]["max_stream_duration"]["grpc_timeout_header_max"] == "600.000s"
                assert route["request_headers_to_add"][0]["header"] == {"key": "grpc-timeout", "value": "30000m"}


def test_the_transcoder_refuses_what_it_does_not_know(config: dict[str, Any]) -> None:
    """And answers with all fields; health is the mesh's where the mesh is answered, else grpc.health.v1."""
    for manager in managers(config):
        transcoder = next(each["typed_config"] for each in manager["http_filters"] if each["name"].endswith("transcoder"))
        assert all(transcoder["request_validation_options"].values())
        assert transcoder["convert_grpc_status"] is True
        assert transcoder["print_options"] == {"always_print_primitive_fields": True}
        health = {"grpc.health.v1.Health", "tooloo.system.v1.SystemService"} & set(transcoder["services"])
        assert len(health) == 1


def test_filters_stand_in_their_order(config: dict[str, Any]) -> None:
    """CORS before everything, headers around everything, the script between transcoder and compressors, HEAD around those."""
    for manager in managers(config):
        assert [each["name"].removeprefix("envoy.filters.http.") for each in manager["http_filters"]] == [
            "cors",
            "header_mutation",
            "tooloo.head",
            "compressor.brotli",
            "compressor.gzip",
            "lua",
            "buffer",
            "grpc_web",
            "grpc_json_transcoder",
            "router",
        ]


def test_only_known_host_names_are_answered(door: Door, config: dict[str, Any]) -> None:
    """Others get 421, unless the settings let everyone in."""
    first, second = next(managers(config))["route_config"]["virtual_hosts"]
    assert first["domains"] == ["localhost", "127.0.0.1", "[::1]"]
    assert second["routes"][0]["direct_response"]["status"] == 421
    open_door = bootstrap.render(replace(door, settings=DoorSettings(hosts=("*",))))
    assert len(next(managers(open_door))["route_config"]["virtual_hosts"]) == 1


@pytest.mark.parametrize(("address", "host"), [("192.0.2.7", "192.0.2.7"), ("::", "[::1]"), ("fd00::7", "[fd00::7]")])
def test_this_machine_is_answered_whatever_the_settings_let_in(door: Door, address: str, host: str) -> None:
    """Services, command and probes call by its names; its pages may write only when the settings name it."""
    settings = DoorSettings(hosts=("mesh.example.com",))
    rendered = bootstrap.render(replace(door, address=address, settings=settings))
    first, _ = next(managers(rendered))["route_config"]["virtual_hosts"]
    assert first["domains"] == list(dict.fromkeys(["mesh.example.com", "localhost", "127.0.0.1", "[::1]", host]))
    assert f"http://localhost:{door.port}" not in json.dumps(first["routes"][0])


def test_writing_makes_the_endpoint_files_that_envoy_needs_to_start(door: Door, tmp_path: Path) -> None:
    """Empty ones, and never over what a supervisor wrote before."""
    kept = door.endpoints_folder / "bus.json"
    kept.parent.mkdir()
    kept.write_text("{}")
    bootstrap.write(door, tmp_path / "envoy.json")
    assert kept.read_text() == "{}"
    assert {path.stem for path in door.endpoints_folder.glob("*.json")} == {spec.name for spec in SERVICES}


def test_what_is_written_is_what_is_rendered_with_a_descriptor_set_without_comments(door: Door, tmp_path: Path) -> None:
    """Envoy keeps a copy for each transcoder, and comments are most of it."""
    bootstrap.write(door, tmp_path / "envoy.json")
    assert json.loads((tmp_path / "envoy.json").read_text()) == bootstrap.render(door)
    files = descriptor_pb2.FileDescriptorSet.FromString(door.descriptors.read_bytes())
    assert [file.name for file in files.file] == [file.name for file in contracts.descriptor_set().file]
    assert not any(file.HasField("source_code_info") for file in files.file)
