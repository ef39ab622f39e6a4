"""gRPC in, a flow or a look into the store, gRPC out."""

import html
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from tooloo.integration.v1 import github_repository_pb2, integration_service_pb2_grpc, slack_message_pb2
from tooloo.integration.v1 import integration_service_pb2 as pb

from mesh import errors, page
from mesh.host import Host
from services.integration import wire
from services.integration.exchange import clean
from services.integration.flows.authorizing import Authorizing
from services.integration.flows.caring import Caring
from services.integration.flows.directory import Directory
from services.integration.flows.notifying import Notifying
from services.integration.flows.syncing import Syncing
from services.integration.store import connections as connection_store
from services.integration.store import github as github_store
from services.integration.store import slack as slack_store

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Connected</title></head>
<body><h1>Connected</h1><p>{text}</p><p>You may close this page.</p></body>
</html>
"""
_STATES = {
    slack_message_pb2.SLACK_MESSAGE_STATE_UNSPECIFIED: "",
    slack_message_pb2.SLACK_MESSAGE_STATE_PENDING: slack_store.PENDING,
    slack_message_pb2.SLACK_MESSAGE_STATE_SENT: slack_store.SENT,
    slack_message_pb2.SLACK_MESSAGE_STATE_FAILED: slack_store.FAILED,
}


class IntegrationService(integration_service_pb2_grpc.IntegrationServiceServicer):
    """The calls of the contract."""

    def __init__(
        self,
        host: Host,
        directory: Directory,
        authorizing: Authorizing,
        caring: Caring,
        syncing: Syncing,
        notifying: Notifying,
    ) -> None:
        self._db = host.db
        self._directory = directory
        self._authorizing = authorizing
        self._caring = caring
        self._syncing = syncing
        self._notifying = notifying

    async def AuthorizeOAuth(self, request: pb.AuthorizeOAuthRequest, context: Any) -> pb.AuthorizeOAuthResponse:
        """Begins to connect an account."""
        return await self._authorizing.begin(request)

    async def CompleteOAuth(self, request: pb.CompleteOAuthRequest, context: Any) -> pb.CompleteOAuthResponse:
        """Ends it, for programs."""
        return await self._authorizing.complete(request)

    async def HandleOAuthCallback(self, request: pb.HandleOAuthCallbackRequest, context: Any) -> HttpBody:
        """Ends it, for browsers."""
        done = await self._authorizing.complete(
            pb.CompleteOAuthRequest(
                state=request.state,
                code=request.code,
                iss=request.iss,
                error=request.error,
                error_description=request.error_description,
            )
        )
        made = done.connection
        text = f"The account {made.account or '(unnamed)'} at {made.provider} is now connected for {made.user_id}."
        return HttpBody(content_type="text/html; charset=utf-8", data=_PAGE.format(text=html.escape(text)).encode())

    async def ListOAuthProviders(self, request: pb.ListOAuthProvidersRequest, context: Any) -> pb.ListOAuthProvidersResponse:
        """The providers and what each still needs."""
        known = self._directory.known.values()
        return pb.ListOAuthProvidersResponse(
            providers=[wire.provider(provider, self._directory.missing(provider)) for provider in known]
        )

    async def ListConnections(self, request: pb.ListConnectionsRequest, context: Any) -> pb.ListConnectionsResponse:
        """A user's connections."""
        query, size = page.fingerprint(request), page.size_of(request.page_size)
        after = clean(page.decode_token(request.page_token, query).get("provider"))
        found = await self._db.read(lambda tx: connection_store.list_connections(tx, request.user_id, after, size + 1))
        token = page.encode_token({"provider": found[size - 1].provider}, query) if len(found) > size else ""
        return pb.ListConnectionsResponse(
            connections=[wire.connection(connection) for connection in found[:size]], next_page_token=token
        )

    async def CheckConnection(self, request: pb.CheckConnectionRequest, context: Any) -> pb.CheckConnectionResponse:
        """Whether a connection still works."""
        return await self._caring.check(request)

    async def RevokeConnection(self, request: pb.RevokeConnectionRequest, context: Any) -> pb.RevokeConnectionResponse:
        """Ends a connection."""
        return await self._caring.revoke(request)

    async def SyncGithub(self, request: pb.SyncGithubRequest, context: Any) -> pb.SyncGithubResponse:
        """Reads a repository."""
        return await self._syncing.sync(request)

    async def GetGithubRepository(self, request: pb.GetGithubRepositoryRequest, context: Any) -> pb.GetGithubRepositoryResponse:
        """A repository as it was last read."""
        owner, repo = request.owner.lower(), request.repo.lower()
        found = await self._db.read(lambda tx: github_store.get_repository(tx, request.user_id, owner, repo))
        if found is None:
            raise errors.not_found("github repository", f"{request.owner}/{request.repo}")
        return pb.GetGithubRepositoryResponse(repository=github_repository_pb2.GithubRepository.FromString(found))

    async def ListGithubRepositories(
        self, request: pb.ListGithubRepositoriesRequest, context: Any
    ) -> pb.ListGithubRepositoriesResponse:
        """The repositories that were read for a user."""
        query, size = page.fingerprint(request), page.size_of(request.page_size)
        cursor = page.decode_token(request.page_token, query)
        after = (clean(cursor.get("owner")), clean(cursor.get("repo")))
        rows = await self._db.read(lambda tx: github_store.list_repositories(tx, request.user_id, after, size + 1))
        last = rows[size - 1] if len(rows) > size else None
        return pb.ListGithubRepositoriesResponse(
            repositories=[github_repository_pb2.GithubRepository.FromString(row["summary"]) for row in rows[:size]],
            next_page_token=page.encode_token({"owner": last["owner_key"], "repo": last["repo_key"]}, query) if last else "",
        )

    async def NotifySlack(self, request: pb.NotifySlackRequest, context: Any) -> pb.NotifySlackResponse:
        """Sends a message."""
        return await self._notifying.notify(request)

    async def ListSlackMessages(self, request: pb.ListSlackMessagesRequest, context: Any) -> pb.ListSlackMessagesResponse:
        """Messages, newest first."""
        query, size = page.fingerprint(request), page.size_of(request.page_size)
        before = _message_cursor(page.decode_token(request.page_token, query))
        state = _STATES[request.state]
        rows = await self._db.read(lambda tx: slack_store.list_slack_messages(tx, state, before, size + 1))
        last = rows[size - 1] if len(rows) > size else None
        return pb.ListSlackMessagesResponse(
            messages=[slack_message_pb2.SlackMessage.FromString(row["message"]) for row in rows[:size]],
            next_page_token=page.encode_token({"us": last["created_us"], "id": last["message_id"]}, query) if last else "",
        )


def _message_cursor(cursor: dict[str, object]) -> tuple[int, str] | None:
    created = cursor.get("us")
    return (created, clean(cursor.get("id"))) if isinstance(created, int) and abs(created) < 2**62 else None
