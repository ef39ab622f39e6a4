"""Values of a page token's cursor, checked: a token may be forged."""

from collections.abc import Mapping

from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors

MAX_INT64 = 2**63 - 1


def number_in(cursor: Mapping[str, object], name: str, default: int) -> int:
    """A whole number that a database can hold; `default` on the first page. INVALID_ARGUMENT for anything else."""
    value = cursor.get(name, default)
    if not isinstance(value, int) or abs(value) > MAX_INT64:
        raise _forged()
    return value


def text_in(cursor: Mapping[str, object], name: str) -> str:
    """A text; "" on the first page. INVALID_ARGUMENT for anything else."""
    value = cursor.get(name, "")
    if not isinstance(value, str) or "\x00" in value or not _is_unicode(value):
        raise _forged()
    return value


def _is_unicode(text: str) -> bool:
    """False for half a surrogate pair, which JSON can spell but no database can hold."""
    return text == text.encode(errors="replace").decode()


def _forged() -> errors.Refusal:
    reason = ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN
    return errors.invalid("page_token", "this query did not give that token; start again without one", reason=reason)
