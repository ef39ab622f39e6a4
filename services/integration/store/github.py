"""Statements about GitHub: kept answers and repositories as they were read."""

from datetime import datetime
from typing import Any

from mesh.clock import to_us
from mesh.db import Row, Transaction


async def get_answer(tx: Transaction, identity: str, url: str) -> Row | None:
    """GitHub's last answer to an identity: etag, link and body."""
    return await tx.fetch_one(
        "SELECT etag, link, body FROM github_answers WHERE identity = :identity AND url = :url", {"identity": identity, "url": url}
    )


async def put_answers(tx: Transaction, identity: str, answers: list[dict[str, Any]], now: datetime, keep: int) -> None:
    """Keeps answers (url, etag, link, body) of an identity and drops the least used beyond `keep`."""
    await tx.execute_many(
        "INSERT INTO github_answers (identity, url, etag, link, body, used_us)"
        " VALUES (:identity, :url, :etag, :link, :body, :now_us)"
        " ON CONFLICT (identity, url) DO UPDATE SET etag = excluded.etag, link = excluded.link, body = excluded.body,"
        " used_us = excluded.used_us",
        [{**answer, "identity": identity, "now_us": to_us(now)} for answer in answers],
    )
    await tx.execute(
        "DELETE FROM github_answers WHERE used_us < (SELECT MIN(used_us) FROM"
        " (SELECT used_us FROM github_answers ORDER BY used_us DESC LIMIT :keep) AS newest)",
        {"keep": keep},
    )


async def forget_answers(tx: Transaction, identity: str) -> None:
    """Drops what GitHub answered to an identity."""
    await tx.execute("DELETE FROM github_answers WHERE identity = :identity", {"identity": identity})


async def put_repository(tx: Transaction, row: dict[str, Any]) -> bool:
    """Keeps a repository as it was read; True when its content differs from what was kept before."""
    key = {name: row[name] for name in ("user_id", "owner_key", "repo_key")}
    known = await tx.fetch_one(
        "SELECT content_hash FROM github_repositories WHERE user_id = :user_id AND owner_key = :owner_key AND repo_key = :repo_key",
        key,
    )
    await tx.execute(
        "INSERT INTO github_repositories (user_id, owner_key, repo_key, content_hash, summary, repository, synced_us)"
        " VALUES (:user_id, :owner_key, :repo_key, :content_hash, :summary, :repository, :synced_us)"
        " ON CONFLICT (user_id, owner_key, repo_key) DO UPDATE SET content_hash = excluded.content_hash,"
        " summary = excluded.summary, repository = excluded.repository, synced_us = excluded.synced_us",
        row,
    )
    return known is None or known["content_hash"] != row["content_hash"]


async def get_repository(tx: Transaction, user_id: str, owner_key: str, repo_key: str) -> bytes | None:
    """A repository as it was last read for a user."""
    row = await tx.fetch_one(
        "SELECT repository FROM github_repositories WHERE user_id = :user_id AND owner_key = :owner_key AND repo_key = :repo_key",
        {"user_id": user_id, "owner_key": owner_key, "repo_key": repo_key},
    )
    return row["repository"] if row else None


async def list_repositories(tx: Transaction, user_id: str, after: tuple[str, str], limit: int) -> list[Row]:
    """Summaries of a user's repositories after (owner_key, repo_key), in that order."""
    return await tx.fetch_all(
        "SELECT owner_key, repo_key, summary FROM github_repositories WHERE user_id = :user_id"
        " AND (owner_key > :owner_key OR (owner_key = :owner_key AND repo_key > :repo_key))"
        " ORDER BY owner_key, repo_key LIMIT :limit",
        {"user_id": user_id, "owner_key": after[0], "repo_key": after[1], "limit": limit},
    )
