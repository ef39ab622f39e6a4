"""A provider service behind a real Envoy, with aimock or a server of the test's own as the providers' far end."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from envoy.door import Door
from envoy.settings import DoorSettings
from envoy.testing import door_on_free_ports, running_door
from mesh import boot, catalogue, contracts, testing
from services.provider.__main__ import build
from tests.peers.aimock import Fixture, Mock, aimock

KEY = "sk-test-0123456789abcdef-SECRET"
HELLO = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
FIXTURES: Sequence[Fixture] = (
    {"match": {"userMessage": "hello"}, "response": {"content": "Hello! How can I help you today?", "usage": HELLO}},
    {"match": {"userMessage": "weather"}, "response": {"toolCalls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]}},
    {"match": {"userMessage": "think"}, "response": {"content": "42", "reasoning": "six times seven"}},
)
REGISTRY = """
[tiers]
good = {{ quality = 0.8, tokens_per_second = 100 }}
[providers.openai]
base_url = "{url}/v1"
timeouts.connect = "60s"
models = {{ "gpt-5-mini" = {{ tier = "good", context_window = 100000 }} }}
[providers.anthropic]
dialect = "anthropic"
base_url = "{url}"
timeouts.connect = "60s"
models = {{ "claude-haiku-4-5" = {{ tier = "good", context_window = 100000 }} }}
[providers.google]
dialect = "gemini"
base_url = "{url}"
timeouts.connect = "60s"
models = {{ "gemini-2.5-flash" = {{ tier = "good", context_window = 100000 }} }}
[providers.ollama]
dialect = "ollama"
base_url = "{url}"
timeouts.connect = "60s"
local = true
address = "{address}"
models = {{ "llama3.2:3b" = {{ tier = "good", context_window = 100000 }} }}
[providers.local]
dialect = "echo"
local = true
models = {{ echo = {{ quality = 0.0, tokens_per_second = 1000, context_window = 100000 }} }}
"""
MODELS = ("openai/gpt-5-mini", "anthropic/claude-haiku-4-5", "google/gemini-2.5-flash", "ollama/llama3.2:3b")


@dataclass
class Calling:
    """A running service, the address of its door, and the far end."""

    url: str
    service: testing.Bench
    folder: Path


@asynccontextmanager
async def service_before(url: str, folder: Path, build: boot.Build = build, **more: str) -> AsyncIterator[testing.Bench]:
    """The service whose providers are all at this address; `more` are settings of the provider by name."""
    registry = folder / "registry.toml"
    registry.write_text(REGISTRY.format(url=url, address=url.removeprefix("http://")))
    quick = {"TOOLOO_PROVIDER_RETRY_BASE": "10ms", "TOOLOO_PROVIDER_RETRY_LONGEST": "50ms"}
    own = {f"TOOLOO_PROVIDER_{name.upper()}": value for name, value in more.items()}
    settings = {"TOOLOO_PROVIDER_REGISTRY_FILE": str(registry), **quick, **own}
    async with testing.running("provider", build, folder / "data", settings=settings) as service:
        yield service


@asynccontextmanager
async def door_before(
    url: str,
    folder: Path,
    build: boot.Build = build,
    large_bytes: int = Door.large_bytes,
    settings: DoorSettings | None = None,
    **more: str,
) -> AsyncIterator[Calling]:
    """The same, behind Envoy. `build` may be tests.support.straight's, where nothing is tried again and nothing cools down."""
    async with service_before(url, folder, build, **more) as service:
        door = door_on_free_ports(folder, {"provider": catalogue.service("provider").grpc_services}, settings or DoorSettings())
        door = replace(door, large_bytes=large_bytes)
        door.descriptors.write_bytes(contracts.descriptor_path().read_bytes())
        socket = Path(service.address.removeprefix("unix:"))
        async with running_door(door, folder, {"provider": [socket]}):
            yield Calling(f"http://127.0.0.1:{door.port}", service, folder)


@asynccontextmanager
async def door_to_aimock(folder: Path, *flags: str, build: boot.Build = build) -> AsyncIterator[tuple[Calling, Mock]]:
    """The service behind Envoy, aimock behind the service."""
    async with aimock(folder, FIXTURES, *flags) as mock, door_before(mock.url, folder, build) as calling:
        yield calling, mock
