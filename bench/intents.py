"""How good the intent classifier is: on its own held-out examples, and on CLINC150 (Larson et al., 2019) when that is at hand.

    python -m bench.intents [--all]

With --all also on the whole training split, which takes minutes. CLINC150 is read from ../shared/data/intent beside the checkout.
The threshold and the temperature come from its training rows by cross-validation, as in the product; the figures are of the
official test split, which nothing was chosen on.
"""

import json
import sys
import time
from pathlib import Path

from services.orchestration import intent
from services.orchestration.settings import OrchestrationSettings
from services.orchestration.workers import training

ROOT = Path(__file__).resolve().parents[1]
CLINC = ROOT.parent / "shared" / "data" / "intent" / "clinc150_data_full.json"
SHOTS = 10


def shipped() -> list[tuple[str, str]]:
    """The examples that the product is trained on."""
    document = json.loads(OrchestrationSettings().intents_file.read_text())
    pairs = [(text, entry["name"]) for entry in document["intents"] for text in entry["examples"]]
    return pairs + [(text, intent.OUT_OF_SCOPE) for text in document["outOfScope"]]


def rows_of(document: dict[str, list[list[str]]], split: str) -> list[tuple[str, str]]:
    """A split of CLINC150 with its out-of-scope rows."""
    return [(text, label) for text, label in document[split]] + [
        (text, intent.OUT_OF_SCOPE) for text, _ in document[f"oos_{split}"]
    ]


def first_of_each(rows: list[tuple[str, str]], shots: int) -> list[tuple[str, str]]:
    """The first few rows of each label, in file order; all that are out of scope."""
    taken: dict[str, int] = {}
    kept = []
    for text, label in rows:
        taken[label] = taken.get(label, 0) + 1
        if label == intent.OUT_OF_SCOPE or taken[label] <= shots:
            kept.append((text, label))
    return kept


def area_under_curve(inside: list[float], outside: list[float]) -> float:
    """AUROC of "out of scope" by its probability (Mann-Whitney U, ties count half)."""
    ranked = sorted([(value, 0) for value in inside] + [(value, 1) for value in outside])
    rank_sum, start = 0.0, 0
    while start < len(ranked):
        end = start
        while end < len(ranked) and ranked[end][0] == ranked[start][0]:
            end += 1
        rank_sum += sum(kind for _, kind in ranked[start:end]) * (start + end + 1) / 2
        start = end
    return (rank_sum - len(outside) * (len(outside) + 1) / 2) / (len(inside) * len(outside))


def report(name: str, train: list[tuple[str, str]], test: list[tuple[str, str]]) -> None:
    """Trains on one set of rows, prints one line of figures on the other."""
    begun = time.perf_counter()
    model, _ = training.train(train)
    trained = time.perf_counter()
    right_inside = refused_outside = best_inside = 0
    values: tuple[list[float], list[float]] = ([], [])
    for text, label in test:
        probabilities = model.probabilities(text)
        reading = intent.decide(probabilities, model.threshold)
        outside = label == intent.OUT_OF_SCOPE
        values[outside].append(probabilities[intent.OUT_OF_SCOPE])
        right_inside += not outside and reading.name == label
        refused_outside += outside and reading.out_of_scope
        best_inside += not outside and intent.decide(probabilities, threshold=2.0).name == label
    inside, outside_count = len(values[0]), len(values[1])
    each = (time.perf_counter() - trained) / len(test) * 1000
    shares = (best_inside / inside, right_inside / inside, refused_outside / outside_count, area_under_curve(*values))
    print(f"{name:<26}{len(train):>7}" + "".join(f"{share:>11.3f}" for share in shares) + f"{trained - begun:>9.1f}{each:>9.2f}")


def main() -> None:
    """Prints the table."""
    _, quality = training.train(shipped())
    print(f"shipped examples, {training.FOLDS}-fold cross-validation, seed {training.SEED}: {quality}\n")
    if not CLINC.exists():
        print(f"CLINC150 is not at hand ({CLINC.relative_to(ROOT.parent)}); nothing more to report")
        return
    document = json.loads(CLINC.read_text())
    train, test = rows_of(document, "train"), rows_of(document, "test")
    columns = ("in scope", "and kept", "oos found", "AUROC")
    print(
        f"{'CLINC150, test split':<26}{'rows':>7}"
        + "".join(f"{column:>11}" for column in columns)
        + f"{'train s':>9}{'ms each':>9}"
    )
    report(f"{SHOTS} examples an intent", first_of_each(train, SHOTS), test)
    if "--all" in sys.argv[1:]:
        report("all examples", train, test)


if __name__ == "__main__":
    main()
