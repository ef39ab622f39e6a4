"""Named ways to choose: policies (strategy, weights, demands) and aliases that stand for models by weight."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.json import encode
from msgspec.structs import replace

from services.provider.constraints import NOTHING, Constraints
from services.provider.strategies import Strategy, Weights

_SETS = ("capabilities", "allowed", "forbidden", "regions")


class Share(Struct, frozen=True):
    """A model and its weight."""

    provider_id: str
    model: str
    weight: float

    @property
    def key(self) -> tuple[str, str]:
        """(provider, model)."""
        return self.provider_id, self.model


class Policy(Struct, frozen=True):
    """A named way to choose. None leaves to the settings what they decide."""

    policy_id: str
    display_name: str = ""
    strategy: Strategy = Strategy.BALANCED
    weights: Weights | None = None
    quality_weight: float | None = None
    constraints: Constraints = NOTHING
    # for the strategy WEIGHTED
    shares: tuple[Share, ...] = ()
    created: datetime | None = None
    updated: datetime | None = None

    def to_json(self) -> str:
        """As text for the store, without what has columns of its own."""
        return encode(replace(self, created=None, updated=None), order="deterministic").decode()


def policy_from_json(text: str, created: datetime, updated: datetime) -> Policy:
    """What `to_json` wrote."""
    table: dict[str, Any] = json.loads(text)
    demands: dict[str, Any] = {name: frozenset(value) if name in _SETS else value for name, value in table["constraints"].items()}
    return Policy(
        table["policy_id"],
        table["display_name"],
        Strategy(table["strategy"]),
        None if table["weights"] is None else Weights(**table["weights"]),
        table["quality_weight"],
        Constraints(**demands),
        tuple(Share(**share) for share in table["shares"]),
        created,
        updated,
    )


class Alias(Struct, frozen=True):
    """A name that stands for models: each caller gets one of them for good, shared out by weight."""

    alias: str
    targets: tuple[Share, ...]
    created: datetime
    updated: datetime

    @property
    def shares(self) -> Mapping[tuple[str, str], float]:
        """Weights by provider and model."""
        return {target.key: target.weight for target in self.targets}


def targets_to_json(targets: tuple[Share, ...]) -> str:
    """As text for the store."""
    return encode(targets).decode()


def targets_from_json(text: str) -> tuple[Share, ...]:
    """What `targets_to_json` wrote."""
    return tuple(Share(**target) for target in json.loads(text))
