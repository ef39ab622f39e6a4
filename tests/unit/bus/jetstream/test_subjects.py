"""NATS subjects of events: one token for any subject of the contract, and back."""

from hypothesis import given
from hypothesis import strategies as st

from bus.jetstream.subjects import every_type, nats_subject, subject_of, token_of, type_and_subject

# what the contract allows: no control characters
SUBJECTS = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32).filter(lambda char: char != "\x7f"), min_size=1)


@given(SUBJECTS)
def test_any_subject_is_one_token_and_comes_back(subject: str) -> None:
    """No dot, wildcard or blank is left in it."""
    token = token_of(subject)
    assert subject_of(token) == subject
    assert not set(token) & set(".*> ")


@given(SUBJECTS)
def test_type_and_subject_come_back_from_where_an_event_stands(subject: str) -> None:
    """A type has dots of its own."""
    assert type_and_subject("tooloo", nats_subject("tooloo", "provider.query.started", subject)) == (
        "provider.query.started",
        subject,
    )


def test_usual_subjects_stay_readable() -> None:
    """Only what NATS cannot hold is encoded."""
    assert nats_subject("p", "training.completed", "users/ada-1_ä") == "p.training.completed.users/ada-1_ä"


def test_the_longest_subject_fits_into_a_line_of_the_protocol() -> None:
    """512 characters of the worst kind stay below NATS's 4,096 bytes."""
    for char in (".", "\N{PILE OF POO}", "\u3000"):
        assert len(nats_subject("tooloo", "x" * 128, char * 512).encode()) < 4096 - 256


def test_a_message_of_nobody_has_neither() -> None:
    """One token behind the prefix is no event."""
    assert type_and_subject("p", "p.garbage") == ("", "")


def test_filters_for_every_type_have_a_star_for_each_token() -> None:
    """Types of different lengths need a filter each."""
    assert every_type("p", "a.b", frozenset({2, 3})) == ["p.*.*.a%2Eb", "p.*.*.*.a%2Eb"]
