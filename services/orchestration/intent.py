"""Reading an intent from a text: features, a linear model over them, and the rule for what is out of scope.

The model is multinomial logistic regression over TF-IDF of words and character n-grams. It is trained in training.py by
scikit-learn; this module only scores, in plain Python, so that the service neither imports nor keeps scikit-learn. One more class
stands for "out of scope".
"""

import base64
import json
import math
import re
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

OUT_OF_SCOPE = ""
# bump it when features() changes, so that models trained before are trained anew
FEATURES_VERSION = 1
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+|[#@$€£~/]")
_GRAM_SIZES = (3, 4)
_LONGEST_WORD = 40


def words(text: str) -> list[str]:
    """Lower-case words of a text; every number becomes "0", marks that carry meaning (#, @, $, /) stand alone."""
    found = _WORD.findall(text.lower())
    return ["0" if word[0].isdigit() else word[:_LONGEST_WORD] for word in found]


def features(text: str) -> Counter[str]:
    """Counts of word unigrams and bigrams ("w:...") and of character n-grams inside word boundaries ("c:...")."""
    tokens = words(text)
    found = Counter(f"w:{word}" for word in tokens)
    found.update(f"w:{first} {second}" for first, second in zip(["<", *tokens], [*tokens, ">"], strict=True))
    for word in tokens:
        padded = f" {word} "
        found.update(f"c:{gram}" for size in _GRAM_SIZES for gram in _grams(padded, size))
    return found


def _grams(text: str, size: int) -> Iterable[str]:
    return (text[start : start + size] for start in range(len(text) - size + 1))


def weigh(counts: Mapping[str, int], idf: Mapping[str, float]) -> dict[str, float]:
    """TF-IDF with sublinear term frequency (1 + ln tf); words and character n-grams are each scaled to length 1 (l2)."""
    weighed = {name: (1 + math.log(count)) * idf[name] for name, count in counts.items() if name in idf}
    lengths = {"w": 0.0, "c": 0.0}
    for name, value in weighed.items():
        lengths[name[0]] += value * value
    return {name: value / math.sqrt(lengths[name[0]]) for name, value in weighed.items()}


def inverse_document_frequency(documents: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """Smooth idf, ln((1 + n) / (1 + df)) + 1, as in scikit-learn; features by name in a fixed order."""
    frequency = Counter(name for document in documents for name in document)
    return {name: math.log((1 + len(documents)) / (1 + seen)) + 1 for name, seen in sorted(frequency.items())}


def softmax(scores: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Probabilities of scores; the temperature calibrates them (Guo et al., "On Calibration of Modern Neural Networks", 2017)."""
    top = max(scores)
    powers = [math.exp((score - top) / temperature) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


@dataclass(frozen=True)
class Candidate:
    """An intent and how probable it is, 0..1."""

    name: str
    confidence: float


@dataclass(frozen=True)
class Reading:
    """What the classifier makes of a text. `name` is "" when out of scope; `confidence` is then that of being so."""

    name: str
    confidence: float
    out_of_scope: bool
    alternatives: tuple[Candidate, ...]


@dataclass(frozen=True)
class Model:
    """A trained classifier.

    `weights` holds for each feature one weight a label, `labels` has OUT_OF_SCOPE last, and a text is out of scope when that class
    has at least `threshold` of the probability. `accuracy` is the share of held-out examples that were read rightly.
    """

    labels: tuple[str, ...]
    idf: Mapping[str, float]
    weights: Mapping[str, Sequence[float]]
    intercepts: Sequence[float]
    temperature: float
    threshold: float
    accuracy: float = 0.0

    def scores(self, text: str) -> list[float]:
        """Decision values, one a label."""
        totals = list(self.intercepts)
        for name, value in weigh(features(text), self.idf).items():
            for index, weight in enumerate(self.weights[name]):
                totals[index] += value * weight
        return totals

    def probabilities(self, text: str) -> dict[str, float]:
        """Calibrated probability of each label, OUT_OF_SCOPE among them."""
        return dict(zip(self.labels, softmax(self.scores(text), self.temperature), strict=True))

    def read(self, text: str, alternatives: int = 3) -> Reading:
        """Classifies a text. One without a single known word or letter group is out of scope for certain."""
        if not weigh(features(text), self.idf):
            return Reading(OUT_OF_SCOPE, 1.0, out_of_scope=True, alternatives=())
        return decide(self.probabilities(text), self.threshold, alternatives)


def decide(probabilities: Mapping[str, float], threshold: float, alternatives: int = 3) -> Reading:
    """Turns probabilities into an answer: out of scope at the threshold, else the best intent; the next best follow."""
    outside = probabilities[OUT_OF_SCOPE]
    inside = sorted((item for item in probabilities.items() if item[0] != OUT_OF_SCOPE), key=lambda item: (-item[1], item[0]))
    ranked = [Candidate(name, probability) for name, probability in inside]
    if outside >= threshold:
        return Reading(OUT_OF_SCOPE, outside, out_of_scope=True, alternatives=tuple(ranked[:alternatives]))
    return Reading(ranked[0].name, ranked[0].confidence, out_of_scope=False, alternatives=tuple(ranked[1 : alternatives + 1]))


def dump(model: Model) -> str:
    """The model as JSON; weights are little-endian float32 in base64, feature by feature."""
    flat = array("f", (weight for name in model.idf for weight in model.weights[name]))
    if sys.byteorder == "big":
        flat.byteswap()
    return json.dumps(
        {
            "labels": model.labels,
            "idf": dict(model.idf),
            "weights": base64.b64encode(flat.tobytes()).decode(),
            "intercepts": list(model.intercepts),
            "temperature": model.temperature,
            "threshold": model.threshold,
            "accuracy": model.accuracy,
        }
    )


def load(text: str) -> Model:
    """The model of dump()'s JSON; ValueError or KeyError when it is none."""
    raw = json.loads(text)
    flat = array("f")
    flat.frombytes(base64.b64decode(raw["weights"], validate=True))
    if sys.byteorder == "big":
        flat.byteswap()
    width = len(raw["labels"])
    if len(flat) != width * len(raw["idf"]) or len(raw["intercepts"]) != width:
        raise ValueError("the weights do not fit the labels and features")
    weights = {name: flat[index * width : (index + 1) * width] for index, name in enumerate(raw["idf"])}
    return Model(
        tuple(raw["labels"]), raw["idf"], weights, raw["intercepts"], raw["temperature"], raw["threshold"], raw["accuracy"]
    )
