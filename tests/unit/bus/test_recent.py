"""The newest batches in memory."""

from hypothesis import given
from hypothesis import strategies as st

from bus.batches import Batch
from bus.recent import Recent


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=30),
    st.integers(1, 40),
    st.integers(0, 120),
    st.integers(1, 30),
    st.integers(1, 9),
)
def test_recent_gives_what_follows_or_says_that_it_cannot(
    counts: list[int], limit: int, after: int, wanted: int, most: int
) -> None:
    """Answers begin with the batch that holds the next position and have no gap; what was pushed out is asked of the disk."""
    recent = Recent(limit)
    position = 1
    batches = []
    for count in counts:
        batches.append(Batch(position, position + count - 1, 0, b"", b"x" * count))
        recent.add(batches[-1])
        position += count
    found = recent.after(after, wanted, most)
    if found is None:
        kept = batches[-1:] if batches[-1].last - batches[-1].position + 1 > limit else batches
        assert after + 1 < kept[-1].position
        return
    expected = [batch for batch in batches if batch.last > after]
    assert found == expected[: len(found)]
    assert bool(found) == bool(expected)
    assert len(found) <= most
    assert len(found) in (len(expected), most) or sum(len(batch.events) for batch in found) >= wanted
    assert sum(len(batch.events) for batch in found[:-1]) < wanted


def test_an_empty_one_knows_nothing() -> None:
    """Before the first commit the disk must be asked."""
    assert Recent(10).after(0, 1) is None


def test_a_batch_is_replaced_in_its_place() -> None:
    """Readers see what stands there now, and what it takes in memory is counted anew."""
    recent = Recent(10)
    for position in (1, 2, 3):
        recent.add(Batch(position, position, 0, b"", b"xxx"))
    recent.replace(Batch(2, 2, 0, b"", b"y"))
    recent.replace(Batch(9, 9, 0, b"", b"not here"))
    assert [batch.events for batch in recent.after(0, 99) or []] == [b"xxx", b"y", b"xxx"]
    # 7 bytes: one of 3 more fits, the next pushes the oldest out
    recent.add(Batch(4, 4, 0, b"", b"xxx"))
    assert recent.after(0, 99) is not None
    recent.add(Batch(5, 5, 0, b"", b"x"))
    assert recent.after(0, 99) is None


def test_what_retention_deletes_is_not_remembered() -> None:
    """Whole batches up to a position go; the rest still reads, and when all are gone the disk is asked."""
    recent = Recent(100)
    for position in (1, 2, 3):
        recent.add(Batch(position, position, 0, b"", b"xxx"))
    recent.drop(2)
    assert recent.after(0, 99) is None
    assert [batch.position for batch in recent.after(2, 99) or []] == [3]
    recent.drop(3)
    assert recent.after(3, 99) is None
