"""Page tokens: they lead back to their cursor, and only for the query that made them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import errors, page


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.none())), st.text())
def test_a_token_leads_back_to_its_cursor(cursor: dict[str, object], query: str) -> None:
    """Any cursor survives."""
    assert page.decode_token(page.encode_token(cursor, query), query) == cursor


@given(st.text(min_size=1, max_size=300))
def test_rubbish_is_refused(token: str) -> None:
    """Text that no query gave is INVALID_ARGUMENT, never an exception."""
    with pytest.raises(errors.Refusal) as refused:
        page.decode_token(token, "some query")
    assert refused.value.reason == "INVALID_PAGE_TOKEN"


def test_a_token_of_another_query_is_refused() -> None:
    """A cursor makes sense only with the filter it was made for."""
    with pytest.raises(errors.Refusal):
        page.decode_token(page.encode_token({"after": 1}, "query a"), "query b")


def test_half_a_surrogate_pair_is_refused() -> None:
    """A token that somebody made up can spell it, and no database takes it: the caller is told, and nothing fails behind."""
    with pytest.raises(errors.Refusal) as refused:
        page.decode_token(page.encode_token({"id": "\ud800"}, "query"), "query")
    assert refused.value.reason == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize("letter", ["я", "漢", "😀"])
def test_a_token_is_not_much_longer_than_what_it_holds(letter: str) -> None:
    """The longest path of a file system, in whatever script, leads to the next page: the field takes 8,192 letters."""
    path = letter * (4096 // len(letter.encode()))
    token = page.encode_token({"path": path})
    assert len(token) < 8192
    assert page.decode_token(token) == {"path": path}
