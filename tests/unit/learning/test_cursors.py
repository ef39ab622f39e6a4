"""Values of a forged page token are refused before they reach a statement."""

import pytest

from mesh.errors import Refusal
from services.learning.flows.cursors import number_in, text_in


def test_values_of_a_cursor() -> None:
    """What is there is used, what is not there has a default."""
    cursor: dict[str, object] = {"due": 5, "card": "python.iteration.enumerate"}
    assert number_in(cursor, "due", -1) == 5
    assert number_in({}, "due", -1) == -1
    assert text_in(cursor, "card") == "python.iteration.enumerate"
    assert text_in({"card": "👩‍💻.practice.smallest"}, "card") == "👩‍💻.practice.smallest"
    assert text_in({}, "card") == ""


@pytest.mark.parametrize("value", ["5", 1.5, None, [], 2**63, -(2**70)])
def test_a_forged_number(value: object) -> None:
    """Only whole numbers that a database can hold."""
    with pytest.raises(Refusal, match="page_token"):
        number_in({"due": value}, "due", 0)


@pytest.mark.parametrize("value", [5, None, "nul\x00", "\ud800"])
def test_a_forged_text(value: object) -> None:
    """Only texts that could be a name."""
    with pytest.raises(Refusal, match="page_token"):
        text_in({"card": value}, "card")
