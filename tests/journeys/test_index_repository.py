"""Index: this very repository is read, and what the index says of it is what Python and the disk say."""

import ast

from tooloo.context.v1.context_service_pb2 import GetContextFileRequest, GetRepoStructureRequest
from tooloo.context.v1.context_service_pb2_grpc import ContextServiceStub
from tooloo.context.v1.source_file_pb2 import SYMBOL_KIND_CLASS, SYMBOL_KIND_FUNCTION, SYMBOL_KIND_METHOD

from tests.journeys.steps import get, post, told
from tests.support.mesh import ROOT, Mesh

REPO = "this-repository"
READ = "mesh/clock.py"
DEFINITIONS = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


async def test_this_repository_is_indexed(mesh: Mesh) -> None:
    """Files, symbols, imports and shape; a second run parses nothing that has not changed."""
    async with mesh.rest() as client:
        indexed = (await post(client, "context/analyze", {"path": ".", "repoId": REPO}))["repository"]
        assert indexed["root"] == str(ROOT)
        assert indexed["languages"][0]["language"] == "python"
        assert int(indexed["resolvedImports"]) > 500
        files = await get(client, "context/files", repoId=REPO, language="python", query="services/learning/", page_size=1000)
        found = {each["path"] for each in files["files"] if each["path"].startswith("services/learning/")}
        assert found == {str(path.relative_to(ROOT)) for path in (ROOT / "services/learning").rglob("*.py")}
        assert all(each["parseState"] == "PARSE_STATE_PARSED" for each in files["files"])

        structure = await get(client, "repos/structure", repoId=REPO, depth=2)
        folders = {child["name"] for child in structure["tree"]["children"] if child["folder"]}
        assert folders >= {"bus", "envoy", "gateway", "mesh", "proto", "services", "tests"}
        assert not folders & {".git", ".venv", "build", "var"}, "what git ignores is left out"
        assert structure["tree"]["files"] == structure["repository"]["files"]
        assert any(each["path"].startswith("mesh/") for each in structure["centralFiles"]), "everything leans on the kit"
        (service,) = (await get(client, "context/symbols", repoId=REPO, query="EventBusService"))["symbols"]
        assert (service["path"], service["kind"]) == ("bus/service.py", "SYMBOL_KIND_CLASS")
        (event,) = await told(mesh, "context.indexed", repoId=REPO)
        assert event["data"]["files"] == indexed["files"]

        again = await post(client, "context/analyze", {"path": ".", "repoId": REPO})
        assert int(again["unchangedFiles"]) > 0.9 * int(indexed["files"])
    await _same_by_grpc(mesh)


async def _same_by_grpc(mesh: Mesh) -> None:
    """One file against Python's own parser and the disk."""
    async with mesh.channel("context") as own_port, mesh.channel() as door:
        read = await ContextServiceStub(own_port).GetContextFile(GetContextFileRequest(repo_id=REPO, path=READ))
        structure = await ContextServiceStub(door).GetRepoStructure(GetRepoStructureRequest(repo_id=REPO))
    source = (ROOT / READ).read_text()
    assert (read.file.bytes, read.file.lines) == (len(source.encode()), len(source.splitlines()))
    wanted = {(node.name, node.lineno) for node in ast.walk(ast.parse(source)) if isinstance(node, DEFINITIONS)}
    kinds = {SYMBOL_KIND_CLASS, SYMBOL_KIND_FUNCTION, SYMBOL_KIND_METHOD}
    assert {(symbol.name, symbol.start_line) for symbol in read.symbols if symbol.kind in kinds} == wanted
    assert "mesh/outbox.py" in read.imported_by
    assert structure.repository.repo_id == REPO


async def test_what_may_not_be_read_is_refused(mesh: Mesh) -> None:
    """A folder outside the allowed roots and one that does not exist are refused alike; an unknown repository is not found."""
    async with mesh.rest() as client:
        refusals = [await client.post("/api/v1/context/analyze", json={"path": path}) for path in ("/etc", "./no-such-folder")]
        assert [answer.status_code for answer in refusals] == [400, 400]
        assert {answer.json()["details"][0]["reason"] for answer in refusals} == {"PATH_NOT_ALLOWED"}
        assert (await client.get("/api/v1/repos/structure", params={"repoId": "nobody"})).status_code == 404
