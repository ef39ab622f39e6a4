"""Trains the intent classifier from examples; a program of its own, because scikit-learn is big and needed once.

python -m services.orchestration.workers.training <model.json>  < [[text, label], ...] as JSON
"""

import fcntl
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from services.orchestration import intent

SEED = 20261122
FOLDS = 5
# inverse strength of the l2 penalty; chosen by cross-validation on the shipped examples
C = 30.0
_TEMPERATURES = np.geomspace(0.2, 5.0, 60)
_THRESHOLDS = np.linspace(0.05, 0.95, 91)
Scores = NDArray[np.float64]
Targets = NDArray[np.int64]


@dataclass(frozen=True)
class HeldOut:
    """What cross-validation says: share of all examples read rightly, of those in scope, and of those out of scope."""

    accuracy: float
    in_scope_accuracy: float
    out_of_scope_recall: float


def _matrix(weighed: Sequence[dict[str, float]], columns: dict[str, int]) -> csr_matrix[np.float64]:
    cells = [(row, columns[name], value) for row, names in enumerate(weighed) for name, value in names.items()]
    rows, places, values = zip(*cells, strict=True)
    # float64, because scikit-learn's solver can stop at iteration 0 on float32
    return csr_matrix((np.array(values, dtype=np.float64), (rows, places)), shape=(len(weighed), len(columns)))


def _fit(texts: Sequence[str], targets: Targets) -> tuple[dict[str, float], Any]:
    documents = [intent.features(text) for text in texts]
    idf = intent.inverse_document_frequency(documents)
    columns = {name: index for index, name in enumerate(idf)}
    matrix = _matrix([intent.weigh(document, idf) for document in documents], columns)
    return idf, LogisticRegression(C=C, max_iter=2000).fit(matrix, targets)


def _scores(texts: Sequence[str], idf: dict[str, float], fitted: Any) -> Scores:
    columns = {name: index for index, name in enumerate(idf)}
    matrix = _matrix([intent.weigh(intent.features(text), idf) for text in texts], columns)
    return np.asarray(fitted.decision_function(matrix), dtype=np.float64)


def held_out_scores(texts: Sequence[str], targets: Targets) -> Scores:
    """Scores of every example by a model that has not seen it (stratified k-fold cross-validation with SEED)."""
    scores = np.zeros((len(texts), int(targets.max()) + 1))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(np.zeros(len(texts)), targets):
        idf, fitted = _fit([texts[row] for row in train], targets[train])
        scores[test] = _scores([texts[row] for row in test], idf, fitted)
    return scores


def _probabilities(scores: Scores, temperature: float) -> Scores:
    powers = np.exp((scores - scores.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def calibrate(scores: Scores, targets: Targets) -> float:
    """The temperature with the least negative log-likelihood on held-out scores (Guo et al., 2017)."""
    rows = np.arange(len(targets))
    losses = [-np.log(_probabilities(scores, value)[rows, targets] + 1e-12).mean() for value in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def choose_threshold(probabilities: Scores, targets: Targets) -> float:
    """The share of "out of scope" (last label) from which it is the answer: the one that reads most held-out examples rightly."""
    return float(max(_THRESHOLDS, key=lambda threshold: measure(probabilities, targets, threshold).accuracy))


def measure(probabilities: Scores, targets: Targets, threshold: float) -> HeldOut:
    """How good the answers are on held-out examples."""
    outside = targets == probabilities.shape[1] - 1
    refused = probabilities[:, -1] >= threshold
    right = np.where(outside, refused, (probabilities[:, :-1].argmax(axis=1) == targets) & ~refused)
    return HeldOut(float(right.mean()), float(right[~outside].mean()), float(right[outside].mean()))


def train(examples: Sequence[tuple[str, str]]) -> tuple[intent.Model, HeldOut]:
    """Trains on (text, label) pairs, OUT_OF_SCOPE for those that are no intent. The same examples give the same model."""
    # several threads spin for each other on so small a matrix: many times slower on a busy machine
    with threadpool_limits(limits=1):
        return _train(examples)


def _train(examples: Sequence[tuple[str, str]]) -> tuple[intent.Model, HeldOut]:
    labels = [*sorted({label for _, label in examples} - {intent.OUT_OF_SCOPE}), intent.OUT_OF_SCOPE]
    texts = [text for text, _ in examples]
    targets = np.array([labels.index(label) for _, label in examples])
    scores = held_out_scores(texts, targets)
    temperature = calibrate(scores, targets)
    probabilities = _probabilities(scores, temperature)
    threshold = choose_threshold(probabilities, targets)
    quality = measure(probabilities, targets, threshold)
    idf, fitted = _fit(texts, targets)
    weights = {name: [float(value) for value in fitted.coef_[:, column]] for column, name in enumerate(idf)}
    intercepts = [float(value) for value in fitted.intercept_]
    return intent.Model(tuple(labels), idf, weights, intercepts, temperature, threshold, quality.accuracy), quality


def main(model_file: str) -> None:
    """Trains from the pairs on standard input into a file, which appears whole or not at all.

    Replicas, or meshes of one checkout, that start at the same time take turns, and all but the first find it made.
    """
    pairs, file = [(text, label) for text, label in json.load(sys.stdin)], Path(model_file)
    turn = os.open(file.parent, os.O_RDONLY)
    fcntl.flock(turn, fcntl.LOCK_EX)
    try:
        if _is_model(file):
            return
        unfinished = Path(f"{file}.{os.getpid()}.part")
        unfinished.write_text(intent.dump(train(pairs)[0]))
        unfinished.replace(file)
    finally:
        os.close(turn)


def _is_model(file: Path) -> bool:
    try:
        intent.load(file.read_text())
    except (OSError, ValueError, KeyError):
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
