"""One message to Slack: by a user's connection, the bot or the webhook; Slack's limits honoured over restarts."""

from dataclasses import dataclass

from tooloo.integration.v1 import slack_message_pb2

from mesh import errors
from mesh.host import Host
from services.integration import slack
from services.integration.connection import Connection
from services.integration.exchange import Call, Limited, Refused, limited_as
from services.integration.flows import refusals
from services.integration.flows.tokens import TokenKeeper
from services.integration.remote.outgoing import Outgoing
from services.integration.settings import IntegrationSettings
from services.integration.slack import Posted
from services.integration.store import pauses

REMOTE = "slack"


@dataclass(frozen=True)
class Sender:
    """Which way messages go: with a token by the Web API, else by the webhook of the settings."""

    identity: str
    token: str = ""
    connection: Connection | None = None

    @property
    def route(self) -> slack_message_pb2.SlackRoute.ValueType:
        """The way as callers see it."""
        return slack_message_pb2.SLACK_ROUTE_WEB_API if self.token else slack_message_pb2.SLACK_ROUTE_WEBHOOK


class Slacking:
    """Sends messages; keeping them is the caller's part."""

    def __init__(self, host: Host, settings: IntegrationSettings, keeper: TokenKeeper, outgoing: Outgoing) -> None:
        self._host = host
        self._settings = settings
        self._keeper = keeper
        self._outgoing = outgoing

    async def sender(self, user_id: str) -> Sender:
        """Who sends for a user, or for nobody. PROVIDER_NOT_CONFIGURED names the settings; a user needs a connection."""
        if user_id:
            connection = await self._keeper.find(user_id, REMOTE)
            if connection is None:
                detail = f"{user_id} has no Slack connection; connect with POST /api/v1/oauth/authorize or leave userId out"
                raise errors.failed_precondition(f"users/{user_id}/connections/{REMOTE}", detail)
            connection = await self._keeper.fresh(connection)
            return self._by(connection)
        if secret := self._settings.slack_bot_token or self._settings.slack_webhook_url:
            return Sender(limited_as("", secret), self._settings.slack_bot_token)
        raise refusals.not_configured(REMOTE, [self._settings.env_name(name) for name in ("slack_bot_token", "slack_webhook_url")])

    def _by(self, connection: Connection) -> Sender:
        return Sender(connection.user_id, self._keeper.opened(connection).access_token, connection)

    async def send(
        self, message: slack_message_pb2.SlackMessage, sender: Sender, *, renewed: bool = False
    ) -> slack_message_pb2.SlackMessage:
        """Sends, and gives the message with all that is known of it then; RemoteError when Slack did not take it."""
        await self._mind_pause(sender.identity)
        call = self._call(message, sender)
        try:
            posted = await self._post(call, sender)
        except Limited as limit:
            now, wait = self._host.clock.now(), limit.wait
            await self._host.db.write(lambda tx: pauses.pause(tx, REMOTE, sender.identity, now, now + wait))
            raise
        except Refused as error:
            connection = sender.connection if error.code in slack.DEAD_TOKEN else None
            if connection is None:
                raise
            if renewed or not connection.refreshable:
                await self._keeper.lapse(connection)
                raise
        else:
            return self._sent(message, sender, call, posted)
        # the token ended before its time, or our clock was set back; only when a new one is not taken either is it over
        return await self.send(message, self._by(await self._keeper.fresh(connection, force=True)), renewed=True)

    async def _mind_pause(self, identity: str) -> None:
        now = self._host.clock.now()
        if left := await self._host.db.read(lambda tx: pauses.wait(tx, REMOTE, identity, now)):
            raise Limited(left)

    def _call(self, message: slack_message_pb2.SlackMessage, sender: Sender) -> Call:
        if sender.token:
            return slack.post_message(self._settings.slack_api_url, sender.token, message.channel, message.text)
        return slack.post_webhook(self._settings.slack_webhook_url, message.text)

    async def _post(self, call: Call, sender: Sender) -> Posted:
        answer = await self._outgoing.send(call)
        read = slack.read_post if sender.token else slack.read_webhook
        return read(answer, self._host.clock.now())

    def _sent(
        self, message: slack_message_pb2.SlackMessage, sender: Sender, call: Call, posted: Posted
    ) -> slack_message_pb2.SlackMessage:
        sent = slack_message_pb2.SlackMessage()
        sent.CopyFrom(message)
        sent.state = slack_message_pb2.SLACK_MESSAGE_STATE_SENT
        sent.route = sender.route
        sent.sent_body = call.body.decode()
        sent.slack_channel = posted.channel
        sent.slack_ts = posted.ts
        sent.attempts += 1
        sent.last_error = ""
        sent.ClearField("next_attempt_time")
        sent.send_time.FromDatetime(self._host.clock.now())
        return sent
