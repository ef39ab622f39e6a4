"""What the context service tells."""

from collections.abc import Sequence

from tooloo.context.v1.context_events_pb2 import ContextIndexed, ContextStale

from mesh.db import Row
from mesh.outbox import Fact
from services.context import wire
from services.context.flows.indexing import Tally
from services.context.store import Repository


def subject(repo_id: str) -> str:
    """The resource path that a repository's events are ordered by."""
    return f"repositories/{repo_id}"


def indexed(repository: Repository, languages: Sequence[Row], tally: Tally) -> Fact:
    """A repository was compared with its folder and is current."""
    message = ContextIndexed(
        repo_id=repository.repo_id,
        root=repository.root,
        files=repository.files,
        symbols=repository.symbols,
        languages=map(wire.language_total, languages),
        commit=repository.commit_id,
        duration=wire.duration(repository.duration_us),
        added_files=tally.added,
        changed_files=tally.changed,
        deleted_files=tally.deleted,
        check_time=wire.timestamp(repository.check_us),
    )
    return Fact(message, subject(repository.repo_id))


def stale(repository: Repository, head: str, detail: str) -> Fact:
    """An index was seen to be out of date."""
    message = ContextStale(
        repo_id=repository.repo_id,
        root=repository.root,
        indexed_commit=repository.commit_id,
        head_commit=head,
        detail=detail,
    )
    return Fact(message, subject(repository.repo_id))
