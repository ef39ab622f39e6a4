"""Reading a GitHub repository: serial conditional requests, GitHub's limits honoured over restarts, everything kept at the end."""

from datetime import datetime
from typing import Any

from tooloo.integration.v1 import integration_service_pb2 as pb

from mesh import errors
from mesh.clock import to_us
from mesh.db import Transaction
from mesh.host import Host
from services.integration import events, exchange, github, wire
from services.integration.connection import Connection
from services.integration.exchange import Answer, Limited, Refused, RemoteError
from services.integration.flows import refusals
from services.integration.flows.tokens import TokenKeeper
from services.integration.github import About, Commit, Entry, Repository
from services.integration.remote.outgoing import Outgoing
from services.integration.settings import IntegrationSettings
from services.integration.store import connections as connection_store
from services.integration.store import github as store
from services.integration.store import pauses

REMOTE = "github"


class Reading:
    """The calls of one sync, by one identity: "" for the shared token, else the user."""

    def __init__(self, host: Host, outgoing: Outgoing, base: str, token: str, identity: str) -> None:
        self._host = host
        self._outgoing = outgoing
        self._base = base
        self._token = token
        self.identity = identity
        self.limited_as = exchange.limited_as(identity, token)
        self.calls = 0
        self.not_modified = 0
        self.fresh: list[dict[str, Any]] = []

    async def get(self, path: str, *allowed: int) -> Answer:
        """The answer to a GET: the kept one when GitHub says that nothing changed. RemoteError for an error not `allowed`."""
        kept = await self._host.db.read(lambda tx: store.get_answer(tx, self.identity, self._base + path))
        answer = await self._send(path, kept["etag"] if kept else "")
        if answer.status == exchange.NOT_MODIFIED and kept:
            self.not_modified += 1
            # RFC 9111 §3.2: what a 304 says of the answer is newer than what was kept of it, above all how many pages there are
            link = answer.headers.get("link", kept["link"])
            answer = Answer(exchange.OK, {"etag": kept["etag"], "link": link}, kept["body"])
        if answer.status not in allowed:
            github.check(answer, self._host.clock.now())
        if answer.status == exchange.OK and "etag" in answer.headers:
            row = {"url": self._base + path, "etag": answer.headers["etag"], "link": answer.headers.get("link", "")}
            self.fresh.append({**row, "body": answer.body})
        return answer

    async def _send(self, path: str, etag: str) -> Answer:
        """Sends, and follows GitHub when it says that the repository moved, as long as it stays at the same address."""
        for _ in range(github.MOST_REDIRECTS):
            self.calls += 1
            answer = await self._outgoing.send(github.call(self._base, path, self._token, etag))
            moved = github.moved_to(self._base, answer)
            if not moved:
                return answer
            path = moved
        raise exchange.Garbled("too many redirects")


class Syncing:
    """Reads repositories and keeps them."""

    def __init__(self, host: Host, settings: IntegrationSettings, keeper: TokenKeeper, outgoing: Outgoing) -> None:
        self._host = host
        self._settings = settings
        self._keeper = keeper
        self._outgoing = outgoing

    async def sync(self, request: pb.SyncGithubRequest) -> pb.SyncGithubResponse:
        """Reads a repository and keeps it, for the user or for everyone."""
        known = await self._host.answered(request, pb.SyncGithubResponse)
        if known:
            return known
        connection = await self._connection(request.user_id)
        reading, repository = await self._read_by(request, connection)
        now = self._host.clock.now()
        return await self._host.once(request, pb.SyncGithubResponse, lambda tx: self._keep(tx, request, reading, repository, now))

    async def _read_by(
        self, request: pb.SyncGithubRequest, connection: Connection | None, *, renewed: bool = False
    ) -> tuple[Reading, Repository]:
        token = self._keeper.opened(connection).access_token if connection else self._settings.github_token
        identity = request.user_id if connection else ""
        reading = Reading(self._host, self._outgoing, self._settings.github_api_url.rstrip("/"), token, identity)
        await self._mind_pause(reading.limited_as)
        try:
            return reading, await self._read(reading, request.owner, request.repo)
        except RemoteError as error:
            if not (connection and connection.refreshable and _not_taken(error)) or renewed:
                raise await self._refusal(error, request, reading.limited_as, connection) from error
        # the token ended before its time, or our clock was set back; only when a new one is not taken either is it over
        return await self._read_by(request, await self._keeper.fresh(connection, force=True), renewed=True)

    async def _connection(self, user_id: str) -> Connection | None:
        found = await self._keeper.find(user_id, REMOTE) if user_id else None
        return await self._keeper.fresh(found) if found else None

    async def _mind_pause(self, identity: str) -> None:
        now = self._host.clock.now()
        if left := await self._host.db.read(lambda tx: pauses.wait(tx, REMOTE, identity, now)):
            raise refusals.limited(REMOTE, left)

    async def _read(self, reading: Reading, owner: str, repo: str) -> Repository:
        limits = self._settings
        about = github.read_about(await reading.get(github.repository_path(owner, repo)))
        base = github.repository_path(about.owner, about.repo)
        languages = github.read_languages(await reading.get(f"{base}/languages"))
        branches, more_branches = github.read_branches(
            await reading.get(f"{base}/branches?per_page={limits.github_branches_limit}"), limits.github_branches_limit
        )
        pulls = github.count(await reading.get(f"{base}/pulls?state=open&per_page=1"))
        path = github.commits_path(about.owner, about.repo, about.default_branch, limits.github_commits_limit)
        commits = github.read_commits(await reading.get(path, exchange.CONFLICT))
        readme = github.read_readme(await reading.get(f"{base}/readme", exchange.NOT_FOUND))
        tree, more_files = await self._tree(reading, about, commits)
        return Repository(about, pulls, languages, branches, more_branches, tree, more_files, readme, commits)

    async def _tree(self, reading: Reading, about: About, commits: tuple[Commit, ...]) -> tuple[tuple[Entry, ...], bool]:
        """The files at the end of the default branch; none in an empty repository."""
        if not commits:
            return (), False
        path = github.tree_path(about.owner, about.repo, commits[0].sha)
        return github.read_tree(await reading.get(path), self._settings.github_tree_limit)

    async def _refusal(
        self, error: RemoteError, request: pb.SyncGithubRequest, identity: str, connection: Connection | None
    ) -> errors.Refusal:
        """What our caller is told; a limit is noted down first, so that nobody asks again before its end."""
        if isinstance(error, Limited):
            now, wait = self._host.clock.now(), error.wait
            await self._host.db.write(lambda tx: pauses.pause(tx, REMOTE, identity, now, now + wait))
        if isinstance(error, Refused) and error.status in github.MISSING:
            return errors.not_found("github repository", f"{request.owner}/{request.repo}")
        if connection and _not_taken(error):
            await self._keeper.lapse(connection)
            return refusals.lapsed(connection.user_id, connection.provider)
        return refusals.of(REMOTE, error)

    async def _keep(
        self, tx: Transaction, request: pb.SyncGithubRequest, reading: Reading, repository: Repository, now: datetime
    ) -> pb.SyncGithubResponse:
        full = wire.repository(repository, request.user_id, now)
        short = wire.summary(full)
        # answers to a connection that was revoked meanwhile are forgotten with it
        if not reading.identity or await connection_store.get_connection(tx, reading.identity, REMOTE):
            await store.put_answers(tx, reading.identity, reading.fresh, now, self._settings.github_cache_entries)
        changed = await store.put_repository(
            tx,
            {
                "user_id": request.user_id,
                "owner_key": full.owner.lower(),
                "repo_key": full.repo.lower(),
                "content_hash": wire.content_hash(full),
                "summary": short.SerializeToString(),
                "repository": full.SerializeToString(),
                "synced_us": to_us(now),
            },
        )
        await self._host.tell(tx, events.github_synced(full, changed=changed))
        return pb.SyncGithubResponse(
            repository=short, changed=changed, calls=reading.calls, calls_not_modified=reading.not_modified
        )


def _not_taken(error: RemoteError) -> bool:
    return isinstance(error, Refused) and error.status == exchange.UNAUTHORIZED
