"""What a caller of a compatible door says beside the body: labels, session, and a key that names it without being kept."""

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping

from services.provider import labels as rules
from services.provider.dialects.asked import Unreadable

LABELS, SESSION = "x-tooloo-labels", "x-tooloo-session"
# what of a request did not go along to who answered it
DROPPED = "x-tooloo-dropped"
POLICY, CHAIN = "x-tooloo-policy", "x-tooloo-fallback-chain"
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_KEY = "key"
# these say who answers and who asks, which the caller does not
_OURS = (rules.PROVIDER, rules.MODEL, _KEY)
_LONGEST_SESSION = 128


def headers_of(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """Headers by name. Labels may stand in several lines, as any list in HTTP may (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for name, value in metadata:
        if isinstance(value, str):
            found[name] = f"{found[name]},{value}" if name == LABELS and name in found else value
    return found


def labels_of(headers: Mapping[str, str], user: str, *, most: int, longest: int) -> dict[str, str]:
    """The labels of a call: those of the header, the user of the body, and a fingerprint of the key; Unreadable for bad ones.

    `most` and `longest` are the limits of labels; the key is one of them.
    """
    caller_key = key_of(headers) if most else ""
    given: dict[str, str] = {}
    if said := headers.get(LABELS):
        try:
            given = rules.parse_filter(filter(None, (text.strip() for text in said.split(","))))
            rules.checked(given, most=most - bool(caller_key), longest=longest)
        except rules.LabelError as error:
            raise Unreadable(LABELS, str(error)) from error
    if ours := next((name for name in _OURS if name in given), ""):
        raise Unreadable(LABELS, f"{ours!r} is not for callers to say")
    if user:
        given.setdefault(rules.USER, user if rules.is_value(user, longest) else fingerprint(user))
    return given | ({_KEY: fingerprint(caller_key)} if caller_key else {})


def session_of(headers: Mapping[str, str]) -> str:
    """The session; Unreadable for one that is too long."""
    session = headers.get(SESSION, "")
    if len(session) > _LONGEST_SESSION:
        raise Unreadable(SESSION, f"at most {_LONGEST_SESSION} characters")
    return session


def named(headers: Mapping[str, str], header: str) -> str:
    """The policy or chain that a header names; Unreadable for what cannot be a name."""
    name = headers.get(header, "")
    if name and not _ID.fullmatch(name):
        raise Unreadable(header, f"{name[:40]!r} cannot be a name: write a-z, 0-9, _ and -")
    return name


def key_of(headers: Mapping[str, str]) -> str:
    """The key that the official clients send; "" without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return headers.get("x-api-key", "") or (token.strip() if scheme.lower() == "bearer" else "")


def fingerprint(secret: str) -> str:
    """16 hexadecimal digits that name a secret without telling it."""
    return hashlib.sha256(b"tooloo caller\0" + secret.encode()).hexdigest()[:16]


def request_id_of(headers: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """A uuid made of the idempotency key and the caller's: two callers who choose the same key do not get each other's answers."""
    given = headers.get("idempotency-key", "")
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"tooloo:{labels.get('key', '')}:{given}")) if given else ""
