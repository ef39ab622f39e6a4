"""Notifications of heard events: from a queue to Slack, over refusals, restarts and replicas."""

import asyncio
import json
import threading
import tomllib
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from google.type.money_pb2 import Money
from tooloo.integration.v1 import integration_events_pb2, slack_message_pb2
from tooloo.integration.v1 import integration_service_pb2 as pb
from tooloo.orchestration.v1 import orchestration_events_pb2, run_pb2
from tooloo.provider.v1 import provider_events_pb2

from mesh import contracts, errors
from mesh.db import Transaction
from mesh.settings import SettingError
from services.integration import notification
from services.integration.flows import fields
from services.integration.lease import Lease
from services.integration.settings import IntegrationSettings
from services.integration.store import slack as store
from tests.integration.integration_bench import Bench, integration, until
from tests.peers import slack, web
from tests.peers.slack import BOT_TOKEN, CHANNEL_ID, TS, SlackPeer
from tests.peers.web import Reply, Seen

REQUEST_ID = "0190b5a4-0000-7000-8000-000000000003"
EVENT_ID = "0190b5a4-0000-7000-8000-00000000000e"
SENT, FAILED = slack_message_pb2.SLACK_MESSAGE_STATE_SENT, slack_message_pb2.SLACK_MESSAGE_STATE_FAILED
PENDING = slack_message_pb2.SLACK_MESSAGE_STATE_PENDING
TEXT = "Deploy done <https://example.com|look> – ✓ \x00\n"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def peer() -> Iterator[SlackPeer]:
    """Slack."""
    with slack.slack_peer() as running:
        yield running


@pytest.fixture
async def bench(peer: SlackPeer, tmp_path: Path) -> AsyncIterator[Bench]:
    """The service with a bot at that Slack and a channel for notifications; its queue looks every 10 ms."""
    settings = {"slack_api_url": peer.api_url, "slack_bot_token": BOT_TOKEN, "slack_channel": "#ops", "notify_poll": "10ms"}
    async with integration(tmp_path, **settings) as running:
        yield running


async def listed(
    bench: Bench, state: slack_message_pb2.SlackMessageState.ValueType = PENDING
) -> list[slack_message_pb2.SlackMessage]:
    """The messages in a state, newest first."""
    return list((await bench.stub.ListSlackMessages(pb.ListSlackMessagesRequest(state=state))).messages)


def alert() -> provider_events_pb2.BudgetThresholdExceeded:
    """A budget whose name tries to mention the whole channel."""
    return provider_events_pb2.BudgetThresholdExceeded(
        budget_id="b1",
        display_name="Team <!channel>",
        threshold=80,
        limit=Money(currency_code="USD", units=10),
        spent=Money(currency_code="USD", units=8, nanos=250_000_000),
    )


async def test_a_notification_is_sent_by_one_replica(tmp_path: Path) -> None:
    """While one process waits for Slack's answer another on the same store leaves the message alone, unless that falls silent."""
    go_on = threading.Event()

    def late(_: Seen) -> Reply:
        assert go_on.wait(30)
        return Reply(200, json.dumps({"ok": True, "channel": CHANNEL_ID, "ts": TS}).encode())

    with web.serving(late) as peer:

        async def asked(times: int) -> bool:
            return len(peer.seen) >= times

        settings = {"slack_api_url": peer.url, "slack_bot_token": BOT_TOKEN, "slack_channel": "#ops", "notify_poll": "10ms"}
        async with integration(tmp_path, **settings) as one, integration(tmp_path, **settings) as other:
            await one.running.hear(alert())
            await until(lambda: asked(1))
            await asyncio.sleep(0.1)
            assert len(peer.seen) == 1
            for each in (one, other):
                each.clock.advance(2 * MINUTE)
            await until(lambda: asked(2))
            go_on.set()
            await until(lambda: _any_in(one, SENT))
            await asyncio.sleep(0.1)
            assert (len(peer.seen), len(await one.told(integration_events_pb2.SlackSent))) == (2, 1)


async def test_a_notification_of_a_killed_process_is_sent_by_the_next_one(peer: SlackPeer, tmp_path: Path) -> None:
    """It waits for no lease: the next start knows that the process is gone."""
    settings = {"slack_api_url": peer.api_url, "slack_bot_token": BOT_TOKEN, "slack_channel": "#ops", "notify_poll": "1h"}
    async with integration(tmp_path, **settings, notify_lease="1h") as bench:
        database, now = bench.running.host.db, bench.clock.now()
        gone = Lease("gone", now, now + timedelta(hours=1))
        message = slack_message_pb2.SlackMessage(message_id="m", channel="#ops", text=TEXT).SerializeToString()
        row = {"message_id": "m", "state": store.PENDING, "message": message, "cause_event_id": None, "correlation_id": ""}
        await database.write(partial(store.insert_slack_message, row={**row, "traceparent": "", "next_us": 0, "created_us": 0}))
        assert await database.write(partial(store.claim_slack_message, message_id="m", lease=gone))
        (tmp_path / "integration" / "owners" / "gone.lock").touch()
        await bench.running.restart()
        await until(partial(_posted, peer, 1))


async def test_a_message_that_no_disk_takes_is_not_sent_again(
    bench: Bench, peer: SlackPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slack has it and the disk is full: what is tried again is keeping it, not sending it."""
    refusals: list[str] = []
    keep = store.keep_sent

    async def full(tx: Transaction, message_id: str, message: bytes) -> bool:
        if len(refusals) < 3:
            refusals.append(message_id)
            raise errors.exhausted("disk", "full")
        return await keep(tx, message_id, message)

    monkeypatch.setattr(store, "keep_sent", full)
    await bench.running.hear(alert())
    await until(lambda: _any_in(bench, SENT))
    assert (len(refusals), len(peer.posted)) == (3, 1)


async def test_a_budget_alert_is_notified_once(bench: Bench, peer: SlackPeer) -> None:
    """Heard twice, sent once: with the figures, without the mention, and caused by the event."""
    assert await bench.running.hear(alert(), event_id=EVENT_ID)
    assert not await bench.running.hear(alert(), event_id=EVENT_ID)
    await until(lambda: _any_in(bench, SENT))
    (sent,) = await listed(bench, SENT)
    assert peer.posted == [{"channel": "#ops", "text": sent.text}]
    assert sent.text.endswith("Budget Team &lt;!channel&gt; has reached 80 % of its limit: 8.25 USD of 10.00 USD are spent.")
    (event,) = [event for event in await bench.running.told() if event.type == "slack.sent"]
    assert event.causation_id == sent.cause_event_id == EVENT_ID


async def _any_in(bench: Bench, state: slack_message_pb2.SlackMessageState.ValueType) -> bool:
    return bool(await listed(bench, state))


async def test_only_failed_runs_are_notified(bench: Bench, peer: SlackPeer) -> None:
    """The rule's `only` lets a succeeded run pass without a word."""
    await bench.running.hear(orchestration_events_pb2.DagCompleted(run_id="r1", state=run_pb2.RUN_STATE_SUCCEEDED))
    await bench.running.hear(orchestration_events_pb2.DagCompleted(run_id="r2", state=run_pb2.RUN_STATE_FAILED, failed_nodes=2))
    await until(lambda: _any_in(bench, SENT))
    assert [body["text"] for body in peer.posted] == [":x: Run r2 failed (2 nodes): "]


async def test_a_notification_outlives_slack_and_a_restart(bench: Bench, peer: SlackPeer) -> None:
    """While Slack is down it waits, longer each time; a restart loses nothing; then it is sent once."""
    peer.reply = Reply(503)
    await bench.running.hear(alert())
    await until(lambda: _attempted(bench, 1))
    bench.clock.advance(timedelta(seconds=2))
    await until(lambda: _attempted(bench, 2))
    await bench.running.restart()
    peer.reply = None
    tried = len(peer.posted)
    bench.clock.advance(timedelta(seconds=4))
    await until(lambda: _any_in(bench, SENT))
    assert len(peer.posted) == tried + 1
    assert (await listed(bench, SENT))[0].attempts == 3
    assert not await listed(bench, PENDING)


async def _attempted(bench: Bench, times: int) -> bool:
    return any(message.attempts == times for message in await listed(bench, PENDING))


async def test_a_notification_that_slack_refuses_is_given_up(bench: Bench, peer: SlackPeer) -> None:
    """A no is not tried again: the message says why and stays to be seen."""
    peer.reply = slack.refusal("is_archived")
    await bench.running.hear(alert())
    await until(lambda: _any_in(bench, FAILED))
    (failed,) = await listed(bench, FAILED)
    assert (failed.last_error, failed.attempts, len(peer.posted)) == ("is_archived", 1, 1)


async def test_a_notification_outlives_a_rotated_token(peer: SlackPeer, tmp_path: Path) -> None:
    """Slack takes the token no more; with the new one, after a restart, what waited is sent."""
    settings = {"slack_api_url": peer.api_url, "slack_channel": "#ops", "notify_poll": "10ms"}
    async with integration(tmp_path, **settings, slack_bot_token="xoxb-old") as bench:
        await bench.running.hear(alert())
        await until(lambda: _attempted(bench, 1))
    async with integration(tmp_path, **settings, slack_bot_token=BOT_TOKEN) as bench:
        bench.clock.advance(MINUTE)
        await until(lambda: _any_in(bench, SENT))
    assert len(peer.posted) == 2


async def test_what_is_given_up_is_kept_within_its_limit(peer: SlackPeer, tmp_path: Path) -> None:
    """A channel that Slack refuses for months fills no disk: the oldest go, although none was ever sent."""
    peer.reply = slack.refusal("is_archived")
    settings = {"slack_api_url": peer.api_url, "slack_bot_token": BOT_TOKEN, "slack_channel": "#ops", "slack_history": "2"}
    async with integration(tmp_path, **settings, notify_poll="10ms") as bench:
        for number in range(1, 5):
            bench.clock.advance(MINUTE)
            await bench.running.hear(alert())
            await until(partial(_posted, peer, number))
            await until(lambda: _none_in(bench, PENDING))
        assert len(await listed(bench, FAILED)) == 2


async def _posted(peer: SlackPeer, times: int) -> bool:
    return len(peer.posted) == times


async def _none_in(bench: Bench, state: slack_message_pb2.SlackMessageState.ValueType) -> bool:
    return not await _any_in(bench, state)


async def test_a_notification_is_given_up_after_its_last_attempt(peer: SlackPeer, tmp_path: Path) -> None:
    """With two attempts allowed, the second failure is the end."""
    peer.reply = Reply(503)
    settings = {"slack_api_url": peer.api_url, "slack_bot_token": BOT_TOKEN, "slack_channel": "#ops"}
    async with integration(tmp_path, **settings, notify_attempts="2", notify_poll="10ms") as bench:
        await bench.running.hear(alert())
        await until(lambda: _attempted(bench, 1))
        bench.clock.advance(MINUTE)
        await until(lambda: _any_in(bench, FAILED))
        (failed,) = await listed(bench, FAILED)
        assert (failed.attempts, failed.last_error, len(peer.posted)) == (2, "status 503", 2)


async def test_waiting_notifications_have_a_limit(peer: SlackPeer, tmp_path: Path) -> None:
    """A flood of events beyond the queue's limit is dropped instead of stored for ever."""
    peer.reply = Reply(503)
    settings = {"slack_api_url": peer.api_url, "slack_bot_token": BOT_TOKEN, "slack_channel": "#ops", "notify_queue": "2"}
    async with integration(tmp_path, **settings) as bench:
        for _ in range(4):
            await bench.running.hear(alert())
        assert len(await listed(bench, PENDING)) == 2


async def test_without_a_channel_nothing_is_queued(peer: SlackPeer, tmp_path: Path) -> None:
    """Notifications are off until a channel is set."""
    async with integration(tmp_path, slack_api_url=peer.api_url, slack_bot_token=BOT_TOKEN) as bench:
        await bench.running.hear(alert())
        assert not (await bench.stub.ListSlackMessages(pb.ListSlackMessagesRequest())).messages


async def test_a_notification_is_no_reason_for_another(peer: SlackPeer, tmp_path: Path) -> None:
    """A rule about messages to Slack speaks of those that somebody sent, and not of its own, which would never end."""
    rules = tmp_path / "rules.toml"
    await asyncio.to_thread(rules.write_text, '["slack.sent"]\ntext = "sent $text"\n')
    settings = {"slack_api_url": peer.api_url, "slack_bot_token": BOT_TOKEN, "slack_channel": "#ops", "notify_poll": "10ms"}
    async with integration(tmp_path, **settings, notifications_file=str(rules)) as bench:
        await bench.stub.NotifySlack(pb.NotifySlackRequest(channel="#general", text="go"))
        heard = 0

        async def all_are_heard() -> bool:
            nonlocal heard
            told = await bench.told(integration_events_pb2.SlackSent)
            for each in told[heard:]:
                await bench.running.hear(each)
            heard = len(told)
            return heard == 2 and not await listed(bench)

        await until(all_are_heard)
        assert [body["text"] for body in peer.posted] == ["go", "sent go"]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ('["no.such"]\ntext = "t"', "no event is named no.such"),
        ('["dag.completed"]\ntext = "t"\nonly = { stat = ["x"] }', "'stat', which is no plain field"),
        ('["dag.completed"]\ntext = "t"\nonly = "x"', "`only` is a table of fields"),
    ],
)
async def test_a_rule_that_fits_no_event_names_its_setting(tmp_path: Path, rule: str, why: str) -> None:
    """The start says which setting is to be corrected, and what is wrong there."""
    rules = tmp_path / "rules.toml"
    await asyncio.to_thread(rules.write_text, rule)
    with pytest.raises(SettingError, match=f"TOOLOO_INTEGRATION_NOTIFICATIONS_FILE.*: .*{why}"):
        async with integration(tmp_path / "data", notifications_file=str(rules)):
            pass


def test_the_shipped_rules_fit_the_events_they_name() -> None:
    """Every event type of notifications.toml is in the catalogue, and its message has every field that the rule names."""
    tables = tomllib.loads(IntegrationSettings().notifications_file.read_text())
    catalogue = contracts.catalogue()
    for rule in notification.read(tables):
        descriptor = contracts.message_class(catalogue[rule.event_type].message).DESCRIPTOR
        used = {*rule.text.get_identifiers(), *rule.only}
        assert used <= fields.names(descriptor), rule.event_type
        for name, values in rule.only.items():
            enum = next(field.enum_type for field in descriptor.fields if field.json_name == name)
            assert enum
            assert set(values) <= set(enum.values_by_name)


@pytest.mark.parametrize("reply", [Reply(503), slack.limited(30)], ids=["out of order", "asks to wait"])
async def test_what_was_put_off_before_the_clock_was_set_back(bench: Bench, peer: SlackPeer, reply: Reply) -> None:
    """It does not wait until the clock has caught up, nor do messages of callers."""
    peer.reply = reply
    await bench.running.hear(alert())
    await until(lambda: _put_off(bench))
    bench.clock.advance(-timedelta(days=1))
    peer.reply = None
    await until(lambda: _any_in(bench, SENT))
    asked = pb.NotifySlackRequest(channel="#general", text="to a caller")
    assert (await bench.stub.NotifySlack(asked)).message.state == SENT


async def _put_off(bench: Bench) -> bool:
    return any(message.last_error for message in await listed(bench))
