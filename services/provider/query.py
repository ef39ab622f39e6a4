"""Queries: one conversation given to providers, what was tried for it, and what it used and cost."""

import enum
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from services.provider.chat import NONE_USED, Usage
from services.provider.failure import FailureKind
from services.provider.labels import Labels
from services.provider.windows import EPOCH


class State(enum.IntEnum):
    """How a query stands; the numbers are those of the contract."""

    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    EXPIRED = 4


class Tried(Struct, frozen=True):
    """One attempt: at which model, with which key, and how it ended (kind None: it answered)."""

    provider_id: str
    model: str
    key_id: str = ""
    kind: FailureKind | None = None
    detail: str = ""
    latency: timedelta = timedelta()


class Came(Struct, frozen=True):
    """What had come of an answer at some time, and what that costs in nano units (None: nobody knows)."""

    usage: Usage
    cost: int | None


class Query(Struct, frozen=True):
    """A query as it stands; `cost` in nano units, `usage_estimated` when the provider told no usage.

    `reservation_id` is what is set aside for the model that is asked now.
    `request_id` is the caller's idempotency key, `request_hash` says of what; `answer` is kept only for such a caller.
    """

    query_id: str
    created: datetime
    labels: Labels
    provider_id: str
    model: str
    reservation_id: str
    focus_area: str = ""
    state: State = State.RUNNING
    ended: datetime | None = None
    usage: Usage = NONE_USED
    usage_estimated: bool = False
    cost: int = 0
    tried: Sequence[Tried] = ()
    request_id: str = ""
    request_hash: bytes = b""
    answer: bytes = b""
    # until then it counts as on its way
    until: datetime = EPOCH
    # the process that runs it (mesh/owner.py)
    owner: str = ""

    @property
    def model_key(self) -> tuple[str, str]:
        """The model that is asked now, by provider and name."""
        return self.provider_id, self.model
