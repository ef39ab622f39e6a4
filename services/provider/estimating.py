"""What a call will give in output tokens, learned from the calls before: enough for most of them, not the worst case.

Output lengths are skewed to the right, so what is learned is mean and variance of their logarithm, exponentially weighted
(T. Finch, "Incremental calculation of weighted mean and variance", 2009). The estimate is exp(mean + z * deviation) with a z that
is steered so that the wished share of calls stays within the estimate, whatever their distribution: after each call z falls a
little, or rises by more when the call went over (quantile tracking; Gibbs & Candes, "Adaptive conformal inference under
distribution shift", NeurIPS 2021). Few calls are blended with a prior, those of a user with those of everybody (shrinkage).
"""

import math
from statistics import NormalDist

from msgspec import Struct

from services.provider.sizes import CHARACTERS_PER_TOKEN

_LARGEST = 100_000_000
_BOUND = 8.0
_PRIOR_DEVIATION = 0.7
# what any script gives; beyond it a provider counts something else than what it shows
_LEAST_CHARACTERS, _MOST_CHARACTERS = 0.1, 20.0


class Tuning(Struct, frozen=True):
    """How it learns: share of calls to cover, weight of the newest call, calls that a prior counts as, tokens without knowledge."""

    quantile: float = 0.7
    weight: float = 0.02
    prior_calls: float = 10.0
    prior_tokens: int = 500
    step: float = 0.02

    @property
    def z(self) -> float:
        """Where z begins: right for a log-normal distribution."""
        return NormalDist().inv_cdf(self.quantile)


class Learned(Struct, frozen=True):
    """What was seen of a model, of all calls or of one user's: of log tokens the mean and variance, z, and how right it was.

    `characters_per_token` is that of answers that are shown, 0 while none was; what a model thinks unseen makes it small.
    """

    calls: int = 0
    mean: float = 0.0
    variance: float = 0.0
    z: float | None = None
    ratio: float = 1.0
    covered: float = 1.0
    characters_per_token: float = 0.0


def expected(everybody: Learned, user: Learned, tuning: Tuning) -> float:
    """Output tokens that the wished share of calls stays within."""
    prior = (math.log1p(tuning.prior_tokens), _PRIOR_DEVIATION**2)
    mean, variance = _blended(user, _blended(everybody, prior, tuning), tuning)
    z = everybody.z if everybody.z is not None else tuning.z
    return min(math.expm1(min(mean + z * math.sqrt(variance), math.log(_LARGEST))), _LARGEST)


def _blended(seen: Learned, prior: tuple[float, float], tuning: Tuning) -> tuple[float, float]:
    """Mean and variance with the prior counting as so many calls; how far both means lie apart is variance too."""
    share = seen.calls / (seen.calls + tuning.prior_calls)
    mean = share * seen.mean + (1 - share) * prior[0]
    apart = share * (1 - share) * (seen.mean - prior[0]) ** 2
    return mean, share * seen.variance + (1 - share) * prior[1] + apart


def output_tokens(everybody: Learned, user: Learned, tuning: Tuning, max_output_tokens: int = 0) -> int:
    """Output tokens to reserve: what is expected, at most what the call may give (0: not known)."""
    estimate = max(math.ceil(expected(everybody, user, tuning)), 1)
    return min(estimate, max_output_tokens) if max_output_tokens else estimate


def observe(seen: Learned, actual: int, estimate: int, tuning: Tuning, characters: int = 0) -> Learned:
    """What is known after a call gave `actual` output tokens of which `estimate` were reserved.

    `characters` are those in which they were shown; 0: not known.
    """
    value = math.log1p(actual)
    # the first calls count as their plain mean
    weight = max(tuning.weight, 1 / (seen.calls + 1))
    difference = value - seen.mean
    covered = actual <= estimate
    z = (seen.z if seen.z is not None else tuning.z) + tuning.step * (tuning.quantile - (1.0 if covered else 0.0))
    ratio = actual / max(estimate, 1)
    return Learned(
        calls=seen.calls + 1,
        mean=seen.mean + weight * difference,
        variance=(1 - weight) * (seen.variance + weight * difference**2),
        z=min(max(z, -_BOUND), _BOUND),
        ratio=ratio if seen.calls == 0 else seen.ratio + weight * (ratio - seen.ratio),
        covered=float(covered) if seen.calls == 0 else seen.covered + weight * (float(covered) - seen.covered),
        characters_per_token=_density(seen.characters_per_token, characters, actual, weight),
    )


def _density(seen: float, characters: int, output: int, weight: float) -> float:
    """Characters per token after one more answer; 0: not known."""
    if not characters or not output:
        return seen
    now = min(max(characters / output, _LEAST_CHARACTERS), _MOST_CHARACTERS)
    return seen + weight * (now - seen) if seen else now


def characters_per_token(everybody: Learned, tuning: Tuning) -> float:
    """By how many characters of an answer that is under way a token is counted."""
    if not everybody.characters_per_token:
        return CHARACTERS_PER_TOKEN
    share = everybody.calls / (everybody.calls + tuning.prior_calls)
    return share * everybody.characters_per_token + (1 - share) * CHARACTERS_PER_TOKEN


def typical(seen: Learned) -> float:
    """The geometric mean of what calls gave."""
    return math.expm1(seen.mean)
