"""ID tokens: signature and claims as OpenID Connect Core 1.0 §3.1.3.7 asks, so that the account named in one can be believed."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet
from joserfc.jws import JWSRegistry

# no "none" and no HMAC: the key set holds public keys only
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
LEEWAY_SECONDS = 60
# RFC 7515 §4: parameters of a header that are not understood are passed over, but for those that it calls critical
_REGISTRY = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)


class IdTokenError(ValueError):
    """An ID token that must not be believed."""


def verify(token: str, keys: Mapping[str, Any], *, issuer: str, client_id: str, nonce: str, now: datetime) -> dict[str, Any]:
    """The claims of a good token, by a JWK set (RFC 7517); IdTokenError for a bad signature, issuer, audience, nonce or time."""
    try:
        decoded = jwt.decode(token, KeySet(_usable(keys)), registry=_REGISTRY)
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


def _usable(keys: Mapping[str, Any]) -> list[Key]:
    """The keys of a set that can be used here. RFC 7517 §5: others, of curves to come or with members missing, are passed over."""
    found = []
    for each in keys["keys"]:
        with suppress(JoseError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
            found.append(JWKRegistry.import_key(each))
    return found
