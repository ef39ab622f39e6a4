"""Integration: messages to Slack by calls and because of events, with a Slack that is often out of order; each is told once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from tooloo.integration.v1 import integration_events_pb2 as events
from tooloo.integration.v1 import integration_service_pb2 as pb
from tooloo.integration.v1.integration_service_pb2_grpc import IntegrationServiceStub
from tooloo.orchestration.v1.orchestration_events_pb2 import TaskMissed

from mesh.outbox import Fact
from tests.peers import slack
from tests.peers.slack import BOT_TOKEN
from tests.peers.web import Reply
from tests.robustness.matrix.scenario import Scenario

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.integration.v1.integration_service_pb2_grpc import IntegrationServiceAsyncStub


_CHANNEL = "#ops"
_OUT_OF_ORDER, _CHANGES_SECONDS = 0.3, 0.02


class Work(Scenario):
    """Callers who send messages, and tasks that missed their time."""

    async def open(self, stack: AsyncExitStack) -> Mapping[str, str]:
        """Slack, and a queue that looks often and never gives up."""
        self.peer = stack.enter_context(slack.slack_peer())
        # a process that is killed leaves half a request
        stack.callback(self.peer.peer.mistakes.clear)
        self.sent: list[str] = []
        weather = asyncio.create_task(self._weather())
        stack.callback(weather.cancel)
        own = {"API_URL": self.peer.api_url, "BOT_TOKEN": BOT_TOKEN, "CHANNEL": _CHANNEL}
        queue = {"POLL": "20ms", "BACKOFF": "50ms", "BACKOFF_CAP": "200ms", "ATTEMPTS": "100"}
        return {
            # a connection that this Slack is too busy to take holds up the queue
            "TOOLOO_INTEGRATION_TIMEOUT": "1s",
            # what a killed process leaves under way is taken up by the next one this soon
            "TOOLOO_INTEGRATION_NOTIFY_LEASE": "3s",
            "TOOLOO_INTEGRATION_CALL_LEASE": "2s",
            **{f"TOOLOO_INTEGRATION_SLACK_{name}": value for name, value in own.items()},
            **{f"TOOLOO_INTEGRATION_NOTIFY_{name}": value for name, value in queue.items()},
        }

    async def work(self, number: int) -> None:
        """A message by a call."""
        request = pb.NotifySlackRequest(channel=_CHANNEL, text=f"call {number}", request_id=self.request_id())
        self.sent.append((await self.stand.caller.call(self._stub.NotifySlack, request)).message.message_id)

    def fact(self, number: int) -> tuple[str, Fact]:
        """A task missed its time."""
        return "orchestration", Fact(TaskMissed(task_id=str(number), name=f"task {number}", missed_count=1), f"tasks/{number}")

    async def read(self) -> None:
        """The messages."""
        await self._stub.ListSlackMessages(pb.ListSlackMessagesRequest(), timeout=60)

    async def ticks(self) -> int:
        """Notifications that were sent."""
        return sum(bool(each.cause_event_id) for each in await self._told())

    async def broken(self) -> str:
        """The queue is empty; every message and every notification stands as sent, and was told once."""
        states = dict(self.stand.rows("SELECT message_id, state FROM slack_messages"))
        if waiting := [state for state in states.values() if state != "sent"]:
            return f"{Counter(waiting)} of {len(states)} messages"
        told = Counter(each.message_id for each in await self._told())
        if set(told.values()) - {1} or set(told) != set(states) or not set(self.sent) <= set(states):
            return f"{len(states)} messages, {len(self.sent)} acknowledged, told {told.total()} times of {len(told)}"
        causes = Counter(each.cause_event_id for each in await self._told() if each.cause_event_id)
        caused = {event.id for event in await self.stand.told("task.missed")}
        return "" if causes == Counter(caused) else f"{causes.total()} notifications of {len(caused)} events"

    async def _weather(self) -> None:
        """Slack is out of order now and then."""
        while True:
            self.peer.reply = Reply(503) if self.chance.random() < _OUT_OF_ORDER else None
            await asyncio.sleep(_CHANGES_SECONDS)

    async def _told(self) -> list[events.SlackSent]:
        found = []
        for event in await self.stand.told("slack.sent"):
            message = events.SlackSent()
            event.data.Unpack(message)
            found.append(message)
        return found

    @property
    def _stub(self) -> IntegrationServiceAsyncStub:
        return IntegrationServiceStub(self.stand.caller.channel)
