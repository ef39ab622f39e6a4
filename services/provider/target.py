"""Where a call goes: one model of one provider under one key, and how that provider wants to be spoken to."""

from collections.abc import Mapping
from datetime import timedelta

from msgspec import Struct, field

from services.provider.texts import ANY, Batch


class Timeouts(Struct, frozen=True):
    """How long a provider may take: to accept a connection, until the first byte of its answer, between bytes, and altogether."""

    connect: timedelta = timedelta(seconds=5)
    first_byte: timedelta = timedelta(seconds=120)
    idle: timedelta = timedelta(seconds=60)
    total: timedelta = timedelta(minutes=10)


class Manner(Struct, frozen=True):
    """How a provider differs from the plain dialect.

    `path` replaces the dialect's own; `auth_header` names a header that takes the bare key ("api-key" on Azure); `api_version`
    goes into the query (OpenAI dialect) or the version header (Anthropic); `rename` gives other names to fields of the body, and
    `drop` leaves fields out that the provider would refuse; `send_reasoning` gives a model its earlier thoughts back; `cache_marks`
    says that it takes marks of what to cache, which the OpenAI dialect itself has not; `batch` is what it takes in one call for
    vectors, where that is not what its dialect says.
    """

    path: str = ""
    auth_header: str = ""
    api_version: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    send_reasoning: bool = False
    cache_marks: bool = False
    batch: Batch = ANY


class Target(Struct, frozen=True):
    """What a call needs to know. `model` is the name that the provider knows it by; the key never shows in a repr."""

    provider_id: str
    model: str
    dialect: str
    base_url: str = ""
    key: str = ""
    key_id: str = ""
    manner: Manner = field(default_factory=Manner)
    timeouts: Timeouts = field(default_factory=Timeouts)

    def __repr__(self) -> str:
        """Without the key."""
        return f"Target({self.provider_id!r}, {self.model!r}, {self.dialect!r}, {self.base_url!r}, key_id={self.key_id!r})"
