"""The one table from what other systems did to the refusal that our caller gets."""

from datetime import timedelta

from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors
from mesh.errors import Refusal
from services.integration.exchange import Limited, Refused, RemoteError

_SOON = timedelta(seconds=2)


def of(remote: str, error: RemoteError) -> Refusal:
    """RESOURCE_EXHAUSTED when it asks to wait, FAILED_PRECONDITION when it said no, UNAVAILABLE when it gave no usable answer."""
    if isinstance(error, Limited):
        return limited(remote, error.wait)
    if isinstance(error, Refused):
        return errors.failed_precondition(
            remote,
            f"{remote} refused: {error}",
            reason=ErrorReason.ERROR_REASON_REMOTE_REFUSED,
            remote=remote,
            status=str(error.status),
            error=error.code,
        )
    return errors.unavailable(remote, retry_after=_SOON, detail=str(error))


def limited(remote: str, wait: timedelta) -> Refusal:
    """RESOURCE_EXHAUSTED with the time that the other system asks for."""
    return errors.exhausted(
        remote,
        f"{remote} asks to wait {wait.total_seconds():.0f} s",
        reason=ErrorReason.ERROR_REASON_REMOTE_RATE_LIMITED,
        retry_after=wait,
        remote=remote,
    )


def not_configured(remote: str, settings: list[str]) -> Refusal:
    """FAILED_PRECONDITION that names the settings to fill in."""
    names = ", ".join(settings)
    return errors.failed_precondition(
        remote,
        f"{remote} is not configured; set {names}",
        reason=ErrorReason.ERROR_REASON_PROVIDER_NOT_CONFIGURED,
        remote=remote,
        settings=names,
    )


def lapsed(user_id: str, provider: str) -> Refusal:
    """FAILED_PRECONDITION for a connection that only the user can bring back."""
    return errors.failed_precondition(
        f"users/{user_id}/connections/{provider}",
        f"{provider} no longer takes the tokens of {user_id}; connect again with POST /api/v1/oauth/authorize",
    )


def invalid_state(why: str) -> Refusal:
    """FAILED_PRECONDITION for an authorization that cannot be completed."""
    return errors.failed_precondition(
        "state",
        f"{why}; begin again with POST /api/v1/oauth/authorize",
        reason=ErrorReason.ERROR_REASON_INVALID_OAUTH_STATE,
    )
