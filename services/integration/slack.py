"""Slack, without I/O: chat.postMessage of the Web API, incoming webhooks, and what their answers mean."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.integration import exchange
from services.integration.exchange import Answer, Call, Limited, Refused, Unreachable, clean

# errors of Slack's own making that pass ("Errors" of the page of chat.postMessage)
PASSING = {"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"}
LIMITED = {"ratelimited", "rate_limited", "message_limit_exceeded"}
# the connection's token is dead: only connecting again helps
DEAD_TOKEN = {"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive"}
DEFAULT_WAIT = timedelta(seconds=30)
_JSON = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Posted:
    """Where Slack put a message; both empty for a webhook, which answers "ok" and nothing else."""

    channel: str = ""
    ts: str = ""


def post_message(base: str, token: str, channel: str, text: str) -> Call:
    """Posts to a channel with a bot token."""
    headers = {"authorization": f"Bearer {token}", "content-type": _JSON}
    return Call("POST", base.rstrip("/") + "/chat.postMessage", headers, _body({"channel": channel, "text": text}))


def post_webhook(url: str, text: str) -> Call:
    """Posts to the channel of an incoming webhook."""
    return Call("POST", url, {"content-type": _JSON}, _body({"text": text}))


def _body(message: dict[str, str]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def read_post(answer: Answer, now: datetime) -> Posted:
    """Where chat.postMessage put it; Limited, Refused with Slack's own error, or Unreachable."""
    _check_status(answer, now)
    body = answer.object()
    if body.get("ok") is True:
        return Posted(clean(body.get("channel")), clean(body.get("ts")))
    error = clean(body.get("error") or "unknown")
    if error in LIMITED:
        raise Limited(exchange.retry_after(answer.headers, now) or DEFAULT_WAIT)
    if error in PASSING:
        raise Unreachable(error)
    raise Refused(answer.status, error, clean(body.get("needed")))


def read_webhook(answer: Answer, now: datetime) -> Posted:
    """Nothing, when the webhook took it: its answers are plain text, "ok" or an error like "channel_is_archived"."""
    _check_status(answer, now)
    if answer.status != exchange.OK:
        raise Refused(answer.status, clean(answer.body.decode("utf-8", "replace")) or f"status {answer.status}", "")
    return Posted()


def _check_status(answer: Answer, now: datetime) -> None:
    if answer.status == exchange.TOO_MANY:
        raise Limited(exchange.retry_after(answer.headers, now) or DEFAULT_WAIT)
    if answer.status >= exchange.SERVER_ERROR:
        raise Unreachable(f"status {answer.status}")
