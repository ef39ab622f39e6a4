"""How much routing pays: learned selection (services/provider/learned.py) on questions that real models answered.

    python -m bench.provider.routing [first seed] [seeds]

Data: ../shared/data/routing beside the checkout (MMLU-Pro answered by 13 models, MMLU answered by GPT-4 and Mixtral for RouteLLM).
Each seed splits the questions 70/30. Nothing is fitted to test rows. The constants of learned.Tuning were found by cross-validation
inside the training rows of split 20261125, so that split's test rows are the only ones that no choice has seen: the figures of the
others say how much a split matters.

AIQ (RouterBench, arXiv 2403.12031): the area under the non-decreasing convex hull of (mean cost, mean quality), from the cost of
the cheapest model to that of the dearest, divided by that span. Above the hull of single models is what routing adds. The cost of
best is that at which the best single model's quality is reached, as a share of that model's cost; 95 %: the same for 95 % of it.
APGR (RouteLLM, arXiv 2406.18665): the share of the gap between weak and strong model that is closed, over all shares of calls to
the strong one.
"""

import gzip
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from services.provider import features, learned
from services.provider.features import Features
from services.provider.settings import ProviderSettings
from services.provider.workers.embedding import MODEL, Embedder

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "routing"
CACHE = ROOT / "build" / "bench"
# the bars of the means over the splits
AIQ_BAR, COST_BAR, APGR_BAR = 0.705, 0.53, 0.68
TRAIN_SHARE, NEIGHBOURS = 0.7, 50
PRICES_PER_QUALITY = np.concatenate([[0.0], np.logspace(-1, 6, 200)])
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Questions:
    """Questions with what each model made of them."""

    models: list[tuple[str, str]]
    seen: list[Features]
    right: Floats
    cost: Floats
    tokens_in: Floats
    tokens_out: Floats
    category: list[str]

    @property
    def vectors(self) -> Floats:
        """The embeddings, a row a question."""
        return np.stack([item.embedding for item in self.seen]).astype(np.float64)


@dataclass(frozen=True)
class Guess:
    """What a router expects of each model for each test question."""

    quality: Floats
    cost: Floats


@dataclass(frozen=True)
class Result:
    """How a router did on one split."""

    aiq: float
    gain: float
    cost_of_best: float
    cost_of_most: float


def rows(name: str) -> list[dict[str, Any]]:
    """The lines of a data file."""
    with gzip.open(DATA / name, "rt") as file:
        return [json.loads(line) for line in file]


def look(texts: Sequence[str], embedder: Embedder) -> list[Features]:
    """Features of texts; embeddings are kept in build/bench, for they take minutes."""
    digest = hashlib.sha256("\0".join([embedder.name, *texts]).encode())
    if embedder.available:
        digest.update((ProviderSettings().embedding_folder / MODEL).read_bytes())
    file = CACHE / f"{digest.hexdigest()[:16]}.npy"
    if not file.exists():
        print(f"embedding {len(texts)} texts with {embedder.name}; this takes a minute or two, once", flush=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        np.save(file, np.stack([embedder.embed_now(text) for text in texts]))
    return [features.read(text, vector) for text, vector in zip(texts, np.load(file), strict=True)]


def mmlu_pro(embedder: Embedder) -> Questions:
    """7,229 questions of MMLU-Pro and 13 models."""
    found = rows("mmlu_pro_routing.jsonl.gz")
    names = list(found[0]["models"])
    texts = ["\n".join([row["question"], *map("{}. {}".format, "ABCDEFGHIJ", row["options"])]) for row in found]
    table = {
        field: np.array([[row["models"][name][field] for name in names] for row in found], np.float64)
        for field in ("correct", "cost", "out_tokens")
    }
    return Questions(
        [("peer", name) for name in names],
        look(texts, embedder),
        table["correct"],
        table["cost"],
        np.array([row["in_tokens"] for row in found], np.float64),
        table["out_tokens"],
        [row["category"] for row in found],
    )


def split(count: int, seed: int) -> tuple[Ints, Ints]:
    """Train and test rows."""
    order = np.random.default_rng(seed).permutation(count)
    cut = int(TRAIN_SHARE * count)
    return order[:cut], order[cut:]


def hull(cost: Iterable[float], quality: Iterable[float]) -> list[tuple[float, float]]:
    """The non-decreasing upper convex hull (Andrew's monotone chain, 1979)."""
    kept: list[tuple[float, float]] = []
    for x, y in sorted(zip(cost, quality, strict=True), key=lambda point: (point[0], -point[1])):
        if kept and y <= kept[-1][1]:
            continue
        while len(kept) > 1 and (kept[-1][1] - kept[-2][1]) * (x - kept[-1][0]) <= (y - kept[-1][1]) * (kept[-1][0] - kept[-2][0]):
            kept.pop()
        kept.append((x, y))
    return kept


def area(points: list[tuple[float, float]], low: float, high: float) -> float:
    """AIQ: the mean height of the hull between two costs."""
    xs, ys = zip(*points, strict=True)
    grid = np.unique([low, high, *(x for x in xs if low < x < high)])
    return float(np.trapezoid(np.interp(grid, xs, ys, left=0.0), grid) / (high - low))


def cost_to_reach(points: list[tuple[float, float]], quality: float) -> float:
    """The cost at which the hull reaches a quality; infinite when it never does."""
    xs, ys = zip(*points, strict=True)
    return float(np.interp(quality, ys, xs)) if ys[-1] >= quality else float("inf")


def judge(guess: Guess, right: Floats, cost: Floats) -> Result:
    """Sweeps what a point of quality is worth, takes the best model for each question at each, and measures what came of it."""
    single, mean_cost = right.mean(0), cost.mean(0)
    low, high, best = float(mean_cost.min()), float(mean_cost.max()), int(single.argmax())
    every = np.arange(len(right))
    points = []
    for price in PRICES_PER_QUALITY:
        chosen = (guess.quality - price * guess.cost).argmax(1)
        points.append((float(cost[every, chosen].mean()), float(right[every, chosen].mean())))
    found = hull(*zip(*points, strict=True))
    aiq = area(found, low, high)
    return Result(
        aiq,
        aiq - area(hull(mean_cost, single), low, high),
        cost_to_reach(found, single[best]) / mean_cost[best],
        cost_to_reach(found, 0.95 * single[best]) / mean_cost[best],
    )


def expected_cost(data: Questions, train: Ints, test: Ints) -> Floats:
    """List price times the question's tokens and the model's usual answer; the prices are read off the training rows."""
    columns = []
    for model in range(len(data.models)):
        tokens = np.stack([data.tokens_in[train], data.tokens_out[train, model]], 1)
        (price_in, price_out), *_ = np.linalg.lstsq(tokens, data.cost[train, model], rcond=None)
        columns.append(price_in * data.tokens_in[test] + price_out * data.tokens_out[train, model].mean())
    return np.stack(columns, 1)


def fitted(data: Questions, train: Ints) -> learned.Predictor:
    """The service's predictor after every outcome of the training rows."""
    outcomes = [
        learned.Outcome(model, place, data.right[row, column])
        for place, row in enumerate(train)
        for column, model in enumerate(data.models)
    ]
    return learned.fit([data.seen[row] for row in train], outcomes, dict.fromkeys(data.models, 0.5), learned.Tuning())


def by_learned(data: Questions, train: Ints, test: Ints) -> Guess:
    """Ours."""
    predictor = fitted(data, train)
    priors = dict.fromkeys(data.models, 0.5)
    quality = []
    for row in test:
        beliefs = predictor.believe(data.seen[row], priors)
        quality.append([beliefs[model].mean for model in data.models])
    return Guess(np.array(quality), expected_cost(data, train, test))


def by_category(data: Questions, train: Ints, test: Ints) -> Guess:
    """Mean per true category, which a router would not know."""
    names = np.array(data.category)
    quality, cost = np.zeros((len(test), len(data.models))), np.zeros((len(test), len(data.models)))
    for name in set(data.category):
        inside = train[names[train] == name]
        quality[names[test] == name] = data.right[inside].mean(0)
        cost[names[test] == name] = data.cost[inside].mean(0)
    return Guess(quality, cost)


def nearest(vectors: Floats, train: Ints, test: Ints) -> Ints:
    """The nearest training rows of each test row, as places in `train`."""
    return np.asarray(np.argpartition(-(vectors[test] @ vectors[train].T), NEIGHBOURS, 1)[:, :NEIGHBOURS])


def by_neighbours(data: Questions, train: Ints, test: Ints) -> Guess:
    """Mean over the nearest 50 training questions by MiniLM (kNN router of RouterBench)."""
    near = train[nearest(data.vectors, train, test)]
    return Guess(data.right[near].mean(1), data.cost[near].mean(1))


def by_regression(data: Questions, train: Ints, test: Ints) -> Guess:
    """Logistic regression a model on MiniLM, averaged with the neighbours: the best simple baseline."""
    vectors, near = data.vectors, by_neighbours(data, train, test)
    columns = [
        LogisticRegression(max_iter=300).fit(vectors[train], data.right[train, model]).predict_proba(vectors[test])[:, 1]
        for model in range(len(data.models))
    ]
    return Guess((np.stack(columns, 1) + near.quality) / 2, near.cost)


def mmlu_pro_table(data: Questions, seeds: Sequence[int]) -> bool:
    """Prints AIQ and costs of every router, mean and spread over the splits; False when ours misses a bar in the mean."""
    routers = {
        "true category table": by_category,
        f"kNN-{NEIGHBOURS} on the embedding": by_neighbours,
        "LR + kNN (scikit-learn)": by_regression,
        "learned (ours)": by_learned,
    }
    results: dict[str, list[Result]] = {name: [] for name in ("single models (hull)", *routers, "oracle")}
    seconds = 0.0
    for seed in seeds:
        train, test = split(len(data.seen), seed)
        right, cost = data.right[test], data.cost[test]
        flat = Guess(np.tile(right.mean(0), (len(test), 1)), np.tile(cost.mean(0), (len(test), 1)))
        single = judge(flat, right, cost)
        results["single models (hull)"].append(Result(single.aiq - single.gain, 0.0, 1.0, single.cost_of_most))
        results["oracle"].append(judge(Guess(right, cost), right, cost))
        for name, router in routers.items():
            begun = time.perf_counter()
            results[name].append(judge(router(data, train, test), right, cost))
            seconds += time.perf_counter() - begun if router is by_learned else 0.0
    print(f"\nMMLU-Pro, {len(data.seen)} questions, {len(data.models)} models, seeds {list(seeds)}: mean (spread) over splits")
    print(f"{'router':<28}{'AIQ':>16}{'above hull':>16}{'cost of best':>16}{'95 %':>8}")
    for name, found in results.items():
        cells = [_cell([getattr(item, field) for item in found]) for field in ("aiq", "gain", "cost_of_best")]
        print(f"{name:<28}" + "".join(f"{cell:>16}" for cell in cells) + f"{_mean([item.cost_of_most for item in found]):>8.3f}")
    ours, base = results["learned (ours)"], results["LR + kNN (scikit-learn)"]
    ratio = _mean([item.gain for item in ours]) / _mean([item.gain for item in base])
    better = sum(one.aiq > other.aiq for one, other in zip(ours, base, strict=True))
    print(f"ours gains x{ratio:.2f} of what LR + kNN gains over the hull, better on {better} of {len(ours)} splits;", end=" ")
    print(f"a fit and {len(test)} predictions take {seconds / len(seeds):.1f} s")
    met = _mean([item.aiq for item in ours]) >= AIQ_BAR and _mean([item.cost_of_best for item in ours]) <= COST_BAR
    print(f"bars: AIQ {AIQ_BAR} or more, cost of best {COST_BAR} or less: {'reached' if met else 'MISSED'}")
    return met


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def _cell(values: Sequence[float]) -> str:
    return f"{_mean(values):.4f} ({statistics.pstdev(values):.4f})"


def gap_closed(gain: Floats, weak: Floats, strong: Floats) -> float:
    """APGR: calls go to the strong model in the order of the expected gain."""
    order = np.argsort(-gain, kind="stable")
    closed = np.concatenate([[0.0], np.cumsum((strong - weak)[order])]) / (strong - weak).sum()
    return float(np.trapezoid(closed, np.linspace(0, 1, len(closed))))


def routellm_table(embedder: Embedder, seeds: Sequence[int]) -> bool:
    """Prints APGR of every router on RouteLLM's MMLU pair; False when ours misses the bar in the mean."""
    found = [row for row in rows("routellm_gpt4_mixtral.jsonl.gz") if row["ds"] == "mmlu"]
    right = np.array([[row["weak"], row["strong"]] for row in found], np.float64)
    nothing = np.zeros(right.shape)
    seen = look([row["prompt"] for row in found], embedder)
    models = [("pair", "weak"), ("pair", "strong")]
    data = Questions(models, seen, right, nothing, nothing[:, 0], nothing, [row["category"] for row in found])
    results: dict[str, list[float]] = {}
    for seed in seeds:
        train, test = split(len(found), seed)
        weak, strong = right[test].T
        guesses = {
            "true category table": by_category(data, train, test).quality,
            f"kNN-{NEIGHBOURS} on the embedding": by_neighbours(data, train, test).quality,
            "LR + kNN (scikit-learn)": by_regression(data, train, test).quality,
            "learned (ours)": by_learned(data, train, test).quality,
            "oracle": right[test],
        }
        for name, guess in guesses.items():
            results.setdefault(name, []).append(gap_closed(guess[:, 1] - guess[:, 0], weak, strong))
    print(f"\nRouteLLM's pair on MMLU, {len(found)} questions, seeds {list(seeds)}: mean (spread) over splits; random order: 0.5")
    print(f"{'router':<28}{'APGR':>16}")
    for name, values in results.items():
        print(f"{name:<28}{_cell(values):>16}")
    met = _mean(results["learned (ours)"]) >= APGR_BAR
    print(f"bar: APGR {APGR_BAR} or more: {'reached' if met else 'MISSED'}")
    return met


def main() -> int:
    """Prints both tables; 1 when a bar is missed."""
    if not DATA.exists():
        print(f"the routing data is not at hand ({DATA.relative_to(ROOT.parent)}); nothing to report")
        return 0
    first, count = (int(argument) for argument in (*sys.argv[1:], *("0", "5")[len(sys.argv) - 1 :]))
    seeds = range(first, first + count)
    settings = ProviderSettings()
    embedder = Embedder(settings.embedding_folder, settings.embedding_tokens, 1)
    print(f"embedding: {embedder.name}" + (f" ({embedder.why_not})" if embedder.why_not else ""))
    met = [mmlu_pro_table(mmlu_pro(embedder), seeds), routellm_table(embedder, seeds)]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
