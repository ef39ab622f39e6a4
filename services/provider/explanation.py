"""Why a model was chosen, packed small: every model with the parts of its score or the reason it is out, for who asks later."""

import zlib
from collections.abc import Sequence

from msgspec import Struct
from msgspec.json import decode, encode

from services.provider.options import Exclusion, Option, Parts, Ranked
from services.provider.strategies import Weights

_LEVEL = 1
# what is shorter is kept as it is: a compressor touches a quarter of a megabyte for whatever it is given
_COMPRESSED_FROM = 4096
_JSON_BEGINS = b"["


class Explanation(Struct, frozen=True):
    """Every model as it was weighed: those that were in by rank, then those that were out."""

    ranked: Sequence[Ranked]
    weights: Weights
    reason: str
    policy_id: str
    cost_factor: float


def to_bytes(explanation: Explanation) -> bytes:
    """Small and quick to make, because every selection makes one."""
    told = explanation
    rows = [_row(ranked) for ranked in told.ranked]
    by = told.weights
    weights = by.cost, by.quality, by.speed, by.uptime
    text = encode([rows, weights, told.reason, told.policy_id, told.cost_factor])
    return text if len(text) < _COMPRESSED_FROM else zlib.compress(text, _LEVEL)


def _row(ranked: Ranked) -> list[object]:
    option, parts = ranked.option, ranked.parts
    return [
        *(option.provider_id, option.model, option.cost, option.in_flight),
        *(option.quality, option.deviation, option.evidence, option.cached_tokens),
        *(ranked.score, ranked.exclusion, ranked.detail),
        None if parts is None else (parts.cost, parts.quality, parts.speed, parts.uptime),
    ]


def from_bytes(data: bytes) -> Explanation:
    """The explanation of to_bytes(); of an option only what explains the choice."""
    rows, weights, reason, policy_id, cost_factor = decode(data if data.startswith(_JSON_BEGINS) else zlib.decompress(data))
    return Explanation([_ranked(*row) for row in rows], Weights(*weights), reason, policy_id, cost_factor)


def _ranked(
    provider_id: str,
    model: str,
    cost: int | None,
    in_flight: int,
    quality: float,
    deviation: float,
    evidence: float,
    cached_tokens: int,
    score: float,
    exclusion: int | None,
    detail: str,
    parts: list[float] | None,
) -> Ranked:
    option = Option(
        provider_id,
        model,
        cost,
        context_window=0,
        quality=quality,
        tokens_per_second=0.0,
        uptime=0.0,
        in_flight=in_flight,
        deviation=deviation,
        evidence=evidence,
        cached_tokens=cached_tokens,
    )
    return Ranked(option, score, Parts(*parts) if parts else None, Exclusion(exclusion) if exclusion else None, detail)
