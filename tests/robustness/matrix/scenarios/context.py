"""Context: trees that change and are indexed again, and a checkout whose commits move on; an index is what its files are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tooloo.context.v1 import context_service_pb2 as pb
from tooloo.context.v1.context_service_pb2_grpc import ContextServiceStub

from tests.robustness.matrix.scenario import Scenario

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.context.v1.context_service_pb2_grpc import ContextServiceAsyncStub


_TREES = 3
_FILES = 5
_CHECKOUT = "checkout"


class Work(Scenario):
    """Callers who change a tree and have it indexed."""

    async def open(self, stack: AsyncExitStack) -> Mapping[str, str]:
        """Trees of their own, and a look at commits that comes round often."""
        self.trees = self.folder / "trees"
        self.locks = [asyncio.Lock() for _ in range(_TREES)]
        for name in (*map(str, range(_TREES)), _CHECKOUT):
            (self.trees / name).mkdir(parents=True)
        return {
            "TOOLOO_CONTEXT_ROOTS": str(self.trees),
            "TOOLOO_CONTEXT_FRESHNESS_INTERVAL": "50ms",
            "TOOLOO_CONTEXT_MAX_RUNS": str(_TREES + 1),
            "TOOLOO_CONTEXT_WORKERS": "1",
        }

    async def prepare(self) -> None:
        """The checkout is indexed at its first commit."""
        self._commit(0)
        self.commits = 0
        await self._index(_CHECKOUT)

    async def work(self, number: int) -> None:
        """A file changes, another one goes, and the tree is indexed."""
        tree = number % _TREES
        async with self.locks[tree]:
            folder = self.trees / str(tree)
            (folder / f"m{number % _FILES}.py").write_text(f"def f{number}():\n    return {number}\n")
            (folder / f"m{(number + 1) % _FILES}.py").unlink(missing_ok=True)
            await self._index(str(tree))

    async def read(self) -> None:
        """The repositories."""
        await self._stub.ListRepositories(pb.ListRepositoriesRequest(), timeout=60)

    async def ticks(self) -> int:
        """How often it was noticed that another commit is checked out, which is so with every question."""
        self.commits += 1
        self._commit(self.commits)
        return len(await self.stand.told("context.stale"))

    async def broken(self) -> str:
        """Files and their functions, tree by tree."""
        for tree in range(_TREES):
            folder = self.trees / str(tree)
            there = {file.name: file.stat().st_size for file in folder.iterdir()}
            if not there:
                continue
            shown = await self._stub.ListContextFiles(pb.ListContextFilesRequest(repo_id=str(tree)), wait_for_ready=True)
            if {file.path: file.bytes for file in shown.files} != there:
                return f"tree {tree} has {there}, its index {shown.files}"
            found = await self._stub.SearchSymbols(pb.SearchSymbolsRequest(repo_id=str(tree), query="f"))
            written = {file.read_text().split("(")[0].removeprefix("def ") for file in folder.iterdir()}
            if {symbol.name for symbol in found.symbols} != written:
                return f"tree {tree} has the functions {written}, its index {[symbol.name for symbol in found.symbols]}"
        return ""

    async def _index(self, name: str) -> None:
        request = pb.AnalyzeContextRequest(path=str(self.trees / name), repo_id=name, request_id=self.request_id())
        await self.stand.caller.call(self._stub.AnalyzeContext, request)

    def _commit(self, number: int) -> None:
        git = self.trees / _CHECKOUT / ".git"
        git.mkdir(exist_ok=True)
        fresh = Path(f"{git}/HEAD.new")
        fresh.write_text(f"{number:040x}\n")
        fresh.replace(git / "HEAD")

    @property
    def _stub(self) -> ContextServiceAsyncStub:
        return ContextServiceStub(self.stand.caller.channel)
