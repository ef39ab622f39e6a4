"""OAuth without I/O: addresses and calls as the RFCs write them, answers of every kind read."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.integration import oauth
from services.integration.exchange import Answer, Garbled, Limited, Refused, RemoteError, Unreachable
from services.integration.oauth import Tokens
from services.integration.providers import Provider

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PROVIDER = Provider(
    name="p",
    client_id="id",
    client_secret="se:cr%t +",
    issuer="https://p.example",
    authorization_endpoint="https://p.example/auth?tenant=1",
    token_endpoint="https://p.example/token",
    revocation_endpoint="https://p.example/revoke",
    account_endpoint="https://p.example/me",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=10,
)


def answer(body: object, status: int = 200) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, {}, json.dumps(body).encode())


def form(body: bytes) -> dict[str, str]:
    """The fields of a form body."""
    return dict(parse_qsl(body.decode()))


def test_the_challenge_is_that_of_rfc_7636() -> None:
    """Appendix B of the RFC."""
    assert oauth.challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@given(random=st.binary(min_size=32, max_size=32))
def test_a_secret_is_a_valid_code_verifier(random: bytes) -> None:
    """43 unreserved characters (RFC 7636 §4.1), and no two random values give the same."""
    secret = oauth.new_secret(lambda _: random)
    assert len(secret) == 43
    assert base64.urlsafe_b64decode(secret + "=") == random


def test_the_authorization_address_holds_everything() -> None:
    """What the endpoint's own query holds stays; PKCE is S256; the nonce goes along with openid only."""
    url = oauth.authorization_url(
        PROVIDER, redirect_uri="https://c.example/cb", scopes=["openid", "a b"], state="s", verifier="v" * 43, nonce="n"
    )
    query = parse_qs(urlsplit(url).query)
    assert {name: values[0] for name, values in query.items()} == {
        "tenant": "1",
        "response_type": "code",
        "client_id": "id",
        "redirect_uri": "https://c.example/cb",
        "scope": "openid a b",
        "state": "s",
        "code_challenge": oauth.challenge("v" * 43),
        "code_challenge_method": "S256",
        "nonce": "n",
    }
    slack = replace(PROVIDER, scope_separator=",", parameters={"access_type": "offline"})
    url = oauth.authorization_url(slack, redirect_uri="x", scopes=["a", "b"], state="s", verifier="v" * 43, nonce="n")
    query = parse_qs(urlsplit(url).query)
    assert (query["scope"], query["access_type"], "nonce" in query) == (["a,b"], ["offline"], False)


def test_the_exchange_is_that_of_rfc_6749() -> None:
    """The form of §4.1.3 with the verifier; id and secret form-encoded inside Basic (§2.3.1)."""
    call = oauth.exchange(PROVIDER, code="c&d", redirect_uri="https://c.example/cb", verifier="v")
    assert form(call.body) == {
        "grant_type": "authorization_code",
        "code": "c&d",
        "redirect_uri": "https://c.example/cb",
        "code_verifier": "v",
    }
    basic = base64.b64decode(call.headers["Authorization"].removeprefix("Basic ")).decode()
    assert basic == "id:se%3Acr%25t%20%2B"
    posted = oauth.refresh(replace(PROVIDER, client_auth="client_secret_post"), "r")
    assert form(posted.body) == {
        "grant_type": "refresh_token",
        "refresh_token": "r",
        "client_id": "id",
        "client_secret": "se:cr%t +",
    }
    public = oauth.refresh(replace(PROVIDER, client_secret=""), "r")
    assert form(public.body)["client_id"] == "id"
    assert "Authorization" not in public.headers


@pytest.mark.parametrize(
    ("sends_iss", "issuer", "iss", "fits"),
    [
        (True, "https://p.example", "https://p.example", True),
        (True, "https://p.example", "https://p.example/", False),
        (True, "https://p.example", "", False),
        (False, "https://p.example", "", True),
        (False, "https://p.example", "https://evil.example", False),
        (False, "", "https://anything.example", True),
    ],
)
def test_the_issuer_is_compared_as_rfc_9207_says(sends_iss: bool, issuer: str, iss: str, fits: bool) -> None:
    """Simple string comparison; a provider that sends it always sends it."""
    assert oauth.issuer_fits(replace(PROVIDER, sends_iss=sends_iss, issuer=issuer), iss) is fits


def test_tokens_are_read() -> None:
    """The example of RFC 6749 §5.1, with what others make of it."""
    body = {"access_token": "a", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "r", "scope": "x,y z"}
    tokens = oauth.read_tokens(answer(body), ["asked"], NOW)
    assert tokens == Tokens("a", "r", "", ("x", "y", "z"), NOW + timedelta(hours=1))
    assert oauth.read_tokens(answer({"access_token": "a"}), ["asked"], NOW) == Tokens("a", scopes=("asked",))
    text = oauth.read_tokens(answer({"access_token": "a", "expires_in": "60"}), [], NOW)
    assert text.expires == NOW + timedelta(minutes=1)
    slack = oauth.read_tokens(answer({"ok": True, "access_token": "xoxb", "team": {"name": "T"}, "scope": "chat:write"}), [], NOW)
    assert (slack.account, slack.scopes) == ("T", ("chat:write",))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"error": "invalid_grant", "error_description": "used"}, 400, "invalid_grant"),
        ({"error": "bad_verification_code"}, 200, "bad_verification_code"),
        ({"ok": False, "error": "invalid_code"}, 200, "invalid_code"),
        ({"message": "Not Found"}, 404, "Not Found"),
    ],
)
def test_errors_are_read_whatever_their_status(body: dict[str, object], status: int, code: str) -> None:
    """GitHub and Slack send errors with status 200."""
    with pytest.raises(Refused) as caught:
        oauth.read_tokens(answer(body, status), [], NOW)
    assert (caught.value.code, caught.value.status) == (code, status)


@given(body=JSON, status=st.integers(200, 599))
def test_no_answer_breaks_the_reading(body: object, status: int) -> None:
    """Whatever JSON comes with whatever status: tokens, or a RemoteError that the caller can be told of."""
    try:
        tokens = oauth.read_tokens(answer(body, status), ["asked"], NOW)
    except RemoteError:
        return
    assert tokens.access_token
    assert tokens.expires is None or tokens.expires > NOW


@pytest.mark.parametrize("seconds", [None, 0, -1, "soon", "nan", "inf", [], 1e400])
def test_an_end_that_is_none_is_no_end(seconds: object) -> None:
    """No number of seconds means that the token ends when the provider says so."""
    assert oauth.read_tokens(answer({"access_token": "a", "expires_in": seconds}), [], NOW).expires is None


@given(seconds=st.floats(min_value=0.001, max_value=1e300))
def test_an_end_is_never_beyond_what_a_date_can_hold(seconds: float) -> None:
    """A provider that writes milliseconds or worse breaks nothing."""
    tokens = oauth.read_tokens(answer({"access_token": "a", "expires_in": seconds}), [], NOW)
    assert tokens.expires is not None
    assert NOW < tokens.expires <= NOW + oauth.LONGEST_LIFE


TOKENS = st.builds(
    Tokens, access_token=st.text(min_size=1), refresh_token=st.text(), scopes=st.tuples(st.text()), account=st.text()
)


@given(old=TOKENS, new=TOKENS)
def test_a_refresh_forgets_nothing_that_the_answer_omits(old: Tokens, new: Tokens) -> None:
    """The refresh token stays when the answer has none (RFC 6749 §6); a new one takes its place."""
    kept = oauth.refreshed(old, new)
    assert kept.access_token == new.access_token
    assert kept.refresh_token == (new.refresh_token or old.refresh_token)
    assert kept.account == (new.account or old.account)


@given(left=st.floats(-1e6, 1e6), skew=st.floats(0, 1e4))
def test_a_token_is_refreshed_before_it_ends(left: float, skew: float) -> None:
    """Exactly when what is left is not more than the skew; a token without end never."""
    expires, before = NOW + timedelta(seconds=left), timedelta(seconds=skew)
    assert oauth.needs_refresh(expires, NOW, before) is (expires - NOW <= before)
    assert not oauth.needs_refresh(None, NOW, before)


def test_revocation_goes_each_providers_way() -> None:
    """RFC 7009 kills the refresh token first, then the access token; GitHub and Slack have calls of their own; some have none."""
    tokens = Tokens("a", "r")
    first, second = oauth.revocations(PROVIDER, tokens)
    assert form(first.body) == {"token": "r", "token_type_hint": "refresh_token"}
    assert form(second.body) == {"token": "a", "token_type_hint": "access_token"}
    assert len(oauth.revocations(PROVIDER, Tokens("a"))) == 1
    (github,) = oauth.revocations(replace(PROVIDER, revocation="github", client_id="a/b"), tokens)
    assert (github.method, github.url) == ("DELETE", "https://p.example/revoke/a%2Fb/grant")
    assert json.loads(github.body) == {"access_token": "a"}
    (slack,) = oauth.revocations(replace(PROVIDER, revocation="slack"), tokens)
    assert slack.headers["authorization"] == "Bearer a"
    assert oauth.revocations(replace(PROVIDER, revocation="none"), tokens) == []
    assert oauth.revocations(replace(PROVIDER, revocation_endpoint=""), tokens) == []


def test_what_counts_as_revoked() -> None:
    """A token that was dead before is dead now; anything else is a refusal."""
    github, slack = replace(PROVIDER, revocation="github"), replace(PROVIDER, revocation="slack")
    oauth.check_revoked(PROVIDER, Answer(200, {}, b""), NOW)
    oauth.check_revoked(PROVIDER, answer({"error": "invalid_token", "error_description": "Token expired or revoked"}, 400), NOW)
    oauth.check_revoked(github, Answer(204, {}, b""), NOW)
    oauth.check_revoked(github, answer({"message": "Not Found"}, 404), NOW)
    oauth.check_revoked(slack, answer({"ok": True, "revoked": True}), NOW)
    oauth.check_revoked(slack, answer({"ok": False, "error": "token_revoked"}), NOW)
    for provider, refused in (
        (PROVIDER, answer({"error": "invalid_client"}, 401)),
        (PROVIDER, answer({"error": "unsupported_token_type"}, 400)),
        (PROVIDER, answer({}, 404)),
        (slack, answer({"ok": False, "error": "fatal_error"})),
        (PROVIDER, Answer(503, {}, b"<html>")),
    ):
        with pytest.raises(RemoteError):
            oauth.check_revoked(provider, refused, NOW)


def test_the_account_is_read() -> None:
    """By the provider's own field, else by sub; a token that is not taken is a refusal."""
    github = replace(PROVIDER, account_field="login")
    assert oauth.read_account(github, answer({"login": "octocat", "sub": "1"}), NOW) == "octocat"
    assert oauth.read_account(PROVIDER, answer({"sub": 7}), NOW) == "7"
    for refused in (answer({"message": "Bad credentials"}, 401), answer({"ok": False, "error": "invalid_auth"})):
        with pytest.raises(Refused):
            oauth.read_account(PROVIDER, refused, NOW)
    with pytest.raises(Garbled):
        oauth.read_account(PROVIDER, answer([1]), NOW)


@pytest.mark.parametrize("status", [500, 503])
def test_a_failure_of_the_provider_is_no_refusal(status: int) -> None:
    """It is worth another try: no connection lapses and no token is forgotten because of it."""
    failed = answer({"error": "invalid_grant"}, status)
    for read in (
        lambda: oauth.read_tokens(failed, [], NOW),
        lambda: oauth.read_account(PROVIDER, failed, NOW),
        lambda: oauth.check_revoked(PROVIDER, failed, NOW),
    ):
        with pytest.raises(Unreachable):
            read()


@pytest.mark.parametrize("status", [403, 429])
def test_a_provider_may_ask_to_wait(status: int) -> None:
    """Any call of OAuth may be one too many; how long to wait is told, and no token counts as refused."""
    failed = Answer(status, {"retry-after": "77"}, b'{"message": "You have exceeded a secondary rate limit"}')
    for read in (
        lambda: oauth.read_tokens(failed, [], NOW),
        lambda: oauth.read_account(PROVIDER, failed, NOW),
        lambda: oauth.check_revoked(PROVIDER, failed, NOW),
        lambda: oauth.check_revoked(replace(PROVIDER, revocation="slack"), failed, NOW),
    ):
        with pytest.raises(Limited) as told:
            read()
        assert told.value.wait == timedelta(seconds=77)
