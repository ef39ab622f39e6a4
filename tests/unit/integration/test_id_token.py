"""ID tokens: a good one is believed, and each single fault of OpenID Connect Core §3.1.3.7 is found."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey
from joserfc.jws import JWSRegistry

from services.integration import id_token
from services.integration.id_token import IdTokenError

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
KEY = RSAKey.generate_key(2048, {"kid": "one"})
OTHER = RSAKey.generate_key(2048, {"kid": "one"})
PUBLIC: dict[str, Any] = dict(KeySet([KEY]).as_dict(private=False))
CLAIMS = {"iss": "https://p.example", "aud": "client", "sub": "ada", "exp": SECONDS + 60, "iat": SECONDS, "nonce": "n"}


def signed(claims: dict[str, Any], key: RSAKey = KEY, algorithm: str = "RS256") -> str:
    """A token with these claims."""
    return jwt.encode({"alg": algorithm, "kid": "one"}, claims, key)


def verify(token: str, keys: dict[str, Any] = PUBLIC) -> dict[str, Any]:
    """Verifies as the client of the claims above."""
    return id_token.verify(token, keys, issuer="https://p.example", client_id="client", nonce="n", now=NOW)


def test_a_good_token_is_believed() -> None:
    """Also with several audiences, and with ours as the authorized party."""
    assert verify(signed(CLAIMS))["sub"] == "ada"
    assert verify(signed(CLAIMS | {"aud": ["client", "other"], "azp": "client"}))["sub"] == "ada"


def test_an_elliptic_key_is_taken() -> None:
    """Providers sign with ES256 as well."""
    key = ECKey.generate_key("P-256", {"kid": "one"})
    token = jwt.encode({"alg": "ES256", "kid": "one"}, CLAIMS, key)
    assert verify(token, dict(KeySet([key]).as_dict(private=False)))["sub"] == "ada"


@pytest.mark.parametrize(
    "other",
    [
        {"kty": "EC", "kid": "two", "crv": "P-999", "x": "AA", "y": "AA"},
        {"kty": "AKP", "kid": "two", "alg": "ML-DSA-44", "pub": "AAAA"},
        {"kty": "RSA", "kid": "two", "e": "AQAB"},
        {"kty": "RSA", "kid": "two", "n": "AQAB", "e": "AQAB"},
        {"kty": "EC", "kid": "two", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kid": "two"},
        "two",
    ],
)
def test_keys_of_other_kinds_stand_beside(other: object) -> None:
    """RFC 7517 §5: a key that is not understood is passed over; a provider may add one for others before it signs with it."""
    assert verify(signed(CLAIMS), {"keys": [other, *PUBLIC["keys"]]})["sub"] == "ada"
    with pytest.raises(IdTokenError):
        verify(signed(CLAIMS), {"keys": [other]})


def test_a_header_may_say_more() -> None:
    """RFC 7515 §4: what is not understood is passed over, unless it is said to be critical."""

    def told(**more: object) -> str:
        header = {"alg": "RS256", "kid": "one", "typ": "JWT", **more}
        return jwt.encode(header, CLAIMS, KEY, registry=JWSRegistry(strict_check_header=False))

    assert verify(told(tenantKey="t", x5t="eA"))["sub"] == "ada"
    signing = b".".join(map(_encoded, ({"alg": "RS256", "kid": "one", "later": 1, "crit": ["later"]}, CLAIMS)))
    key = load_pem_private_key(KEY.as_pem(private=True), None)
    assert isinstance(key, RSAPrivateKey)
    signed_anyway = key.sign(signing, PKCS1v15(), SHA256())
    with pytest.raises(IdTokenError, match="later"):
        verify((signing + b"." + base64.urlsafe_b64encode(signed_anyway).rstrip(b"=")).decode())


def _encoded(part: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example"},
        {"aud": "other"},
        {"aud": ["other"]},
        {"azp": "other"},
        {"nonce": "other"},
        {"exp": SECONDS - 61},
        {"iat": SECONDS + 61},
        {"nbf": SECONDS + 61},
        {"sub": None},
    ],
)
def test_one_wrong_claim_is_enough(change: dict[str, Any]) -> None:
    """Issuer, audience, party, nonce and time, each on its own."""
    with pytest.raises(IdTokenError):
        verify(signed(CLAIMS | change))


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "exp", "nonce"])
def test_no_claim_may_be_missing(name: str) -> None:
    """What is not said is not believed."""
    with pytest.raises(IdTokenError):
        verify(signed({key: value for key, value in CLAIMS.items() if key != name}))


def test_a_foreign_signature_is_found() -> None:
    """Another key, a changed body, no algorithm, and the public key as a secret (the classic confusion)."""
    header, body, signature = signed(CLAIMS).split(".")
    forged = base64.urlsafe_b64encode(json.dumps(CLAIMS | {"sub": "eve"}).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"one"}').rstrip(b"=").decode()
    secret = OctKey.import_key(json.dumps(PUBLIC).encode())
    confused = jwt.encode({"alg": "HS256", "kid": "one"}, CLAIMS, secret)
    for token in (signed(CLAIMS, OTHER), f"{header}.{forged}.{signature}", f"{none}.{body}.", confused, "", "a.b.c", "ü"):
        with pytest.raises(IdTokenError):
            verify(token)


@pytest.mark.parametrize("keys", [{}, {"keys": []}, {"keys": "x"}, {"keys": [{"kty": "RSA"}]}, {"keys": [7]}])
def test_a_key_set_that_is_none_is_no_crash(keys: dict[str, Any]) -> None:
    """The provider's keys are foreign data too."""
    with pytest.raises(IdTokenError):
        verify(signed(CLAIMS), keys)
