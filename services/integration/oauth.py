"""OAuth 2.0 authorization code with PKCE, without I/O: addresses and calls to make, answers to read.

RFC 6749 (code, refresh), RFC 7636 (PKCE S256), RFC 7009 (revocation), RFC 9207 (issuer), RFC 9700 (best practice).
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from services.integration.exchange import (
    BAD_REQUEST,
    NO_CONTENT,
    NOT_FOUND,
    OK,
    SERVER_ERROR,
    Answer,
    Call,
    Garbled,
    Refused,
    RemoteError,
    Unreachable,
    clean,
    limit_in,
)
from services.integration.providers import Provider

SECRET_BYTES = 32
LONGEST_LIFE = timedelta(days=3650)
# what a token endpoint says when the grant itself is dead and only a new consent helps: RFC 6749 §5.2, GitHub, Slack
DEAD_GRANTS = {"invalid_grant", "bad_refresh_token", "invalid_refresh_token", "token_revoked"}
_FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
_SCOPES = re.compile(r"[ ,]+")


@dataclass(frozen=True)
class Tokens:
    """What a token endpoint gave. `expires` is None when it named no end."""

    access_token: str
    refresh_token: str = ""
    id_token: str = ""
    scopes: tuple[str, ...] = ()
    expires: datetime | None = None
    account: str = ""


def new_secret(random: Callable[[int], bytes]) -> str:
    """43 url-safe characters of 256 random bits: a state, a nonce, or a code verifier (RFC 7636 §4.1)."""
    return base64.urlsafe_b64encode(random(SECRET_BYTES)).rstrip(b"=").decode()


def challenge(verifier: str) -> str:
    """The S256 code challenge of a verifier (RFC 7636 §4.2)."""
    return str(create_s256_code_challenge(verifier))


def authorization_url(
    provider: Provider, *, redirect_uri: str, scopes: Sequence[str], state: str, verifier: str, nonce: str
) -> str:
    """Where the browser has to go (RFC 6749 §4.1.1 with RFC 7636 §4.3); the nonce goes along when an ID token is asked for."""
    parameters = {
        **provider.parameters,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
        "nonce": nonce if "openid" in scopes else None,
    }
    scope = provider.scope_separator.join(scopes)
    return str(
        prepare_grant_uri(
            provider.authorization_endpoint, provider.client_id, "code", redirect_uri, scope=scope, state=state, **parameters
        )
    )


def issuer_fits(provider: Provider, iss: str) -> bool:
    """Whether the answer comes from the provider that was asked (RFC 9207 §2.4): `iss` is its issuer, and there if it sends one."""
    if not iss:
        return not provider.sends_iss
    return not provider.issuer or iss == provider.issuer


def exchange(provider: Provider, *, code: str, redirect_uri: str, verifier: str) -> Call:
    """Asks for tokens for a code (RFC 6749 §4.1.3)."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier}
    return _authenticated(provider, provider.token_endpoint, form)


def refresh(provider: Provider, refresh_token: str) -> Call:
    """Asks for a new access token (RFC 6749 §6)."""
    return _authenticated(provider, provider.token_endpoint, {"grant_type": "refresh_token", "refresh_token": refresh_token})


def revocations(provider: Provider, tokens: Tokens) -> list[Call]:
    """The calls that kill the tokens, in order; none when the provider offers no revocation."""
    if provider.revocation == "none" or not provider.revocation_endpoint:
        return []
    if provider.revocation == "github":
        return [_revoke_github(provider, tokens.access_token)]
    if provider.revocation == "slack":
        return [Call("POST", provider.revocation_endpoint, _bearer(tokens.access_token))]
    both = {"refresh_token": tokens.refresh_token, "access_token": tokens.access_token}
    return [
        _authenticated(provider, provider.revocation_endpoint, {"token": token, "token_type_hint": hint})
        for hint, token in both.items()
        if token
    ]


def _revoke_github(provider: Provider, access_token: str) -> Call:
    """GitHub's own: DELETE /applications/{client_id}/grant ends every token of this app for this user."""
    basic = base64.b64encode(f"{provider.client_id}:{provider.client_secret}".encode()).decode()
    headers = {"authorization": f"Basic {basic}", "accept": "application/vnd.github+json", "content-type": "application/json"}
    url = f"{provider.revocation_endpoint}/{quote(provider.client_id, safe='')}/grant"
    return Call("DELETE", url, headers, json.dumps({"access_token": access_token}).encode())


def check_revoked(provider: Provider, answer: Answer, now: datetime) -> None:
    """Refused or Limited unless the token is dead now; one that was dead before counts as well (RFC 7009 §2.2)."""
    if provider.revocation == "slack":
        if limit := limit_in(answer, now):
            raise limit
        body = answer.object()
        if body.get("ok") is not True and body.get("error") not in DEAD_GRANTS | {"invalid_auth", "token_expired"}:
            raise Refused(answer.status, clean(body.get("error", "unknown")), "")
        return
    gone = answer.status == NOT_FOUND and provider.revocation == "github"
    if answer.status in (OK, NO_CONTENT) or gone:
        return
    failure = _failure(answer, now)
    # Google's word for a token that is dead already, as its access token is once the refresh token was revoked
    if not (isinstance(failure, Refused) and failure.status == BAD_REQUEST and failure.code == "invalid_token"):
        raise failure


def account(provider: Provider, access_token: str) -> Call:
    """Asks whose token it is."""
    return Call("GET", provider.account_endpoint, _bearer(access_token))


def read_account(provider: Provider, answer: Answer, now: datetime) -> str:
    """The account's name; Refused when the token is not taken, Limited when it was asked too often."""
    if answer.status != OK:
        raise _failure(answer, now)
    body = answer.object()
    if body.get("ok") is False:
        raise Refused(answer.status, clean(body.get("error", "unknown")), "")
    return account_in(provider, body)


def account_in(provider: Provider, fields: Mapping[str, Any]) -> str:
    """The account's name in an answer or in the claims of an ID token."""
    return clean(fields.get(provider.account_field) or fields.get("sub"))


def of_account(tokens: Tokens, account: str) -> Tokens:
    """The tokens with the name of their account."""
    return replace(tokens, account=account)


def read_tokens(answer: Answer, asked: Sequence[str], now: datetime) -> Tokens:
    """What a token endpoint answered (RFC 6749 §5); Refused for its errors, also those with status 200 (GitHub, Slack)."""
    if answer.status >= BAD_REQUEST:
        raise _failure(answer, now)
    body = answer.object()
    if "error" in body or body.get("ok") is False:
        raise _failure(answer, now)
    token = body.get("access_token")
    if not isinstance(token, str) or not token:
        raise Garbled("an answer without access_token")
    return Tokens(
        access_token=token,
        refresh_token=_text(body.get("refresh_token")),
        id_token=_text(body.get("id_token")),
        scopes=tuple(clean(scope) for scope in _SCOPES.split(_text(body.get("scope"))) if scope) or tuple(asked),
        expires=_expiry(body.get("expires_in"), now),
        account=_team(body.get("team")),
    )


def refreshed(old: Tokens, new: Tokens) -> Tokens:
    """The tokens after a refresh: what the answer omits stays as it was (RFC 6749 §6), above all the refresh token."""
    return replace(
        new,
        refresh_token=new.refresh_token or old.refresh_token,
        scopes=new.scopes or old.scopes,
        account=new.account or old.account,
    )


def needs_refresh(expires: datetime | None, now: datetime, skew: timedelta) -> bool:
    """Whether the access token has ended, or will before a call with it arrives."""
    return expires is not None and now + skew >= expires


def _authenticated(provider: Provider, url: str, form: dict[str, str]) -> Call:
    method = provider.client_auth or ("client_secret_basic" if provider.client_secret else "none")
    encode = _form_encoded if method == "client_secret_basic" else str
    auth = ClientAuth(encode(provider.client_id), encode(provider.client_secret), method)
    url, headers, body = auth.prepare("POST", url, dict(_FORM), urlencode(form))
    return Call("POST", url, headers, body.encode())


def _form_encoded(text: str) -> str:
    """RFC 6749 §2.3.1: id and secret are form-encoded before they go into Basic."""
    return quote(text, safe="")


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "accept": "application/json"}


def _failure(answer: Answer, now: datetime) -> RemoteError:
    """What an answer that is no success means: worth another try, a wait, or a no with the provider's own word for why."""
    if limit := limit_in(answer, now):
        return limit
    if answer.status >= SERVER_ERROR:
        return Unreachable(f"status {answer.status}")
    try:
        body: dict[str, Any] = answer.object()
    except Garbled:
        body = {}
    code = body.get("error", body.get("message", f"status {answer.status}"))
    return Refused(answer.status, clean(code), clean(body.get("error_description", "")))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _team(value: Any) -> str:
    return clean(value.get("name", "")) if isinstance(value, dict) else ""


def _expiry(seconds: Any, now: datetime) -> datetime | None:
    """The end of a token from `expires_in`; some providers write the number as text, and 0 or nothing means that it has no end."""
    try:
        life = float(seconds)
    except (TypeError, ValueError):
        return None
    if not 0 < life < float("inf"):
        return None
    return now + timedelta(seconds=min(life, LONGEST_LIFE.total_seconds()))
