"""Expected quality of each model for a prompt, from the outcomes seen here, with the registry's figures as priors.

Three parts are added up for each model:

1. its mean over all outcomes, moved from its prior (mean of a Beta posterior, as in quality.py);
2. a linear part: ridge regression of what is left on the embedding, the text's shape and its hashed words;
3. a local part: the mean of what is left over similar prompts, weighted by exp((similarity - 1) / bandwidth)
   (Nadaraya 1964, Watson 1964), drawn to 0 where nothing similar was seen; similar in meaning (embedding) and in shape.

What all models share on a prompt (it is hard for every one) is fitted first on all outcomes together, so that a model that happened
to get the hard prompts does not look bad (multi-task regression, Evgeniou & Pontil 2004). One scale for parts 2 and 3
comes from outcomes that they were not fitted on (stacking, Wolpert 1992). Nothing is random: same outcomes, same figures.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from services.provider import sparse
from services.provider.features import WORD_BUCKETS, Features
from services.provider.sparse import Design, Floats

ModelKey = tuple[str, str]
Ints = NDArray[np.int64]
_NORMAL = NormalDist()
# fewest outcomes of a model before it has a linear part, and of all before the scale is fitted rather than assumed
_FEWEST_FOR_LINEAR = 8
_FEWEST_FOR_SCALE = 200


class Tuning(Struct, frozen=True):
    """Constants of the fit; found on training rows of ../data/routing by cross-validation (bench/provider/routing.py)."""

    prior_weight: float = 10.0
    shape_scale: float = 0.5
    word_scale: float = 1.0
    penalty: float = 120.0
    bandwidth: float = 0.08
    shape_share: float = 0.25
    # similarities are taken in so many directions, those in which prompts differ most: half the memory to read
    directions: int = 192
    local_prior: float = 0.05
    assumed_scale: float = 0.6
    folds: int = 3
    # standard deviation of one score around its expectation, for the uncertainty of a model's mean
    noise: float = 0.45


class Outcome(Struct, frozen=True):
    """How well a model did on a prompt: score 0..1, and how much it counts (older and indirect ones count less)."""

    model: ModelKey
    prompt: int
    score: float
    weight: float = 1.0


class Belief(Struct, frozen=True):
    """What is expected of a model on a prompt: mean 0..1, uncertainty as a standard deviation, outcomes of the model by weight."""

    mean: float
    deviation: float
    evidence: float

    def draw(self, chance: str, exploration: float) -> float:
        """What it is taken for this time: drawn around the mean (Thompson, 1933), so that a little known model gets its chance.

        `chance` decides the draw; `exploration` scales the deviation, 0 gives the mean.
        """
        if not exploration:
            return self.mean
        digest = hashlib.blake2b(chance.encode(errors="replace"), digest_size=8).digest()
        noise = _NORMAL.inv_cdf(((int.from_bytes(digest) >> 12) + 0.5) / 2**52)
        return min(max(self.mean + exploration * self.deviation * noise, 0.0), 1.0)


class Predictor(Struct, frozen=True, eq=False):
    """A fit: gives beliefs for prompts. Arrays over models are in the order of `models`."""

    tuning: Tuning
    models: Sequence[ModelKey]
    means: Floats
    evidence: Floats
    centre: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    shape_centre: Floats = field(default_factory=lambda: np.zeros(0))
    shape_spread: Floats = field(default_factory=lambda: np.zeros(0))
    rarity: Floats = field(default_factory=lambda: np.zeros(WORD_BUCKETS))
    coefficients: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    directions: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    seen: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    residuals: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    weights: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    scale: float = 0.0

    def believe(self, prompt: Features, priors: Mapping[ModelKey, float]) -> dict[ModelKey, Belief]:
        """What is expected of each of the models; one that has no outcomes keeps its prior."""
        # plain numbers: numpy's own take ten times as long one by one
        means, evidences = (self.means + self._shift(prompt)).tolist(), self.evidence.tolist()
        seen = dict(zip(self.models, zip(means, evidences, strict=True), strict=True))
        beliefs = {}
        for model, prior in priors.items():
            mean, evidence = seen.get(model, (prior, 0.0))
            deviation = self.tuning.noise / math.sqrt(self.tuning.prior_weight + evidence)
            beliefs[model] = Belief(min(max(mean, 0.0), 1.0), deviation, evidence)
        return beliefs

    def _shift(self, prompt: Features) -> Floats:
        """How far each model's expectation lies from its mean on this prompt."""
        if len(prompt.embedding) != len(self.centre) or not len(self.coefficients):
            return np.zeros(len(self.models))
        unit = _units((prompt.embedding - self.centre)[None])
        shape = (prompt.shape - self.shape_centre)[None] / self.shape_spread
        similar = self.seen @ (_likeness(unit, shape, self.tuning)[0] @ self.directions)
        local = local_part(similar, self.residuals, self.weights, self.tuning)
        return np.asarray(self.scale * (linear_part(self, prompt) + local))


def linear_part(predictor: Predictor, prompt: Features) -> Floats:
    """The linear part for one prompt, a number a model."""
    unit = _units((prompt.embedding - predictor.centre)[None])[0]
    shape = (prompt.shape - predictor.shape_centre) / predictor.shape_spread
    tuning, wide = predictor.tuning, len(unit) + len(shape)
    dense = np.concatenate([unit, shape * (tuning.shape_scale / np.sqrt(len(shape)))])
    words = sparse.weigh(prompt.words, predictor.rarity) * tuning.word_scale
    coefficients = predictor.coefficients
    return np.asarray(dense @ coefficients[:wide] + words @ coefficients[wide + prompt.words.astype(np.int64)])


def local_part(
    similar: NDArray[np.float32], residuals: NDArray[np.float32], weights: NDArray[np.float32], tuning: Tuning
) -> Floats:
    """The local part, a number a model; `similar` says how similar (at most 1) each prompt is that was seen."""
    near = np.exp((similar - 1) / tuning.bandwidth)
    return np.asarray((near @ residuals) / (near @ weights + tuning.local_prior))


def _units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def _likeness(units: NDArray[np.float32], shapes: Floats, tuning: Tuning) -> NDArray[np.float32]:
    """Vectors whose products are similarities: embedding and shape, each of its share."""
    own, other = np.sqrt(1 - tuning.shape_share), np.sqrt(tuning.shape_share)
    return np.asarray(np.hstack([units * own, _units(shapes.astype(np.float32)) * other]), np.float32)


def without_outcomes(tuning: Tuning) -> Predictor:
    """What is believed before anything was seen: the priors."""
    return Predictor(tuning, (), np.zeros(0), np.zeros(0))


def fit(
    prompts: Sequence[Features],
    outcomes: Sequence[Outcome],
    priors: Mapping[ModelKey, float],
    tuning: Tuning,
    general: Sequence[Outcome] = (),
) -> Predictor:
    """Fits to outcomes, each of which names its prompt by place; `general` ones have no prompt and tell of the model alone.

    Prompts must have embeddings of one length.
    """
    models = sorted({outcome.model for outcome in (*outcomes, *general)})
    if not models:
        return without_outcomes(tuning)
    sums, weights = _tables(models, len(prompts), outcomes)
    more_sums, more_weights = _tables(models, 1, [replace(outcome, prompt=0) for outcome in general])
    prior = np.array([priors.get(model, 0.5) for model in models])
    evidence = weights.sum(0) + more_weights[0]
    means = (prior * tuning.prior_weight + sums.sum(0) + more_sums[0]) / (tuning.prior_weight + evidence)
    if not outcomes:
        return Predictor(tuning, models, means, evidence)
    residuals = np.where(weights > 0, sums - weights * means, 0)
    return _Fit(prompts, models, tuning).run(means, evidence, residuals, weights)


def _tables(models: Sequence[ModelKey], prompts: int, outcomes: Sequence[Outcome]) -> tuple[Floats, Floats]:
    """Weighted sums of scores and sums of weights, by prompt and model."""
    place = {model: index for index, model in enumerate(models)}
    sums, weights = np.zeros((prompts, len(models))), np.zeros((prompts, len(models)))
    if not outcomes:
        return sums, weights
    rows = np.array([outcome.prompt for outcome in outcomes])
    columns = np.array([place[outcome.model] for outcome in outcomes])
    weight = np.array([outcome.weight for outcome in outcomes])
    np.add.at(sums, (rows, columns), weight * np.array([outcome.score for outcome in outcomes]))
    np.add.at(weights, (rows, columns), weight)
    return sums, weights


class _Fit:
    """One fit in progress: the design of the regression, and its parts on all rows or on some of them."""

    def __init__(self, prompts: Sequence[Features], models: Sequence[ModelKey], tuning: Tuning) -> None:
        self._models, self._tuning = models, tuning
        embeddings = np.stack([prompt.embedding for prompt in prompts])
        shapes = np.stack([prompt.shape for prompt in prompts]).astype(np.float64)
        self._centre = embeddings.mean(0)
        self._shape_centre, self._shape_spread = shapes.mean(0), shapes.std(0) + 1e-6
        self._rarity = sparse.inverse_frequencies([prompt.words for prompt in prompts])
        self._units = _units(embeddings - self._centre)
        standard = (shapes - self._shape_centre) / self._shape_spread
        likeness = _likeness(self._units, standard, tuning)
        # principal directions (Pearson, 1901); eigh gives the smallest first
        self._directions = np.linalg.eigh(likeness.T @ likeness)[1][:, ::-1][:, : tuning.directions].astype(np.float32)
        self._likeness = likeness @ self._directions
        scaled = standard * (tuning.shape_scale / np.sqrt(shapes.shape[1]))
        rows = sparse.rows_of([prompt.words for prompt in prompts], self._rarity)
        rows = sparse.Rows(rows.starts, rows.columns, rows.values * tuning.word_scale)
        self._design = Design(np.hstack([self._units.astype(np.float64), scaled]), rows)

    def run(self, means: Floats, evidence: Floats, residuals: Floats, weights: Floats) -> Predictor:
        """The predictor; `residuals` are weighted sums."""
        everything = np.arange(len(self._units))
        coefficients = self._linear(everything, residuals, weights)
        return Predictor(
            self._tuning,
            self._models,
            means,
            evidence,
            self._centre,
            self._shape_centre,
            self._shape_spread,
            self._rarity,
            coefficients,
            self._directions,
            self._likeness,
            residuals.astype(np.float32),
            weights.astype(np.float32),
            self._scale(residuals, weights),
        )

    def _linear(self, rows: Ints, residuals: Floats, weights: Floats) -> Floats:
        """Coefficients a model: what all share, and what is its own."""
        tuning, residuals, weights = self._tuning, residuals[rows], weights[rows]
        design = self._design.take(rows)
        totals = weights.sum(1)
        shared = sparse.ridge(
            design, residuals.sum(1) / np.where(totals > 0, totals, 1), totals, tuning.penalty * len(self._models)
        )
        common = design.times(shared)
        columns = []
        for index in range(len(self._models)):
            some = np.flatnonzero(weights[:, index])
            own = np.zeros(design.columns)
            if len(some) >= _FEWEST_FOR_LINEAR:
                weight = weights[some, index]
                own = sparse.ridge(design.take(some), residuals[some, index] / weight - common[some], weight, tuning.penalty)
            columns.append(shared + own)
        return np.stack(columns, 1)

    def _scale(self, residuals: Floats, weights: Floats) -> float:
        """How much both parts together count: least squares on outcomes that they were not fitted on."""
        if len(self._units) < _FEWEST_FOR_SCALE:
            return self._tuning.assumed_scale
        fold_of = np.arange(len(self._units)) % self._tuning.folds
        parts = [
            self._held_out(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold), residuals, weights)
            for fold in range(self._tuning.folds)
        ]
        found, target, weight = np.concatenate(parts, 1)
        square = float((weight * found * found).sum())
        return float(np.clip((weight * found * target).sum() / square, 0, 1)) if square else self._tuning.assumed_scale

    def _held_out(self, rest: Ints, held: Ints, residuals: Floats, weights: Floats) -> Floats:
        """Both parts added, target and weight of each outcome of the rows `held`, fitted on `rest`."""
        coefficients = self._linear(rest, residuals, weights)
        design = self._design.take(held)
        linear = np.stack([design.times(column) for column in coefficients.T], 1)
        similar = self._likeness[held] @ self._likeness[rest].T
        local = local_part(similar, residuals[rest].astype(np.float32), weights[rest].astype(np.float32), self._tuning)
        weight = weights[held]
        target = residuals[held] / np.where(weight > 0, weight, 1)
        # what all models share changes no choice, so it must not decide the scale
        seen = weight > 0
        count = np.maximum(seen.sum(1, keepdims=True), 1)
        several = np.broadcast_to(seen.sum(1, keepdims=True) > 1, seen.shape)

        def own(values: Floats) -> Floats:
            return np.where(several, values - np.where(seen, values, 0).sum(1, keepdims=True) / count, values)

        return np.stack([own(linear + local)[seen], own(target)[seen], weight[seen]])
