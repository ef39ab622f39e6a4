"""Messages to Slack: at once for a call, and from a queue for heard events, tried again until Slack has taken them.

At least once: a crash between Slack's answer and our commit sends a message again, because Slack offers no idempotency key. Of the
processes on one store one sends a notification, by a lease.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial

from tooloo.event.v1.event_pb2 import Event
from tooloo.integration.v1 import integration_service_pb2 as pb
from tooloo.integration.v1.slack_message_pb2 import SLACK_MESSAGE_STATE_FAILED, SLACK_MESSAGE_STATE_PENDING, SlackMessage

from mesh import call, errors
from mesh.clock import to_us
from mesh.db import Row, Transaction
from mesh.host import Host
from services.integration import events, notification
from services.integration.exchange import Limited, Refused, RemoteError
from services.integration.flows import refusals
from services.integration.flows.alone import Alone
from services.integration.flows.slacking import REMOTE, Slacking
from services.integration.lease import Lease
from services.integration.settings import IntegrationSettings
from services.integration.slack import DEAD_TOKEN
from services.integration.store import slack as store

log = logging.getLogger(__name__)
_BATCH = 20
_LONGEST_TEXT = 3000
_LONGEST_ERROR = 500


class Notifying:
    """The way of a message from being asked for to being told as slack.sent."""

    def __init__(
        self,
        host: Host,
        settings: IntegrationSettings,
        owner: str,
        slacking: Slacking,
        alone: Alone,
        jitter: Callable[[], float],
    ) -> None:
        self._host = host
        self._owner = owner
        self._settings = settings
        self._slacking = slacking
        self._alone = alone
        self._jitter = jitter
        self._queued = asyncio.Event()
        # what Slack has taken and no disk has yet
        self._unkept: list[tuple[Row, SlackMessage]] = []

    async def notify(self, request: pb.NotifySlackRequest) -> pb.NotifySlackResponse:
        """Sends at once; a request_id that comes twice at the same time is sent once."""
        return await self._alone.run(request, pb.NotifySlackResponse, lambda: self._notify(request))

    async def _notify(self, request: pb.NotifySlackRequest) -> pb.NotifySlackResponse:
        sender = await self._slacking.sender(request.user_id)
        message = SlackMessage(message_id=self._host.ids(), channel=request.channel, text=request.text, user_id=request.user_id)
        message.create_time.FromDatetime(self._host.clock.now())
        try:
            sent = await self._slacking.send(message, sender)
        except RemoteError as error:
            raise refusals.of(REMOTE, error) from error

        async def effect(tx: Transaction) -> pb.NotifySlackResponse:
            await store.insert_slack_message(tx, _row(sent, store.SENT, self._host.clock.now()))
            await store.trim_slack_messages(tx, self._settings.slack_history)
            await self._host.tell(tx, events.slack_sent(sent))
            return pb.NotifySlackResponse(message=sent)

        return await self._host.once(request, pb.NotifySlackResponse, effect)

    async def enqueue(self, tx: Transaction, event: Event, text: str) -> None:
        """Puts a notification of a heard event into the queue, in the transaction that notes the event as handled."""
        if not self._settings.slack_channel:
            return
        if await store.count_waiting(tx) >= self._settings.notify_queue:
            log.warning("the notification of event %s is dropped: %d wait already", event.id, self._settings.notify_queue)
            return
        now = self._host.clock.now()
        message = SlackMessage(
            message_id=self._host.ids(),
            channel=self._settings.slack_channel,
            text=text[:_LONGEST_TEXT],
            cause_event_id=event.id,
            state=SLACK_MESSAGE_STATE_PENDING,
        )
        message.create_time.FromDatetime(now)
        message.next_attempt_time.FromDatetime(now)
        await store.insert_slack_message(tx, _row(message, store.PENDING, now))
        tx.after_commit(self._queued.set)

    async def run(self) -> None:
        """Sends what is due, for ever."""
        while True:
            self._queued.clear()
            try:
                sent = await self.send_due()
            except errors.Refusal as error:
                # the disk is full, say: what waits is still there afterwards
                log.warning("notifications wait: %s", error)
                sent = 0
            if not sent:
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._settings.notify_poll.total_seconds()):
                await self._queued.wait()
        except TimeoutError:
            pass

    async def send_due(self) -> int:
        """Tries the messages whose time has come and that no other process sends; gives their number."""
        await self._keep_what_was_sent()
        lease = self._lease()
        rows = await self._host.db.read(lambda tx: store.due_slack_messages(tx, lease, _BATCH))
        return sum([await self._try(row) for row in rows])

    async def _try(self, row: Row) -> bool:
        """One attempt, under a lease; False when somebody else makes it. One that is cut off is made again."""
        lease = self._lease()
        if not await self._host.db.write(lambda tx: store.claim_slack_message(tx, row["message_id"], lease)):
            return False
        message = SlackMessage.FromString(row["message"])
        with _caused_by(row, message):
            try:
                sent = await self._slacking.send(message, await self._slacking.sender(message.user_id))
            except (RemoteError, errors.Refusal) as error:
                await self._postpone(message, error, lease)
                return True
            except asyncio.CancelledError:
                await self._host.db.write(lambda tx: store.release_slack_message(tx, row["message_id"], lease))
                raise
        self._unkept.append((row, sent))
        await self._keep_what_was_sent()
        return True

    async def _keep_what_was_sent(self) -> None:
        while self._unkept:
            row, sent = self._unkept[0]
            with _caused_by(row, sent):
                await self._host.db.write(partial(self._keep_sent, sent=sent))
            self._unkept.pop(0)

    async def _keep_sent(self, tx: Transaction, sent: SlackMessage) -> None:
        if await store.keep_sent(tx, sent.message_id, sent.SerializeToString()):
            await store.trim_slack_messages(tx, self._settings.slack_history)
            await self._host.tell(tx, events.slack_sent(sent))

    async def _postpone(self, message: SlackMessage, error: RemoteError | errors.Refusal, lease: Lease) -> None:
        """Sets the next attempt. Being asked to wait is no attempt; being refused is the last one, unless for our token."""
        now = self._host.clock.now()
        message.last_error = str(error)[:_LONGEST_ERROR]
        if not isinstance(error, Limited):
            message.attempts += 1
        # a token that was rotated at Slack is soon set here too
        refused = isinstance(error, Refused) and error.code not in DEAD_TOKEN
        if refused or message.attempts >= self._settings.notify_attempts:
            log.warning("message %s is given up after %d attempts: %s", message.message_id, message.attempts, error)
            message.state = SLACK_MESSAGE_STATE_FAILED
            message.ClearField("next_attempt_time")
            state, next_us = store.FAILED, 0
        else:
            due = now + (error.wait if isinstance(error, Limited) else self._wait_after(message.attempts))
            message.next_attempt_time.FromDatetime(due)
            state, next_us = store.PENDING, to_us(due)
        put_off = store.PutOff(state, next_us, to_us(now))
        await self._host.db.write(lambda tx: self._keep_unsent(tx, message, put_off, lease))

    async def _keep_unsent(self, tx: Transaction, message: SlackMessage, put_off: store.PutOff, lease: Lease) -> None:
        await store.keep_unsent(tx, message.message_id, message.SerializeToString(), put_off, lease)
        await store.trim_slack_messages(tx, self._settings.slack_history)

    def _lease(self) -> Lease:
        now = self._host.clock.now()
        return Lease(self._owner, now, now + self._settings.notify_lease)

    def _wait_after(self, attempt: int) -> timedelta:
        settings = self._settings
        return notification.backoff(attempt, settings.notify_backoff, settings.notify_backoff_cap, self._jitter())


@contextmanager
def _caused_by(row: Row, message: SlackMessage) -> Iterator[None]:
    """What is told here belongs to the event that caused the message."""
    token = call.current.set(
        call.Call(
            method="notification",
            traceparent=row["traceparent"],
            correlation_id=row["correlation_id"],
            causation_id=message.cause_event_id,
        )
    )
    try:
        yield
    finally:
        call.current.reset(token)


def _row(message: SlackMessage, state: str, now: datetime) -> dict[str, object]:
    current = call.current.get()
    return {
        "message_id": message.message_id,
        "state": state,
        "message": message.SerializeToString(),
        "cause_event_id": message.cause_event_id or None,
        "correlation_id": current.correlation_id,
        "traceparent": current.traceparent,
        "next_us": to_us(now),
        "created_us": to_us(now),
    }
