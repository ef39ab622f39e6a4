"""What the integration service tells, and what it makes of what it hears: a notification in the queue."""

from collections.abc import Awaitable, Callable, Sequence

from google.protobuf.message import Message
from tooloo.event.v1.event_pb2 import Event
from tooloo.integration.v1 import connection_pb2, github_repository_pb2, integration_events_pb2, slack_message_pb2
from tooloo.integration.v1.integration_events_pb2 import SlackSent

from mesh import contracts
from mesh.db import Transaction
from mesh.inbox import Handler
from mesh.outbox import Fact
from services.integration.flows import fields
from services.integration.notification import Rule, RuleError


def oauth_completed(connection: connection_pb2.Connection) -> Fact:
    """A user connected an account."""
    message = integration_events_pb2.OAuthCompleted(
        user_id=connection.user_id, provider=connection.provider, account=connection.account, scopes=connection.scopes
    )
    if connection.HasField("expire_time"):
        message.expire_time.CopyFrom(connection.expire_time)
    return _of_user(message, _connection_subject(connection), connection.user_id)


def oauth_revoked(connection: connection_pb2.Connection, *, provider_revoked: bool) -> Fact:
    """A connection was revoked."""
    message = integration_events_pb2.OAuthRevoked(
        user_id=connection.user_id,
        provider=connection.provider,
        account=connection.account,
        provider_revoked=provider_revoked,
    )
    return _of_user(message, _connection_subject(connection), connection.user_id)


def github_synced(repository: github_repository_pb2.GithubRepository, *, changed: bool) -> Fact:
    """A repository was read."""
    files = sum(entry.type == github_repository_pb2.GITHUB_TREE_ENTRY_TYPE_BLOB for entry in repository.tree)
    message = integration_events_pb2.GithubSynced(
        user_id=repository.user_id,
        owner=repository.owner,
        repo=repository.repo,
        default_branch=repository.default_branch,
        head_sha=repository.head_sha,
        changed=changed,
        branches=len(repository.branches),
        files=files,
        languages=len(repository.languages),
        open_issues=repository.open_issues,
        open_pull_requests=repository.open_pull_requests,
    )
    return _of_user(message, f"github/{repository.owner}/{repository.repo}", repository.user_id)


def slack_sent(sent: slack_message_pb2.SlackMessage) -> Fact:
    """Slack has taken a message."""
    message = integration_events_pb2.SlackSent(
        message_id=sent.message_id,
        channel=sent.channel,
        text=sent.text,
        user_id=sent.user_id,
        slack_ts=sent.slack_ts,
        cause_event_id=sent.cause_event_id,
    )
    return _of_user(message, f"slack/{sent.channel}", sent.user_id)


def _connection_subject(connection: connection_pb2.Connection) -> str:
    return f"users/{connection.user_id}/connections/{connection.provider}"


def _of_user(message: Message, subject: str, user_id: str) -> Fact:
    return Fact(message, subject, {"user": user_id} if user_id else {})


Enqueue = Callable[[Transaction, Event, str], Awaitable[None]]


def handlers(rules: Sequence[Rule], enqueue: Enqueue) -> dict[str, Handler]:
    """The handlers of the events that a rule makes notifications of; RuleError for a type or a field that no contract knows."""
    known = contracts.catalogue()
    for rule in rules:
        if rule.event_type not in known:
            raise RuleError(f"no event is named {rule.event_type}")
        message = contracts.message_class(known[rule.event_type].message)
        if unknown := sorted(rule.only.keys() - fields.names(message.DESCRIPTOR)):
            raise RuleError(f"[{rule.event_type}] `only` names {unknown[0]!r}, which is no plain field of the event")
    return {rule.event_type: _handler(rule, enqueue) for rule in rules}


def _handler(rule: Rule, enqueue: Enqueue) -> Handler:
    async def handle(tx: Transaction, event: Event, data: Message) -> None:
        """Puts the notification into the queue; sending is outside work and must not happen in this transaction."""
        if isinstance(data, SlackSent) and data.cause_event_id:
            # a notification that was sent: told of each, a channel would be told for ever
            return
        text = rule.message(fields.of(data))
        if text is not None:
            await enqueue(tx, event, text)

    return handle
