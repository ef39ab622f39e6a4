"""Which files of a stretch have to be read again."""

import pytest

from services.context.comparing import Known, compare
from services.context.walking import Found

SECOND_NS, SECOND_US = 10**9, 10**6
FILE = Found("a", 5, 100 * SECOND_NS, 100 * SECOND_NS)
KNOWN = Known(1, "a", 5, "hash", 100 * SECOND_NS, 100 * SECOND_NS, 110 * SECOND_US)


def test_same_size_and_older_times_prove_the_same() -> None:
    """Such a file is not opened."""
    changes = compare([FILE], [KNOWN])
    assert (changes.to_read, changes.unchanged, changes.gone) == ((), 1, ())


@pytest.mark.parametrize(
    "file",
    [
        Found("a", 6, 100 * SECOND_NS, 100 * SECOND_NS),
        Found("a", 5, 101 * SECOND_NS, 100 * SECOND_NS),
        Found("a", 5, 99 * SECOND_NS, 100 * SECOND_NS),
        Found("a", 5, 100 * SECOND_NS, 101 * SECOND_NS),
    ],
)
def test_another_size_or_time_has_to_be_read(file: Found) -> None:
    """Times that went back count too: a copy may bring its old time along."""
    assert compare([file], [KNOWN]).to_read == ((file, KNOWN),)


def test_a_file_as_young_as_its_reading_has_to_be_read() -> None:
    """It may have been written once more within the same step of the file system's clock (git calls it racy)."""
    young = Known(1, "a", 5, "hash", FILE.mtime_ns, FILE.ctime_ns, 101 * SECOND_US)
    assert compare([FILE], [young]).to_read == ((FILE, young),)


def test_new_and_gone() -> None:
    """A file that the index lacks is read; one that the folder lacks is dropped."""
    other = Known(2, "b", 1, "hash", 0, 0, 0)
    changes = compare([FILE], [other])
    assert (changes.to_read, changes.gone) == (((FILE, None),), (other,))
