"""Options of a choice: what is known of each model at that moment, why one may be out, and how one was weighed."""

import enum

from msgspec import Struct
from propcache.api import cached_property

from services.provider.fallback import Target


class Exclusion(enum.IntEnum):
    """Why a model is out; the numbers are those of the contract."""

    NOT_CONFIGURED = 1
    UNAVAILABLE = 2
    DISABLED = 3
    CONTEXT_WINDOW = 4
    UNKNOWN_PRICE = 5
    BUDGET_SPENT = 6
    NOT_ALLOWED = 7
    CAPABILITY = 8
    REGION = 9
    DATA_POLICY = 10
    TOO_EXPENSIVE = 11
    LOW_QUALITY = 12
    NOT_A_TARGET = 13


class Option(Struct, frozen=True, dict=True):
    """What is known of a model at the moment of the choice.

    `cost` is the request's estimate in nano units (None: unknown); `pressure` is how many times dearer budgets make it look;
    `excluded` is a reason found by whoever knows keys, addresses, budgets and health. `quality` is the expected one; `draw` is what
    a learner that explores takes it for this time (None: what is expected). `cached_tokens` of the input are in its provider's
    cache.
    """

    provider_id: str
    model: str
    cost: int | None
    context_window: int
    quality: float
    tokens_per_second: float
    uptime: float
    pressure: float = 1.0
    free: bool = False
    excluded: tuple[Exclusion, str] | None = None
    capabilities: tuple[str, ...] = ()
    region: str = ""
    data_policy: str = ""
    in_flight: int = 0
    draw: float | None = None
    deviation: float = 0.0
    evidence: float = 0.0
    cached_tokens: int = 0

    @cached_property
    def key(self) -> Target:
        """(provider, model)."""
        return Target(self.provider_id, self.model)


class Parts(Struct, frozen=True):
    """The parts of a score, each 0..1 and higher is better."""

    cost: float
    quality: float
    speed: float
    uptime: float


class Ranked(Struct, frozen=True):
    """An option with its score and parts, or with the reason it is out (then the score is 0 and there are no parts)."""

    option: Option
    score: float = 0.0
    parts: Parts | None = None
    exclusion: Exclusion | None = None
    detail: str = ""
