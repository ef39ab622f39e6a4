"""Reading repositories from GitHub, with a far end that is held to GitHub's own OpenAPI description."""

import asyncio
import threading
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from tooloo.integration.v1 import connection_pb2, github_repository_pb2, integration_events_pb2
from tooloo.integration.v1 import integration_service_pb2 as pb

from services.integration import oauth, providers
from services.integration.remote.outgoing import Outgoing
from services.integration.settings import IntegrationSettings
from tests.integration.integration_bench import CALLBACK, Bench, came_back, files_with, integration, refusal
from tests.peers import github, oidc
from tests.peers.github import HEAD, OWNER, REPO, GithubPeer
from tests.peers.web import Reply

REQUEST_ID = "0190b5a4-0000-7000-8000-000000000002"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def peer() -> Iterator[GithubPeer]:
    """GitHub."""
    with github.github_peer() as running:
        yield running


@pytest.fixture
async def bench(peer: GithubPeer, tmp_path: Path) -> AsyncIterator[Bench]:
    """The service, sent to it."""
    async with integration(tmp_path, github_api_url=peer.url) as running:
        yield running


def sync(bench: Bench, **fields: str) -> grpc.aio.UnaryUnaryCall[pb.SyncGithubRequest, pb.SyncGithubResponse]:
    """Reads the example repository."""
    return bench.stub.SyncGithub(pb.SyncGithubRequest(owner=OWNER, repo=REPO, **fields))


async def test_a_repository_is_read_kept_and_told(bench: Bench, peer: GithubPeer) -> None:
    """One sync reads everything the contract promises, with calls that GitHub's description knows."""
    answer = await sync(bench)
    assert (answer.changed, answer.calls, answer.calls_not_modified) == (True, 7, 0)
    assert not answer.repository.tree

    stored = await bench.stub.GetGithubRepository(pb.GetGithubRepositoryRequest(owner="OCTOCAT", repo="hello-world"))
    found = stored.repository
    assert (found.owner, found.repo, found.default_branch, found.head_sha) == (OWNER, REPO, "main", HEAD)
    assert (found.github_id, found.stars, found.license, found.private) == (1296269, 80, "MIT", False)
    assert (found.open_issues, found.open_pull_requests) == (4, 1)
    assert dict(found.languages) == {"C": 78769, "Python": 7769}
    assert [branch.name for branch in found.branches] == ["master"]
    assert found.readme_path == "README.md"
    assert [(entry.path, entry.size) for entry in found.tree] == [("file.rb", 30), ("subdir", 0), ("exec_file", 75)]
    assert found.tree[1].type == github_repository_pb2.GITHUB_TREE_ENTRY_TYPE_TREE
    assert found.commits[0].title == "Fix all the bugs"
    assert found.commits[0].author_time.seconds > 0

    (told,) = await bench.told(integration_events_pb2.GithubSynced)
    assert (told.owner, told.repo, told.head_sha, told.changed) == (OWNER, REPO, HEAD, True)
    assert (told.files, told.branches, told.languages, told.open_issues, told.open_pull_requests) == (2, 1, 2, 4, 1)
    assert all("authorization" not in seen.headers for seen in peer.peer.seen)


async def test_what_did_not_change_costs_no_rate_limit(bench: Bench, peer: GithubPeer) -> None:
    """A second sync, after a restart too, asks with ETags; one changed part is read anew and the rest is not."""
    await sync(bench)
    await bench.running.restart()
    second = await sync(bench)
    assert (second.changed, second.calls, second.calls_not_modified) == (False, 7, 7)
    peer.bodies["languages"] = {"C": 1}
    third = await sync(bench)
    assert (third.changed, third.calls_not_modified, dict(third.repository.languages)) == (True, 6, {"C": 1})
    assert [event.changed for event in await bench.told(integration_events_pb2.GithubSynced)] == [True, False, True]


async def test_unchanged_says_how_many_pages_there_are_now(bench: Bench, peer: GithubPeer) -> None:
    """The first page of the pull requests may stay as it is while those behind it are closed: the 304 has the newer Link."""

    def last(page: int) -> str:
        return f'<{peer.url}/repositories/1296269/pulls?state=open&per_page=1&page={page}>; rel="last"'

    await sync(bench)
    peer.headers["pulls"] = {"link": last(4)}
    peer.bodies["pulls"][0]["title"] = "the newest"
    assert (await sync(bench)).repository.open_pull_requests == 4
    for page in (2, 3):
        peer.headers["pulls"] = {"link": last(page)}
        answer = await sync(bench)
        assert (answer.repository.open_pull_requests, answer.calls_not_modified) == (page, 7)
    del peer.headers["pulls"]
    assert (await sync(bench)).repository.open_pull_requests == 3


async def test_the_same_request_id_reads_once(bench: Bench, peer: GithubPeer) -> None:
    """The repeat gets the first answer and asks GitHub nothing; with another repository it is refused."""
    first = await sync(bench, request_id=REQUEST_ID)
    asked = len(peer.asked)
    assert await sync(bench, request_id=REQUEST_ID) == first
    assert len(peer.asked) == asked
    other = pb.SyncGithubRequest(owner=OWNER, repo="Other", request_id=REQUEST_ID)
    assert (await refusal(bench.stub.SyncGithub(other))).reason == "REQUEST_ID_REUSED"


async def test_a_spent_rate_limit_is_honoured_over_a_restart(bench: Bench, peer: GithubPeer) -> None:
    """GitHub's reset time becomes RetryInfo; until then nobody asks again, and afterwards it works."""
    reset = int(bench.clock.now().timestamp()) + 600
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(reset), "content-type": "application/json"}
    peer.replies["languages"] = Reply(403, b'{"message": "API rate limit exceeded", "documentation_url": "x"}', headers)
    refused = await refusal(sync(bench))
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REMOTE_RATE_LIMITED")
    assert refused.wait
    assert timedelta(seconds=590) < refused.wait <= timedelta(seconds=600)
    asked = len(peer.asked)
    del peer.replies["languages"]
    await bench.running.restart()
    bench.clock.advance(9 * MINUTE)
    again = await refusal(sync(bench))
    assert again.reason == "REMOTE_RATE_LIMITED"
    assert again.wait
    assert again.wait <= MINUTE
    assert len(peer.asked) == asked
    bench.clock.advance(MINUTE)
    assert (await sync(bench)).changed
    assert len(await bench.told(integration_events_pb2.GithubSynced)) == 1


@pytest.mark.parametrize(
    ("reply", "code", "reason"),
    [
        (Reply(404, b'{"message": "Not Found"}'), grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"),
        (Reply(451, b'{"message": "Repository access blocked"}'), grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"),
        (Reply(401, b'{"message": "Bad credentials"}'), grpc.StatusCode.FAILED_PRECONDITION, "REMOTE_REFUSED"),
        (Reply(403, b'{"message": "Resource not accessible"}'), grpc.StatusCode.FAILED_PRECONDITION, "REMOTE_REFUSED"),
        (Reply(429, b"{}", {"retry-after": "7"}), grpc.StatusCode.RESOURCE_EXHAUSTED, "REMOTE_RATE_LIMITED"),
        (Reply(502, b"<html>"), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        (Reply(200, b"<html>a proxy's page"), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        (Reply(200, b"[]"), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        (Reply(200, b'{"name": "\\ud800", "owner": null}'), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        (Reply(302, b"", {"location": "http://169.254.169.254/"}), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
    ],
)
async def test_what_github_refuses_or_garbles(
    bench: Bench, peer: GithubPeer, reply: Reply, code: grpc.StatusCode, reason: str
) -> None:
    """Every way in which GitHub does not answer has its own refusal; nothing is kept or told."""
    peer.replies["repository"] = reply
    refused = await refusal(sync(bench))
    assert (refused.code, refused.reason) == (code, reason)
    assert not await bench.told(integration_events_pb2.GithubSynced)
    missing = await refusal(bench.stub.GetGithubRepository(pb.GetGithubRepositoryRequest(owner=OWNER, repo=REPO)))
    assert missing.code == grpc.StatusCode.NOT_FOUND


async def test_a_renamed_repository_is_followed(bench: Bench, peer: GithubPeer) -> None:
    """GitHub answers 301 for an old name; what is kept has the new one."""
    old = pb.SyncGithubRequest(owner=OWNER, repo="Old-Name")
    peer.moves["/repos/octocat/Old-Name"] = f"/repos/{OWNER}/{REPO}"
    answer = await bench.stub.SyncGithub(old)
    assert (answer.repository.repo, answer.calls) == (REPO, 8)


async def test_an_empty_repository_is_no_error(bench: Bench, peer: GithubPeer) -> None:
    """GitHub answers 409 for the commits of an empty repository and 404 for its README."""
    peer.replies["commits"] = Reply(409, b'{"message": "Git Repository is empty.", "documentation_url": "x"}')
    peer.replies["readme"] = Reply(404, b'{"message": "Not Found"}')
    peer.bodies |= {"languages": {}, "branches": [], "pulls": []}
    answer = await sync(bench)
    assert (answer.repository.head_sha, answer.repository.readme_path, answer.calls) == ("", "", 6)


async def test_long_lists_are_cut_at_their_limits(peer: GithubPeer, tmp_path: Path) -> None:
    """Two of three files and one of two branches are kept, and the answer says that there are more."""
    async with integration(tmp_path, github_api_url=peer.url, github_tree_limit="2", github_branches_limit="1") as bench:
        branch = {"name": "main", "commit": {"sha": HEAD, "url": "https://api.github.com/x"}, "protected": False}
        peer.bodies["branches"] = [branch, {**branch, "name": "next"}]
        await sync(bench)
        stored = await bench.stub.GetGithubRepository(pb.GetGithubRepositoryRequest(owner=OWNER, repo=REPO))
        assert (len(stored.repository.tree), stored.repository.tree_truncated) == (2, True)
        assert (len(stored.repository.branches), stored.repository.branches_truncated) == (1, True)


async def test_users_do_not_see_each_others_repositories(bench: Bench, peer: GithubPeer) -> None:
    """What was read for ada is hers; lists page by owner and name."""
    await sync(bench, user_id="ada")
    for other in ("eve", ""):
        request = pb.GetGithubRepositoryRequest(owner=OWNER, repo=REPO, user_id=other)
        assert (await refusal(bench.stub.GetGithubRepository(request))).code == grpc.StatusCode.NOT_FOUND
        assert not (await bench.stub.ListGithubRepositories(pb.ListGithubRepositoriesRequest(user_id=other))).repositories
    peer.bodies["repository"]["name"] = "Another"
    await sync(bench, user_id="ada")
    first = await bench.stub.ListGithubRepositories(pb.ListGithubRepositoriesRequest(user_id="ada", page_size=1))
    assert [found.repo for found in first.repositories] == ["Another"]
    rest = pb.ListGithubRepositoriesRequest(user_id="ada", page_size=1, page_token=first.next_page_token)
    second = await bench.stub.ListGithubRepositories(rest)
    assert ([found.repo for found in second.repositories], second.next_page_token) == ([REPO], "")
    stolen = pb.ListGithubRepositoriesRequest(user_id="eve", page_token=first.next_page_token)
    assert (await refusal(bench.stub.ListGithubRepositories(stolen))).reason == "INVALID_PAGE_TOKEN"


async def test_the_shared_token_goes_to_github_and_nowhere_else(peer: GithubPeer, tmp_path: Path) -> None:
    """The token of the settings is sent as a bearer; it stands in no event, no answer and no file."""
    token = "ghp_SharedTokenThatMustStayHidden"
    async with integration(tmp_path, github_api_url=peer.url, github_token=token) as bench:
        answer = await sync(bench)
        assert {seen.headers["authorization"] for seen in peer.peer.seen} == {f"Bearer {token}"}
        assert token not in str(answer)
        assert all(token.encode() not in event.SerializeToString() for event in await bench.running.told())
    assert not files_with(tmp_path, token)


@asynccontextmanager
async def with_own_token(peer: GithubPeer, folder: Path, *scopes: str) -> AsyncIterator[tuple[Bench, str]]:
    """Ada with a GitHub connection, whose token comes from a real authorization server that stands in for GitHub's own."""
    async with oidc.oidc_provider([CALLBACK]) as issuer:
        file = folder / "providers.toml"
        table = {"issuer": issuer, "client_id": oidc.CLIENT_ID, "client_secret": oidc.CLIENT_SECRET}
        text = "\n".join(
            [
                "[github]",
                "discover = true",
                'parameters = { prompt = "consent" }',
                *(f'{name} = "{value}"' for name, value in table.items()),
            ]
        )
        await asyncio.to_thread(file.write_text, text)
        async with integration(folder / "data", providers_file=str(file), github_api_url=peer.url, github_token="shared") as bench:
            begun = await bench.authorize(provider="github", scopes=["openid", *scopes])
            await bench.stub.CompleteOAuth(came_back(await oidc.consent(begun.authorization_url)))
            yield bench, (await bench.tokens(provider="github"))[0]


async def test_a_users_own_token_reads_for_that_user(peer: GithubPeer, tmp_path: Path) -> None:
    """Ada's connection reads what is read for ada; the shared token reads for everyone else; kept answers are not shared."""
    async with with_own_token(peer, tmp_path) as (bench, token):
        await sync(bench, user_id="ada")
        assert {seen.headers["authorization"] for seen in peer.peer.seen} == {f"Bearer {token}"}
        peer.peer.seen.clear()
        answer = await sync(bench, user_id="eve")
        assert {seen.headers["authorization"] for seen in peer.peer.seen} == {"Bearer shared"}
        assert answer.calls_not_modified == 0


async def test_a_token_that_github_no_longer_takes_lapses(peer: GithubPeer, tmp_path: Path) -> None:
    """401 for a user's own token: the user is asked to connect again, and GitHub is not asked with it any more."""
    async with with_own_token(peer, tmp_path) as (bench, _):
        peer.replies["repository"] = Reply(401, b'{"message": "Bad credentials", "documentation_url": "x"}')
        for _ in range(2):
            refused = await refusal(sync(bench, user_id="ada"))
            assert (refused.reason, "connect again" in refused.message) == ("STATE_FORBIDS", True)
        assert len(peer.asked) == 1
        (made,) = (await bench.connections()).connections
        assert made.state == connection_pb2.CONNECTION_STATE_LAPSED


async def test_a_token_that_ended_before_its_time_is_renewed(peer: GithubPeer, tmp_path: Path) -> None:
    """401 for a token that looks good here, as after a clock that was set back: the refresh token still helps."""
    async with with_own_token(peer, tmp_path, "offline_access") as (bench, token):
        dead = f"Bearer {token}"
        peer.replies_to[dead] = Reply(401, b'{"message": "Bad credentials", "documentation_url": "x"}')
        assert (await sync(bench, user_id="ada")).changed
        assert [seen.headers["authorization"] == dead for seen in peer.peer.seen][:2] == [True, False]
        (made,) = (await bench.connections()).connections
        assert made.state == connection_pb2.CONNECTION_STATE_ACTIVE


async def test_answers_to_a_connection_that_was_revoked_meanwhile_are_not_kept(peer: GithubPeer, tmp_path: Path) -> None:
    """What GitHub told a user alone goes with the connection, also when a sync was still under way."""
    asked, go_on = threading.Event(), threading.Event()

    class Late(dict[str, Reply]):
        """Holds the last question until it is let go."""

        def get(self, name: str, default: Any = None) -> Any:
            """No reply of its own."""
            if name == "git/trees/{tree_sha}":
                asked.set()
                go_on.wait(30)
            return default

    async with with_own_token(peer, tmp_path) as (bench, _):
        peer.replies = Late()
        syncing = asyncio.ensure_future(sync(bench, user_id="ada"))
        assert await asyncio.to_thread(asked.wait, 30)
        await bench.stub.RevokeConnection(pb.RevokeConnectionRequest(user_id="ada", provider="github"))
        go_on.set()
        await syncing
        rows = await bench.running.host.db.read(lambda tx: tx.fetch_all("SELECT url FROM github_answers"))
        assert not rows


async def test_another_account_does_not_wait_for_the_limit_of_the_one_before(peer: GithubPeer, tmp_path: Path) -> None:
    """The user connects another account: GitHub asked the former one to wait."""
    async with with_own_token(peer, tmp_path) as (bench, _):
        peer.replies["languages"] = Reply(429, b"{}", {"retry-after": "600"})
        assert (await refusal(sync(bench, user_id="ada"))).reason == "REMOTE_RATE_LIMITED"
        del peer.replies["languages"]
        assert (await refusal(sync(bench, user_id="ada"))).reason == "REMOTE_RATE_LIMITED"
        begun = await bench.authorize(provider="github", scopes=["openid"])
        await bench.stub.CompleteOAuth(came_back(await oidc.consent(begun.authorization_url, "grace")))
        assert (await sync(bench, user_id="ada")).changed


async def test_another_token_does_not_wait_for_the_limit_of_the_one_before(peer: GithubPeer, tmp_path: Path) -> None:
    """Without a token the limit is soon spent; the operator sets one and starts anew, and it has a limit of its own."""
    peer.replies["languages"] = Reply(429, b"{}", {"retry-after": "600"})
    async with integration(tmp_path, github_api_url=peer.url) as bench:
        assert (await refusal(sync(bench))).reason == "REMOTE_RATE_LIMITED"
    del peer.replies["languages"]
    async with integration(tmp_path, github_api_url=peer.url, github_token="own") as bench:
        assert (await sync(bench)).changed


async def test_githubs_own_oauth_calls_are_as_github_describes_them(peer: GithubPeer) -> None:
    """Whose token it is, and the end of the grant: both held to GitHub's description by the far end."""
    table = tomllib.loads(IntegrationSettings().providers_file.read_text())["github"]
    shipped = providers.read({"github": table}, {"github": {"client_id": "Iv1.0123", "client_secret": "s"}})["github"]
    assert {shipped.account_endpoint, shipped.revocation_endpoint} == {
        "https://api.github.com/user",
        "https://api.github.com/applications",
    }
    here = replace(shipped, account_endpoint=f"{peer.url}/user", revocation_endpoint=f"{peer.url}/applications")
    way, now = Outgoing(timedelta(seconds=5), 10**6), datetime.now(UTC)
    assert oauth.read_account(here, await way.send(oauth.account(here, "t")), now) == "octocat"
    (call,) = oauth.revocations(here, oauth.Tokens("t"))
    oauth.check_revoked(here, await way.send(call), now)
    await way.close()
    assert peer.asked == ["/user", "/applications/Iv1.0123/grant"]
