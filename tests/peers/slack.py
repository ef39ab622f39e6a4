"""A far end that speaks the parts of Slack we use, in the shapes of its reference pages; a test holds it to Slack's own SDK."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.peers import web
from tests.peers.web import Peer, Reply, Seen

BOT_TOKEN = "xoxb-1234-secret"
CHANNEL_ID, TS = "C123ABC456", "1503435956.000247"
_ARGUMENTS = {"channel", "text", "thread_ts", "blocks", "attachments", "mrkdwn", "unfurl_links", "unfurl_media", "metadata"}
_WEBHOOK = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"


@dataclass
class SlackPeer:
    """A workspace; tests put a whole `reply` in place of the next answers, or the user's token that has `ended`."""

    peer: Peer = field(default_factory=lambda: Peer(""))
    reply: Reply | None = None
    ended: str = ""

    @property
    def api_url(self) -> str:
        """Its address, for the setting slack_api_url."""
        return f"{self.peer.url}/api"

    @property
    def webhook_url(self) -> str:
        """An incoming webhook."""
        return self.peer.url + _WEBHOOK

    @property
    def posted(self) -> list[dict[str, str]]:
        """The bodies of the messages it was asked to post."""
        return [json.loads(seen.body) for seen in self.peer.seen]

    def answer(self, seen: Seen) -> Reply:
        """What Slack would answer."""
        if not seen.headers["content-type"].replace(" ", "").lower().startswith("application/json"):
            raise AssertionError("a body is JSON and says so")
        if self.reply is not None:
            return self.reply
        if seen.path == _WEBHOOK:
            return Reply(200, b"ok", {"content-type": "text/html"})
        if seen.path != "/api/chat.postMessage":
            return refusal("unknown_method")
        bearer = seen.headers.get("authorization")
        if self.ended and bearer == f"Bearer {self.ended}":
            return refusal("token_expired")
        if not self.ended and bearer != f"Bearer {BOT_TOKEN}":
            return refusal("invalid_auth")
        return self._post(json.loads(seen.body))

    def _post(self, body: dict[str, str]) -> Reply:
        if unknown := set(body) - _ARGUMENTS:
            raise AssertionError(f"chat.postMessage knows no {sorted(unknown)}")
        if not body.get("text"):
            return refusal("no_text")
        message = {"text": body["text"], "username": "tooloo", "bot_id": "B123ABC456", "type": "message", "ts": TS}
        return _json({"ok": True, "channel": CHANNEL_ID, "ts": TS, "message": {**message, "subtype": "bot_message"}})


def refusal(error: str) -> Reply:
    """Slack's no: status 200 with ok false."""
    return _json({"ok": False, "error": error})


def limited(seconds: int) -> Reply:
    """Slack's "wait": status 429 with Retry-After."""
    return Reply(429, b'{"ok":false,"error":"ratelimited"}', {"retry-after": str(seconds), "content-type": "application/json"})


def _json(body: dict[str, object]) -> Reply:
    return Reply(200, json.dumps(body).encode(), {"content-type": "application/json; charset=utf-8"})


@contextmanager
def slack_peer() -> Iterator[SlackPeer]:
    """Runs it on a free port."""
    slack = SlackPeer()
    with web.serving(slack.answer) as slack.peer:
        yield slack
