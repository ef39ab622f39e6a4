"""Page tokens: opaque to callers, bound to the query that made them."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping

from google.protobuf.message import Message
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors

DEFAULT_SIZE = 100


def fingerprint(request: Message) -> str:
    """A short hash of the query without its page fields: a token of one query does not fit another."""
    query = type(request)()
    query.CopyFrom(request)
    for field in ("page_token", "page_size"):
        query.ClearField(field)
    return hashlib.sha256(query.SerializeToString(deterministic=True)).hexdigest()[:12]


def encode_token(cursor: Mapping[str, object], query: str = "") -> str:
    """The token for the page after `cursor`, e.g. {"name": "last one of this page"}."""
    # as it is, not escaped: a token of the longest path must still fit into the field that takes it
    raw = json.dumps([query, dict(cursor)], separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_token(token: str, query: str = "") -> dict[str, object]:
    """The cursor of a token, {} for the first page; INVALID_ARGUMENT for a token this query did not give."""
    if not token:
        return {}
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        made_for, cursor = json.loads(raw)
        # JSON can spell half of a surrogate pair, which no database takes
        json.dumps(cursor, ensure_ascii=False).encode()
    except (ValueError, TypeError, binascii.Error, RecursionError):
        made_for, cursor = None, None
    if made_for != query or not isinstance(cursor, dict):
        raise errors.invalid(
            "page_token",
            "this query did not give that token; start again without one",
            reason=ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN,
        )
    return cursor


def text_of(cursor: Mapping[str, object], name: str) -> str:
    """A text of a cursor, "" when it is not there; INVALID_ARGUMENT when it is no text, for somebody may have made the token up."""
    value = cursor.get(name, "")
    if not isinstance(value, str):
        raise errors.invalid("page_token", "this query did not give that token", reason=ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN)
    return value


def whole_of(cursor: Mapping[str, object], name: str) -> int:
    """A whole number of a cursor, 0 when it is not there; INVALID_ARGUMENT when it is none, or one that no store holds."""
    value = cursor.get(name, 0)
    if not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise errors.invalid("page_token", "this query did not give that token", reason=ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN)
    return value


def size_of(requested: int) -> int:
    """The page size to use: the default for 0."""
    return requested or DEFAULT_SIZE
