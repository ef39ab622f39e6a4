"""The store's rows as the contract's wire."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from tooloo.context.v1 import repository_pb2, source_file_pb2, structure_pb2
from tooloo.progress.v1 import progress_pb2

from mesh.db import Row
from services.context.freshness import Sight, why_stale
from services.context.progress import Progress
from services.context.store import Repository
from services.context.structure import Node


def timestamp(microseconds: int) -> Timestamp:
    """A time of day; microseconds since the epoch."""
    return Timestamp(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)


def duration(microseconds: int) -> Duration:
    """A length of time."""
    return Duration(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)


def status(repository: Repository, stale_detail: str) -> repository_pb2.IndexStatus:
    """How old an index is; `stale_detail` is empty when it is not known to be stale."""
    return repository_pb2.IndexStatus(
        index_time=timestamp(repository.index_us),
        check_time=timestamp(repository.check_us),
        commit=repository.commit_id,
        stale=bool(stale_detail),
        stale_detail=stale_detail,
    )


def progress(now: Progress, seconds: float) -> progress_pb2.Progress:
    """How far a run is, so long after its beginning."""
    return progress_pb2.Progress(
        phase=now.phase,
        done=now.done,
        total=now.total,
        unit="files",
        bytes=now.bytes,
        elapsed=duration(round(seconds * 1_000_000)),
    )


def repository(stored: Repository, languages: list[Row], sight: Sight) -> repository_pb2.Repository:
    """A repository with its languages, as it stands beside its folder."""
    return repository_pb2.Repository(
        repo_id=stored.repo_id,
        root=stored.root,
        files=stored.files,
        bytes=stored.bytes,
        lines=stored.lines,
        symbols=stored.symbols,
        imports=stored.imports,
        resolved_imports=stored.resolved_imports,
        languages=map(language_total, languages),
        skipped=[
            repository_pb2.SkippedFiles(reason=repository_pb2.SkipReason.ValueType(reason), files=count, examples=sorted(examples))
            for reason, (count, examples) in stored.skipped.items()
        ],
        status=status(stored, why_stale(stored.commit_id, sight)),
        duration=duration(stored.duration_us),
    )


def language_total(row: Row) -> repository_pb2.LanguageTotal:
    """What one language has."""
    return repository_pb2.LanguageTotal(language=row["language"], files=row["files"], bytes=row["bytes"], lines=row["lines"])


def source_file(row: Row) -> source_file_pb2.SourceFile:
    """A file."""
    return source_file_pb2.SourceFile(
        path=row["path"],
        language=row["language"],
        bytes=row["bytes"],
        lines=row["lines"],
        symbols=row["symbols"],
        imports=row["imports"],
        parse_state=row["state"],
        content_hash=row["content_hash"],
    )


def symbol(row: Row, path: str) -> source_file_pb2.Symbol:
    """A definition; without a path where the file is known anyway."""
    return source_file_pb2.Symbol(
        name=row["name"],
        kind=row["kind"],
        start_line=row["start_line"],
        end_line=row["end_line"],
        parent=row["parent"],
        path=path,
    )


def imported(row: Row) -> source_file_pb2.Import:
    """An import with where it leads."""
    return source_file_pb2.Import(module=row["module"], name=row["name"], line=row["line"], target=row["target"])


def tree(node: Node) -> structure_pb2.TreeNode:
    """A node and all below it."""
    totals = node.entry.totals
    return structure_pb2.TreeNode(
        name=node.entry.path.rpartition("/")[2],
        folder=node.entry.folder,
        files=totals.files,
        bytes=totals.bytes,
        lines=totals.lines,
        language=node.entry.language,
        children=map(tree, node.children),
        truncated=node.truncated,
        rank=node.rank,
    )


def central_file(row: Row) -> structure_pb2.CentralFile:
    """A central file."""
    return structure_pb2.CentralFile(path=row["path"], rank=row["score"], imported_by=row["imported_by"])
