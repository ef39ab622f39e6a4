"""The window of ids and subjects: newest events only, and an id keeps its first position."""

from bus.jetstream.window import Window


def window_of(size: int) -> Window:
    """A window that goes by the count alone."""
    return Window(size, -1.0, lambda: 0.0)


def test_ids_and_subjects_are_found_until_they_are_too_old() -> None:
    """The oldest leave when there are too many."""
    window = window_of(2)
    for position in (1, 2, 3):
        window.add(b"%d" % position, f"s/{position}", position)
    assert [window.position_of(b"%d" % position) for position in (1, 2, 3)] == [None, 2, 3]
    assert [window.newest_of(f"s/{position}") for position in (1, 2, 3)] == [None, 2, 3]
    assert len(window) == 2


def test_a_subject_that_goes_on_is_not_forgotten_with_its_old_events() -> None:
    """Only what stands at the forgotten position goes."""
    window = window_of(2)
    for position in (1, 2, 3):
        window.add(b"%d" % position, "s", position)
    assert window.newest_of("s") == 3


def test_an_id_that_comes_again_keeps_its_first_position() -> None:
    """As its first acknowledgement said."""
    window = window_of(10)
    window.add(b"a", "s", 1)
    window.add(b"a", "s", 2)
    assert (window.position_of(b"a"), window.newest_of("s")) == (1, 2)


def test_an_erased_subject_is_forgotten() -> None:
    """Its versions begin anew."""
    window = window_of(10)
    window.add(b"a", "s", 1)
    window.forget_subject("s")
    assert window.newest_of("s") is None


def test_an_id_without_its_subject_says_nothing_of_versions() -> None:
    """What is read at a start: something newer of the subject may be gone."""
    window = window_of(10)
    window.add(b"a", "", 1)
    window.add(b"b", "s", 2)
    assert (window.position_of(b"a"), window.newest_of("")) == (1, None)
    assert window.keys_at({1, 2, 3}) == {1: b"a", 2: b"b"}


def test_what_is_young_is_not_forgotten_however_much_there_is() -> None:
    """NATS would take it for a repeat, and the bus could not say of what."""
    now = 0.0
    window = Window(1, 10.0, lambda: now)
    for position in (1, 2, 3):
        window.add(b"%d" % position, "s", position)
    assert len(window) == 3
    now = 11.0
    window.add(b"4", "s", 4)
    assert [window.position_of(b"%d" % position) for position in (1, 2, 3, 4)] == [None, None, None, 4]
