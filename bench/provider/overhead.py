"""What a gateway adds to a call: ours (Envoy, provider service, budgets at FULL durability) beside LiteLLM's proxy.

`python -m bench.provider.overhead [seconds]` installs LiteLLM's proxy into build/peers/litellm once, starts both gateways before
one aimock, and takes turns among that far end, ours and LiteLLM. Prints what each adds and the memory that it takes; exit code 1: a
bar is missed. Ours reserves and settles on the disk and tells events for each call. LiteLLM runs twice: as its quick start says,
without a database and so without budgets, which the bar is about; and with a budget for each key, reserved and settled in memory.
"""

import asyncio
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.http_load import Figures, load, post
from bench.provider.litellm import litellm, with_budgets
from tests.peers.aimock import aimock
from tests.support.mesh import Mesh, running_mesh

SECONDS = 4.0
ROUNDS = 5
CONNECTIONS = (1, 16)
BAR = 0.2
MIB = 1024 * 1024
FIXTURES = [
    {
        "match": {"userMessage": "question"},
        "response": {
            "content": "An answer of about a dozen words, as chats often give them.",
            "usage": {"prompt_tokens": 12, "completion_tokens": 14, "total_tokens": 26},
        },
    }
]
REGISTRY = """
[tiers]
good = {{ quality = 0.8, tokens_per_second = 100 }}
[providers.openai]
base_url = "{url}/v1"
models = {{ "gpt-5-mini" = {{ tier = "good", context_window = 100000, price = {{ input = "0.25", output = "2" }} }} }}
"""
CONFIG = """
model_list:
  - model_name: gpt-5-mini
    litellm_params: {{ model: openai/gpt-5-mini, api_base: "{url}/v1", api_key: sk-none }}
litellm_settings: {{ telemetry: false }}
"""
# it needs no key, as its quick start has it
OPEN = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
# dollars: nobody is refused
_LIMIT = 1e6
_HEADERS = "Authorization: Bearer sk-bench\r\n"
DIRECT, OURS, THEIRS, WITH_BUDGETS = "direct", "tooloo", "litellm", "and budgets"
PLAIN, STREAM = "whole", "streamed"
BODIES = {
    PLAIN: '{"model":"gpt-5-mini","messages":[{"role":"user","content":"question"}]}',
    STREAM: '{"model":"gpt-5-mini","stream":true,"messages":[{"role":"user","content":"question"}]}',
}
_WIDTHS = (9, 9, 11, 11, 9, 8)
Found = dict[tuple[str, int, str], list[Figures]]


@dataclass(frozen=True)
class Memory:
    """MiB of the processes that answer calls."""

    gateway: float
    door: float


def _resident(process: psutil.Process) -> float:
    return float(sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))) / MIB


def memory_of(mesh: Mesh) -> Memory:
    """The provider service alone, and Envoy, which all services share."""
    by_name = {"services.provider": 0.0, "envoy": 0.0}
    for child in psutil.Process(mesh.pid).children(recursive=True):
        command = " ".join(child.cmdline())
        for name in by_name:
            if name in command.split()[0] or f"-m {name}" in command:
                by_name[name] += child.memory_info().rss / MIB
    return Memory(by_name["services.provider"], by_name["envoy"])


async def measure(ports: dict[str, int], seconds: float) -> Found:
    """Every gateway in every round, next to each other, so that a busy minute meets each alike."""
    found: Found = {}
    for round_ in range(ROUNDS + 1):
        for kind, body in BODIES.items():
            for connections in CONNECTIONS:
                for who, port in ports.items():
                    request = post("/v1/chat/completions", port, body, _HEADERS)
                    figures = await load(port, request, connections, seconds)
                    # the first round warms everybody up
                    if round_:
                        found.setdefault((kind, connections, who), []).append(figures)
    return found


def show(found: Found, ours: Memory, theirs: float) -> bool:
    """Prints the table; False when a bar is missed."""
    head = ("p50 ms", "p99 ms", "added p50", "added p99", "calls/s", "failed")
    print(f"{'call':<10}{'conns':>6}{'who':>12}" + "".join(f"{name:>{width}}" for name, width in zip(head, _WIDTHS, strict=True)))
    met = True
    for kind, connections in sorted({key[:2] for key in found}):
        median = {who: Figures.median(found[kind, connections, who]) for who in (DIRECT, OURS, THEIRS, WITH_BUDGETS)}
        for who, each in median.items():
            added = f"{'':>22}" if who == DIRECT else "".join(f"{value:>11.2f}" for value in _added(median, who))
            line = f"{each.p50_ms:>9.2f}{each.p99_ms:>9.2f}{added}{each.rate:>9.0f}{each.failed:>8}"
            print(f"{kind:<10}{connections:>6}{who:>12}{line}")
        ratio, tail = _ratios(median, THEIRS)
        equal, equal_tail = _ratios(median, WITH_BUDGETS)
        print(f"{'':<16}{'ratio of added p50':>22} {ratio:.2f} (bar {BAR}), of added p99 {tail:.2f}")
        print(f"{'':<16}{'to LiteLLM and budgets':>22} {equal:.2f}, of added p99 {equal_tail:.2f}")
        met &= ratio <= BAR and not any(each.failed for each in median.values())
    share = ours.gateway / theirs
    print(f"memory: provider service {ours.gateway:.0f} MiB, LiteLLM {theirs:.0f} MiB: {share:.2f} (bar {BAR})")
    print(f"        and {ours.door:.0f} MiB of Envoy, which all services share")
    return met and share <= BAR


def _added(median: Mapping[str, Figures], who: str) -> tuple[float, float]:
    """Milliseconds that a gateway adds to the far end's own p50 and p99."""
    return median[who].p50_ms - median[DIRECT].p50_ms, median[who].p99_ms - median[DIRECT].p99_ms


def _ratios(median: Mapping[str, Figures], peer: str) -> tuple[float, float]:
    """What ours adds to p50 and p99, over what a peer adds."""
    (ours50, ours99), (theirs50, theirs99) = _added(median, OURS), _added(median, peer)
    return ours50 / theirs50, ours99 / max(theirs99, 0.001)


async def main(seconds: float) -> int:
    """Starts all, measures, prints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with aimock(folder, FIXTURES) as mock:
            (folder / "registry.toml").write_text(REGISTRY.format(url=mock.url))
            env = {"TOOLOO_PROVIDER_REGISTRY_FILE": str(folder / "registry.toml")}
            (folder / "budgets").mkdir()
            with (
                running_mesh(folder / "var", env) as mesh,
                litellm(folder, CONFIG.format(url=mock.url), OPEN) as (port, process),
                with_budgets(folder / "budgets", mock.url, _LIMIT) as (other, _),
            ):
                ports = {DIRECT: int(mock.url.rpartition(":")[2]), OURS: mesh.door_port, THEIRS: port, WITH_BUDGETS: other}
                found = await measure(ports, seconds)
                return 0 if show(found, memory_of(mesh), _resident(psutil.Process(process.pid))) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)))
