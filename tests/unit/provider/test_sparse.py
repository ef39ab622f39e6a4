"""Ridge regression on dense and hashed columns: the same as the closed form, and rows can be taken apart."""

import numpy as np
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from services.provider import sparse
from services.provider.features import WORD_BUCKETS
from services.provider.sparse import Design

words = st.lists(
    st.lists(st.integers(0, 30), max_size=6, unique=True).map(lambda item: np.array(sorted(item), np.uint16)),
    min_size=1,
    max_size=12,
)


def dense(design: Design) -> np.ndarray:
    """The whole matrix."""
    full = np.zeros((len(design.dense), design.columns))
    full[:, : design.dense.shape[1]] = design.dense
    for row in range(len(design.dense)):
        for entry in range(design.sparse.starts[row], design.sparse.starts[row + 1]):
            full[row, design.dense.shape[1] + design.sparse.columns[entry]] += design.sparse.values[entry]
    return full


def made(found: list[np.ndarray], seed: int) -> tuple[Design, np.random.Generator]:
    """A design of those words and random dense columns."""
    generator = np.random.default_rng(seed)
    return Design(generator.normal(size=(len(found), 3)), sparse.rows_of(found, sparse.inverse_frequencies(found))), generator


@given(words, st.integers(0, 1000))
@hypothesis_settings(max_examples=30)
def test_conjugate_gradients_find_what_the_closed_form_finds(found: list[np.ndarray], seed: int) -> None:
    """Weighted ridge regression, solved directly in the space of the rows."""
    design, generator = made(found, seed)
    targets, weights, penalty = generator.normal(size=len(found)), generator.uniform(0.1, 2, len(found)), 2.0
    full = dense(design)
    kernel = full @ full.T
    exact = full.T @ np.linalg.solve(kernel + penalty * np.diag(1 / weights), targets)
    assert np.allclose(sparse.ridge(design, targets, weights, penalty, steps=60), exact, atol=1e-4)


@given(words, st.integers(0, 1000), st.data())
@hypothesis_settings(max_examples=30)
def test_taken_rows_are_those_rows(found: list[np.ndarray], seed: int, data: st.DataObject) -> None:
    """Any rows in any order; products with vectors from both sides are those of the matrix."""
    design, generator = made(found, seed)
    taken = np.array(data.draw(st.lists(st.integers(0, len(found) - 1), min_size=1, max_size=8)), np.int64)
    full = dense(design)[taken]
    some = design.take(taken)
    column, row = generator.normal(size=design.columns), generator.normal(size=len(taken))
    assert np.allclose(some.times(column), full @ column)
    assert np.allclose(some.transposed_times(row), full.T @ row)
    assert full.shape[1] == 3 + WORD_BUCKETS
