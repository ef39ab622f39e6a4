"""What a gateway adds to a call: ours (Envoy, provider service, budgets at FULL durability) beside LiteLLM's proxy.

`python -m bench.provider.overhead [seconds]` installs LiteLLM's proxy into build/peers/litellm once, starts both gateways before
one aimock, and takes turns among that far end, ours and LiteLLM. Prints what each adds and the memory that it takes; exit code 1: a
bar is missed. LiteLLM runs as its quick start says, without a database; ours reserves, settles and tells events for each call.
"""

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.http_load import Figures, load, post
from bench.provider.litellm import litellm
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


def _ours(mesh: Mesh) -> Memory:
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
                    figures = await load(port, post("/v1/chat/completions", port, body), connections, seconds)
                    # the first round warms everybody up
                    if round_:
                        found.setdefault((kind, connections, who), []).append(figures)
    return found


def show(found: Found, ours: Memory, theirs: float) -> bool:
    """Prints the table; False when a bar is missed."""
    head = ("p50 ms", "p99 ms", "added p50", "added p99", "calls/s", "failed")
    print(f"{'call':<10}{'conns':>6}{'who':>10}" + "".join(f"{name:>{width}}" for name, width in zip(head, _WIDTHS, strict=True)))
    met = True
    for kind, connections in sorted({key[:2] for key in found}):
        median = {who: Figures.median(found[kind, connections, who]) for who in ("direct", "tooloo", "litellm")}
        base = median["direct"]
        for who, each in median.items():
            added = f"{each.p50_ms - base.p50_ms:>11.2f}{each.p99_ms - base.p99_ms:>11.2f}" if who != "direct" else f"{'':>22}"
            line = f"{each.p50_ms:>9.2f}{each.p99_ms:>9.2f}{added}{each.rate:>9.0f}{each.failed:>8}"
            print(f"{kind:<10}{connections:>6}{who:>10}{line}")
        ratio = (median["tooloo"].p50_ms - base.p50_ms) / (median["litellm"].p50_ms - base.p50_ms)
        tail = (median["tooloo"].p99_ms - base.p99_ms) / max(median["litellm"].p99_ms - base.p99_ms, 0.001)
        met &= ratio <= BAR and not any(each.failed for each in median.values())
        print(f"{'':<16}{'ratio of added p50':>22} {ratio:.2f} (bar {BAR}), of added p99 {tail:.2f}")
    share = ours.gateway / theirs
    print(f"memory: provider service {ours.gateway:.0f} MiB, LiteLLM {theirs:.0f} MiB: {share:.2f} (bar {BAR})")
    print(f"        and {ours.door:.0f} MiB of Envoy, which all services share")
    return met and share <= BAR


async def main(seconds: float) -> int:
    """Starts all, measures, prints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with aimock(folder, FIXTURES) as mock:
            (folder / "registry.toml").write_text(REGISTRY.format(url=mock.url))
            env = {"TOOLOO_PROVIDER_REGISTRY_FILE": str(folder / "registry.toml")}
            peer = litellm(folder, CONFIG.format(url=mock.url), OPEN)
            with running_mesh(folder / "var", env) as mesh, peer as (port, process):
                ports = {"direct": int(mock.url.rpartition(":")[2]), "tooloo": mesh.door_port, "litellm": port}
                found = await measure(ports, seconds)
                return 0 if show(found, _ours(mesh), _resident(psutil.Process(process.pid))) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)))
