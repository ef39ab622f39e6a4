"""ID tokens: signature and claims as OpenID Connect Core 1.0 §3.1.3.7 asks, so that the account named in one can be believed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, KeySetSerialization

# no "none" and no HMAC: the key set holds public keys only
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
LEEWAY_SECONDS = 60


class IdTokenError(ValueError):
    """An ID token that must not be believed."""


def verify(token: str, keys: Mapping[str, Any], *, issuer: str, client_id: str, nonce: str, now: datetime) -> dict[str, Any]:
    """The claims of a good token, by a JWK set (RFC 7517); IdTokenError for a bad signature, issuer, audience, nonce or time."""
    try:
        key_set = KeySet.import_key_set(cast(KeySetSerialization, keys))
        decoded = jwt.decode(token, key_set, algorithms=ALGORITHMS)
        registry = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": client_id},
            sub={"essential": True},
            exp={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        registry.validate(decoded.claims)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise IdTokenError(f"{type(error).__name__}: {error}") from error
    claims = dict(decoded.claims)
    if claims.get("azp", client_id) != client_id:
        raise IdTokenError("it was issued to another client")
    return claims
