"""Messages to Slack by calls, with a far end that is held to Slack's own SDK."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import grpc
import pytest
from slack_sdk import WebClient, WebhookClient
from slack_sdk.errors import SlackApiError
from tooloo.integration.v1 import connection_pb2, integration_events_pb2, slack_message_pb2
from tooloo.integration.v1 import integration_service_pb2 as pb

from services.integration.lease import Lease
from services.integration.store import calls
from tests.integration.integration_bench import CALLBACK, Bench, came_back, integration, refusal, until
from tests.peers import oidc, slack, web
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


def notify(bench: Bench, **fields: str) -> grpc.aio.UnaryUnaryCall[pb.NotifySlackRequest, pb.NotifySlackResponse]:
    """Sends a message."""
    return bench.stub.NotifySlack(pb.NotifySlackRequest(**{"channel": "#general", "text": TEXT, **fields}))


async def listed(
    bench: Bench, state: slack_message_pb2.SlackMessageState.ValueType = PENDING
) -> list[slack_message_pb2.SlackMessage]:
    """The messages in a state, newest first."""
    return list((await bench.stub.ListSlackMessages(pb.ListSlackMessagesRequest(state=state))).messages)


async def test_a_message_is_sent_recorded_and_told(bench: Bench, peer: SlackPeer) -> None:
    """What Slack got is what is recorded, byte for byte; the event has its text and Slack's id of it."""
    message = (await notify(bench)).message
    (seen,) = peer.peer.seen
    assert json.loads(seen.body) == {"channel": "#general", "text": TEXT}
    assert message.sent_body.encode() == seen.body
    assert (message.state, message.slack_channel, message.slack_ts, message.attempts) == (SENT, CHANNEL_ID, TS, 1)
    assert message.route == slack_message_pb2.SLACK_ROUTE_WEB_API
    assert await listed(bench, SENT) == [message]
    (told,) = await bench.told(integration_events_pb2.SlackSent)
    assert (told.message_id, told.channel, told.text, told.slack_ts) == (message.message_id, "#general", TEXT, TS)


async def test_we_ask_slack_what_its_own_sdk_asks(bench: Bench, peer: SlackPeer) -> None:
    """The official SDK's chat.postMessage and webhook requests, and its reading of our far end's answers, equal ours."""
    await notify(bench)
    sdk = WebClient(token=BOT_TOKEN, base_url=f"{peer.api_url}/")
    answer = await asyncio.to_thread(sdk.chat_postMessage, channel="#general", text=TEXT)
    assert (answer["ok"], answer["channel"], answer["ts"]) == (True, CHANNEL_ID, TS)
    ours, theirs = peer.peer.seen
    assert _essence(ours) == _essence(theirs)
    for reply, status, wait in ((slack.refusal("channel_not_found"), 200, None), (slack.limited(7), 429, "7")):
        peer.reply = reply
        with pytest.raises(SlackApiError) as caught:
            await asyncio.to_thread(sdk.chat_postMessage, channel="#general", text=TEXT)
        assert (caught.value.response.status_code, caught.value.response.headers.get("retry-after")) == (status, wait)


async def test_the_webhook_asks_what_slacks_own_sdk_asks(peer: SlackPeer, tmp_path: Path) -> None:
    """Without a bot token the incoming webhook is used, in the way of the official SDK."""
    async with integration(tmp_path, slack_webhook_url=peer.webhook_url) as bench:
        message = (await notify(bench)).message
        assert (message.route, message.slack_ts) == (slack_message_pb2.SLACK_ROUTE_WEBHOOK, "")
        answer = await asyncio.to_thread(WebhookClient(peer.webhook_url).send, text=TEXT)
        assert (answer.status_code, answer.body) == (200, "ok")
        ours, theirs = peer.peer.seen
        assert _essence(ours) == _essence(theirs)
        peer.reply = Reply(404, b"no_service")
        assert (await refusal(notify(bench))).metadata["error"] == "no_service"


def _essence(seen: Seen) -> tuple[str, str, str | None, str, object]:
    kind = seen.headers["content-type"].replace(" ", "").lower()
    return seen.method, seen.path, seen.headers.get("authorization"), kind, json.loads(seen.body)


async def test_without_settings_the_refusal_names_them(tmp_path: Path) -> None:
    """PROVIDER_NOT_CONFIGURED with the two settings, one of which has to be filled in."""
    async with integration(tmp_path) as bench:
        refused = await refusal(notify(bench))
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_NOT_CONFIGURED")
        names = "TOOLOO_INTEGRATION_SLACK_BOT_TOKEN, TOOLOO_INTEGRATION_SLACK_WEBHOOK_URL"
        assert refused.metadata["settings"] == names


async def test_a_user_without_a_connection_cannot_send(bench: Bench) -> None:
    """The bot does not stand in for a user."""
    refused = await refusal(notify(bench, user_id="ada"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATE_FORBIDS")


async def test_the_same_request_id_sends_once(bench: Bench, peer: SlackPeer) -> None:
    """Five calls at the same moment with one id: one message, one answer, one event."""
    answers = await asyncio.gather(*(notify(bench, request_id=REQUEST_ID) for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)
    assert len(peer.posted) == 1
    assert len(await bench.told(integration_events_pb2.SlackSent)) == 1


async def test_a_repeat_waits_for_the_message_that_its_caller_gave_up(tmp_path: Path) -> None:
    """Slack was slower than the caller's deadline: asked again with the same id the message is not sent again."""
    asked, go_on = threading.Event(), threading.Event()

    def respond(_: Seen) -> Reply:
        asked.set()
        go_on.wait(30)
        return Reply(200, json.dumps({"ok": True, "channel": CHANNEL_ID, "ts": TS}).encode())

    with web.serving(respond) as peer:
        async with integration(tmp_path, slack_api_url=peer.url, slack_bot_token=BOT_TOKEN) as bench:
            call = notify(bench, request_id=REQUEST_ID)
            assert await asyncio.to_thread(asked.wait, 30)
            call.cancel()
            again = asyncio.ensure_future(notify(bench, request_id=REQUEST_ID))
            # so that the repeat has come before the first one goes on
            for _ in range(20):
                await listed(bench)
            go_on.set()
            assert (await again).message.state == SENT
            assert len(peer.seen) == 1


async def test_a_repeat_at_another_replica_waits(tmp_path: Path) -> None:
    """A message that is being sent is not sent again by another process that is asked with the same id: both give one answer."""
    asked, go_on = threading.Event(), threading.Event()

    def respond(_: Seen) -> Reply:
        asked.set()
        assert go_on.wait(30)
        return Reply(200, json.dumps({"ok": True, "channel": CHANNEL_ID, "ts": TS}).encode())

    with web.serving(respond) as peer:
        # Slack takes longer than the lease, which is renewed meanwhile
        settings = {"slack_api_url": peer.url, "slack_bot_token": BOT_TOKEN, "call_lease": "2s"}
        async with integration(tmp_path, **settings) as one, integration(tmp_path, **settings) as other:
            first = asyncio.ensure_future(notify(one, request_id=REQUEST_ID))
            assert await asyncio.to_thread(asked.wait, 30)
            again = asyncio.ensure_future(notify(other, request_id=REQUEST_ID))
            await asyncio.sleep(2.5)
            go_on.set()
            assert await again == await first
            assert len(peer.seen) == 1


async def test_a_call_that_was_taken_over_ends_only_its_own_lease(tmp_path: Path) -> None:
    """A replica that was silent too long fails at last: a repeat there still waits for the one that took the call over."""
    first_fails, second_ends = threading.Event(), threading.Event()
    turns = iter(
        [(first_fails, Reply(503)), (second_ends, Reply(200, json.dumps({"ok": True, "channel": "C1", "ts": TS}).encode()))]
    )

    def respond(_: Seen) -> Reply:
        go_on, reply = next(turns)
        assert go_on.wait(30)
        return reply

    with web.serving(respond) as peer:

        async def asked(times: int) -> bool:
            return len(peer.seen) == times

        # so long that nobody renews it while this test lasts
        settings = {"slack_api_url": peer.url, "slack_bot_token": BOT_TOKEN, "call_lease": "1h"}
        async with integration(tmp_path, **settings) as one, integration(tmp_path, **settings) as other:
            first = asyncio.ensure_future(notify(one, request_id=REQUEST_ID))
            await until(lambda: asked(1))
            for each in (one, other):
                each.clock.advance(timedelta(hours=2))
            over = asyncio.ensure_future(notify(other, request_id=REQUEST_ID))
            await until(lambda: asked(2))
            first_fails.set()
            assert (await refusal(first)).reason == "DEPENDENCY_UNAVAILABLE"
            again = asyncio.ensure_future(notify(one, request_id=REQUEST_ID))
            await asyncio.sleep(0.5)
            second_ends.set()
            assert await again == await over
            assert len(peer.seen) == 2


async def test_what_a_killed_process_held_is_free_at_once(bench: Bench, tmp_path: Path) -> None:
    """Its calls, notifications and refreshes: the next start knows that it is gone, and keeps what another one holds."""
    now = bench.clock.now()
    gone, alive, mine = (Lease(owner, now, now + timedelta(hours=1)) for owner in ("gone", "alive", "mine"))
    for lease in (gone, alive):
        assert await bench.running.host.db.write(partial(calls.claim_call, name=lease.owner, lease=lease))
    (tmp_path / "integration" / "owners" / "gone.lock").touch()
    await bench.running.restart()
    assert await bench.running.host.db.write(partial(calls.claim_call, name="gone", lease=mine))
    assert not await bench.running.host.db.write(partial(calls.claim_call, name="alive", lease=mine))


async def test_a_lease_that_ended_is_renewed_unless_somebody_has_it(bench: Bench) -> None:
    """A store that took nothing for longer than a lease: who still works on the call keeps it, unless it was taken over."""
    database, now = bench.running.host.db, bench.clock.now()
    late, other = (Lease(owner, now, now + MINUTE) for owner in ("late", "other"))
    after = Lease("other", late.until, late.until + MINUTE)
    assert await database.write(partial(calls.claim_call, name="call", lease=late))
    assert await database.write(partial(calls.claim_call, name="another", lease=after))
    renewed = replace(after, owner="late")
    await database.write(partial(calls.renew_call, name="call", lease=renewed))
    assert not await database.write(partial(calls.claim_call, name="call", lease=after))
    await database.write(partial(calls.renew_call, name="another", lease=renewed))
    await database.write(partial(calls.end_call, name="another", owner="late"))
    assert not await database.write(partial(calls.claim_call, name="another", lease=other))


@pytest.mark.parametrize(
    ("reply", "code", "reason"),
    [
        (slack.refusal("channel_not_found"), grpc.StatusCode.FAILED_PRECONDITION, "REMOTE_REFUSED"),
        (slack.refusal("invalid_auth"), grpc.StatusCode.FAILED_PRECONDITION, "REMOTE_REFUSED"),
        (slack.refusal("internal_error"), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        (slack.refusal("ratelimited"), grpc.StatusCode.RESOURCE_EXHAUSTED, "REMOTE_RATE_LIMITED"),
        (Reply(503, b"upstream"), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        (Reply(200, b"<html>"), grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
    ],
)
async def test_what_slack_refuses(bench: Bench, peer: SlackPeer, reply: Reply, code: grpc.StatusCode, reason: str) -> None:
    """Every no of Slack has its own refusal; nothing is recorded as sent, and the same request_id may try again."""
    peer.reply = reply
    refused = await refusal(notify(bench, request_id=REQUEST_ID))
    assert (refused.code, refused.reason) == (code, reason)
    assert not await bench.told(integration_events_pb2.SlackSent)
    peer.reply = None
    bench.clock.advance(MINUTE)
    assert (await notify(bench, request_id=REQUEST_ID)).message.state == SENT


async def test_slacks_wait_is_honoured_over_a_restart(bench: Bench, peer: SlackPeer) -> None:
    """Retry-After becomes RetryInfo, and until then Slack is left alone."""
    peer.reply = slack.limited(30)
    refused = await refusal(notify(bench))
    assert (refused.reason, refused.wait) == ("REMOTE_RATE_LIMITED", timedelta(seconds=30))
    peer.reply = None
    await bench.running.restart()
    assert (await refusal(notify(bench))).reason == "REMOTE_RATE_LIMITED"
    assert len(peer.posted) == 1
    bench.clock.advance(timedelta(seconds=30))
    assert (await notify(bench)).message.state == SENT


async def test_a_token_that_ended_before_its_time_is_renewed(peer: SlackPeer, tmp_path: Path) -> None:
    """token_expired for a token that looks good here: it is renewed and the message is sent, without the user."""
    async with oidc.oidc_provider([CALLBACK]) as issuer:
        file = tmp_path / "providers.toml"
        table = {"issuer": issuer, "client_id": oidc.CLIENT_ID, "client_secret": oidc.CLIENT_SECRET}
        lines = [
            "[slack]",
            "discover = true",
            'parameters = { prompt = "consent" }',
            *(f'{name} = "{table[name]}"' for name in table),
        ]
        await asyncio.to_thread(file.write_text, "\n".join(lines))
        async with integration(tmp_path / "data", providers_file=str(file), slack_api_url=peer.api_url) as bench:
            begun = await bench.authorize(provider="slack", scopes=["openid", "offline_access"])
            await bench.stub.CompleteOAuth(came_back(await oidc.consent(begun.authorization_url)))
            peer.ended = (await bench.tokens(provider="slack"))[0]
            assert (await notify(bench, user_id="ada")).message.state == SENT
            assert len(peer.posted) == 2
            (made,) = (await bench.connections()).connections
            assert made.state == connection_pb2.CONNECTION_STATE_ACTIVE


async def test_the_list_pages_from_the_newest(bench: Bench) -> None:
    """Three messages in pages of two, each once."""
    texts = []
    for number in range(3):
        bench.clock.advance(MINUTE)
        texts.append((await notify(bench, text=f"message {number}")).message.text)
    first = await bench.stub.ListSlackMessages(pb.ListSlackMessagesRequest(page_size=2))
    second = await bench.stub.ListSlackMessages(pb.ListSlackMessagesRequest(page_size=2, page_token=first.next_page_token))
    assert [message.text for message in (*first.messages, *second.messages)] == texts[::-1]
    assert not second.next_page_token
