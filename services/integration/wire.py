"""Between this service's own values and the messages of its contract."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from tooloo.integration.v1 import connection_pb2, github_repository_pb2

from services.integration.connection import LAPSED, Connection
from services.integration.github import Repository
from services.integration.providers import Provider

_KINDS = {
    "blob": github_repository_pb2.GITHUB_TREE_ENTRY_TYPE_BLOB,
    "tree": github_repository_pb2.GITHUB_TREE_ENTRY_TYPE_TREE,
    "commit": github_repository_pb2.GITHUB_TREE_ENTRY_TYPE_COMMIT,
}


def timestamp(moment: datetime | None) -> Timestamp | None:
    """A Timestamp, None for none."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def connection(value: Connection) -> connection_pb2.Connection:
    """A connection as callers see it: without its tokens."""
    state = connection_pb2.CONNECTION_STATE_LAPSED if value.state == LAPSED else connection_pb2.CONNECTION_STATE_ACTIVE
    return connection_pb2.Connection(
        user_id=value.user_id,
        provider=value.provider,
        account=value.account,
        scopes=value.scopes,
        state=state,
        expire_time=timestamp(value.expires),
        refreshable=value.refreshable,
        create_time=timestamp(value.created),
        update_time=timestamp(value.updated),
    )


def provider(value: Provider, missing: Sequence[str]) -> connection_pb2.OAuthProvider:
    """A provider as callers see it."""
    return connection_pb2.OAuthProvider(
        provider=value.name,
        title=value.title or value.name,
        configured=not missing,
        missing_settings=missing,
        default_scopes=value.default_scopes,
    )


def repository(value: Repository, user_id: str, now: datetime) -> github_repository_pb2.GithubRepository:
    """A repository with everything that was read."""
    about = value.about
    return github_repository_pb2.GithubRepository(
        owner=about.owner,
        repo=about.repo,
        user_id=user_id,
        github_id=about.github_id,
        url=about.url,
        description=about.description,
        private=about.private,
        archived=about.archived,
        fork=about.fork,
        license=about.license,
        topics=about.topics,
        stars=about.stars,
        forks=about.forks,
        open_issues=value.open_issues,
        open_pull_requests=value.open_pull_requests,
        default_branch=about.default_branch,
        head_sha=value.head_sha,
        languages=value.languages,
        branches=[
            github_repository_pb2.GithubBranch(name=branch.name, sha=branch.sha, protected=branch.protected)
            for branch in value.branches
        ],
        branches_truncated=value.branches_truncated,
        tree=[
            github_repository_pb2.GithubTreeEntry(
                path=entry.path,
                type=_KINDS.get(entry.kind, github_repository_pb2.GITHUB_TREE_ENTRY_TYPE_UNSPECIFIED),
                size=entry.size,
            )
            for entry in value.tree
        ],
        tree_truncated=value.tree_truncated,
        readme_path=value.readme_path,
        commits=[
            github_repository_pb2.GithubCommit(
                sha=commit.sha, title=commit.title, author=commit.author, author_time=timestamp(commit.time)
            )
            for commit in value.commits
        ],
        push_time=timestamp(about.pushed),
        sync_time=timestamp(now),
    )


def summary(full: github_repository_pb2.GithubRepository) -> github_repository_pb2.GithubRepository:
    """A repository without its long lists."""
    short = github_repository_pb2.GithubRepository()
    short.CopyFrom(full)
    short.ClearField("branches")
    short.ClearField("tree")
    short.ClearField("commits")
    return short


def content_hash(full: github_repository_pb2.GithubRepository) -> bytes:
    """A hash of everything but the time of reading."""
    timeless = github_repository_pb2.GithubRepository()
    timeless.CopyFrom(full)
    timeless.ClearField("sync_time")
    return hashlib.sha256(timeless.SerializeToString(deterministic=True)).digest()
