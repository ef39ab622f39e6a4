"""Rows of word buckets with weights (TF-IDF), just as much of a sparse matrix as ridge regression needs."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from propcache.api import cached_property

from services.provider.features import WORD_BUCKETS

Floats = NDArray[np.float64]


class Rows(Struct, frozen=True, eq=False, dict=True):
    """Compressed rows: row i has the columns `columns[starts[i]:starts[i + 1]]`, each with its value."""

    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: Floats

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """The row of each entry."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def take(self, wanted: NDArray[np.int64]) -> "Rows":
        """Only these rows, in this order."""
        lengths = np.diff(self.starts)[wanted]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        entries = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths) + np.repeat(self.starts[wanted], lengths)
        return Rows(starts, self.columns[entries], self.values[entries])


def inverse_frequencies(words: Sequence[NDArray[np.uint16]]) -> Floats:
    """How rare each bucket is among these prompts: ln((1 + n) / (1 + df)) + 1 (Spärck Jones, 1972; smoothed)."""
    counts = np.bincount(np.concatenate([*words, np.zeros(0, np.uint16)]).astype(np.int64), minlength=WORD_BUCKETS)
    return np.asarray(np.log((1 + len(words)) / (1 + counts)) + 1)


def weigh(words: NDArray[np.uint16], rarity: Floats) -> Floats:
    """The weights of one prompt's buckets, of length 1 together."""
    values = rarity[words.astype(np.int64)]
    return np.asarray(values / (np.sqrt((values * values).sum()) or 1.0))


def rows_of(words: Sequence[NDArray[np.uint16]], rarity: Floats) -> Rows:
    """One row a prompt."""
    starts = np.concatenate([[0], np.cumsum([len(item) for item in words])]).astype(np.int64)
    columns = np.concatenate([*words, np.zeros(0, np.uint16)]).astype(np.int64)
    values = np.concatenate([*(weigh(item, rarity) for item in words), np.zeros(0)])
    return Rows(starts, columns, values)


class Design(Struct, frozen=True, eq=False):
    """Rows of a regression: dense columns first, then the word buckets."""

    dense: Floats
    sparse: Rows

    @property
    def columns(self) -> int:
        """How many columns it has."""
        return int(self.dense.shape[1]) + WORD_BUCKETS

    def take(self, wanted: NDArray[np.int64]) -> "Design":
        """Only these rows."""
        return Design(self.dense[wanted], self.sparse.take(wanted))

    def times(self, weights: Floats) -> Floats:
        """The product with a vector of columns: one number a row."""
        wide = self.dense.shape[1]
        products = self.sparse.values * weights[wide:][self.sparse.columns]
        sums = np.bincount(self.sparse.owners, weights=products, minlength=len(self.dense))
        return np.asarray(self.dense @ weights[:wide] + sums)

    def transposed_times(self, rows: Floats) -> Floats:
        """The product of the transposed with a vector of rows: one number a column."""
        products = self.sparse.values * rows[self.sparse.owners]
        buckets = np.bincount(self.sparse.columns, weights=products, minlength=WORD_BUCKETS)
        return np.concatenate([self.dense.T @ rows, buckets])


def ridge(design: Design, targets: Floats, weights: Floats, penalty: float, steps: int = 30) -> Floats:
    """The v that minimises the weighted sum of (row·v - target)^2 plus penalty·|v|^2, by conjugate gradients.

    Hestenes & Stiefel, 1952; the penalty keeps the system well conditioned, so a few dozen steps are enough.
    """
    solution = np.zeros(design.columns)
    residual = design.transposed_times(weights * targets)
    direction, size = residual.copy(), float(residual @ residual)
    first = size
    for _ in range(steps):
        if size <= first * 1e-10:
            break
        image = design.transposed_times(weights * design.times(direction)) + penalty * direction
        step = size / float(direction @ image)
        solution += step * direction
        residual -= step * image
        size, before = float(residual @ residual), size
        direction = residual + (size / before) * direction
    return solution
