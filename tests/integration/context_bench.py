"""What tests of the context service share: trees, a stub, and everything that an index answers as one comparable value."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToDict
from tooloo.context.v1 import context_service_pb2 as api
from tooloo.context.v1.context_service_pb2_grpc import ContextServiceStub

from mesh import testing
from services.context.__main__ import build
from services.context.reading import Limits
from services.context.workers.pool import Outcomes, Pool

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.context.v1.context_service_pb2_grpc import ContextServiceAsyncStub

TREE = {
    "app/__init__.py": "",
    "app/main.py": "from app import store\nfrom .util import text\n\n\ndef main():\n    pass\n",
    "app/store.py": "from app.util import text\n\n\nclass Store:\n    def get(self):\n        pass\n",
    "app/util/__init__.py": "",
    "app/util/text.py": "LIMIT = 10\n\n\ndef clean(text):\n    return text\n",
    "web/index.ts": "import { draw } from './draw'\nexport const run = () => draw()\n",
    "web/draw.ts": "export function draw() {}\n",
    "README.md": "# Tree\n\n## Use\n",
}


def write_tree(root: Path, files: Mapping[str, str | None]) -> Path:
    """Writes files by path; None deletes one."""
    for path, content in files.items():
        if content is None:
            (root / path).unlink(missing_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content)
    return root


class Index:
    """A running context service with its calls."""

    def __init__(self, running: testing.Bench) -> None:
        self.running = running

    @property
    def stub(self) -> ContextServiceAsyncStub:
        """The service's calls."""
        return ContextServiceStub(self.running.channel)

    async def analyze(self, path: Path | str, repo_id: str = "", request_id: str = "") -> api.AnalyzeContextResponse:
        """Indexes a folder."""
        return await self.stub.AnalyzeContext(api.AnalyzeContextRequest(path=str(path), repo_id=repo_id, request_id=request_id))

    async def watched(self, path: Path | str, repo_id: str = "", request_id: str = "") -> list[api.IndexRepositoryResponse]:
        """Indexes a folder; everything that is told meanwhile."""
        request = api.IndexRepositoryRequest(path=str(path), repo_id=repo_id, request_id=request_id)
        return [message async for message in self.stub.IndexRepository(request)]

    async def paths(self, repo_id: str, *, page_size: int = 0, language: str = "", query: str = "") -> list[str]:
        """Every file's path, page by page."""
        found, token = [], ""
        while True:
            answer = await self.stub.ListContextFiles(
                api.ListContextFilesRequest(repo_id=repo_id, language=language, query=query, page_size=page_size, page_token=token)
            )
            found += [file.path for file in answer.files]
            token = answer.next_page_token
            if not token:
                return found

    async def everything(self, repo_id: str) -> dict[str, Any]:
        """All that the index answers, without what belongs to the run: its id, times and durations."""
        shape = await self.stub.GetRepoStructure(
            api.GetRepoStructureRequest(repo_id=repo_id, depth=16, max_nodes=5000, central_files=100)
        )
        answers: dict[str, Any] = {"": MessageToDict(shape)}
        for gone in ("repoId", "status", "duration"):
            answers[""]["repository"].pop(gone)
        for path in await self.paths(repo_id):
            file = await self.stub.GetContextFile(api.GetContextFileRequest(repo_id=repo_id, path=path))
            file.ClearField("status")
            answers[path] = MessageToDict(file)
        return answers


class Gate:
    """Holds every run where it wants to read files, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        read = Pool.read

        async def held(pool: Pool, root: Path, files: Sequence[tuple[str, str]], limits: Limits) -> Outcomes:
            self.reached.set()
            await self.opened.wait()
            return await read(pool, root, files, limits)

        monkeypatch.setattr(Pool, "read", held)


@asynccontextmanager
async def running(folder: Path, roots: Path, **settings: str) -> AsyncIterator[Index]:
    """A service on files in `folder` that may index what is under `roots`; settings as max_files="5"."""
    env = {f"TOOLOO_CONTEXT_{name.upper()}": value for name, value in settings.items()}
    async with testing.running("context", build, folder, settings={"TOOLOO_CONTEXT_ROOTS": str(roots), **env}) as bench:
        yield Index(bench)
